"""Sphinx's settings for the site; book.py stages the pages that it reads.

Sphinx and myst-nb, not Jupyter Book 2: mystmd fetches its theme from the network at build time. Equations become MathML, which
browsers draw themselves: MathJax would be a script from another host, or megabytes of files.
"""

import os
import re

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.ext import autosummary

project = "proxyless_lite"
author = "the proxyless_lite authors"
copyright = author
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode"]
smartquotes = False                    # "--limit" is an option

highlight_language = "none"            # a block of commands is no Python
nb_execution_mode = "off"              # the site shows stored outputs
nb_ipywidgets_js = {}
nb_merge_streams = True                # a line of progress is a stream of its own when stored
myst_heading_anchors = 4               # as on GitHub: docs/measurements.md#what-a-search-step-costs
myst_enable_extensions = ["dollarmath"]
myst_dmath_double_inline = True        # $$…$$ may follow a line of text
myst_update_mathjax = False
autodoc_inherit_docstrings = False     # PyTorch's text on forward says nothing of ours
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True       # an object's repr may hold its address
autodoc_typehints_format = "short"
autosummary_generate = False           # one page per module, not per name
autosummary.WELL_KNOWN_ABBREVIATIONS += ("Eq.", "App.")  # no sentence ends there
toc_object_entries_show_parents = "hide"

html_theme = "sphinx_book_theme"
html_title = "proxyless_lite"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False               # a staged notebook lacks cells
html_theme_options = {"use_download_button": False, "home_page_in_toc": False, "show_toc_level": 2, "navbar_persistent": []}
if "GITHUB_REPOSITORY" in os.environ:  # on GitHub: a link back
    html_theme_options |= {"use_repository_button": True,
                           "repository_url": f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}"}


def inline_math(translator, node):
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block_math(translator, node):
    translator.body.append(f'<div class="equation">{convert(node.astext(), display="block")}</div>\n')
    raise nodes.SkipNode


def to_rst(docstring):
    """A plain docstring as reStructuredText: `code` in backticks, indented blocks and * lists stay, all else is text."""
    blocks = re.split(r"\n\s*\n", docstring.strip("\n"))
    return "\n\n".join("::\n\n" + block if block.startswith("    ") else paragraph(block) for block in blocks)


def paragraph(text):
    parts = re.split(r"`([^`]+)`", text)  # text, code, text, …
    parts[::2] = [re.sub(r"(?<!^)\*|[\\_|`]", r"\\\g<0>", part, flags=re.MULTILINE) for part in parts[::2]]
    parts[1::2] = [rf"\ ``{' '.join(part.split())}``\ " for part in parts[1::2]]
    return re.sub(r"^\\ ", "", "".join(parts), flags=re.MULTILINE)


def plain_docstring(app, what, name, documented, options, lines):
    lines[:] = [*to_rst("\n".join(lines)).splitlines(), ""]


def setup(app):
    app.add_html_math_renderer("mathml", inline_renderers=(inline_math, None), block_renderers=(block_math, None))
    app.connect("autodoc-process-docstring", plain_docstring)
