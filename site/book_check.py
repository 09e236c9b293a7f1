"""Goes through the pages of the built site: links, alt texts, other hosts, and what the site leaves out."""

import json
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}  # by the browser, at once
APART = ("script", "style", "pre", "code", "math")
LATEX = re.compile(r"\$\$|\$[^$\s](?:[^$\n]*[^$\s])?\$(?!\w)|\\[a-zA-Z]{2,}")
NO_WIDGETS = ("application/vnd.jupyter.widget", "jupyter-widgets", "widget-subarea", "VBox(children", "HBox(children")


class Page(HTMLParser):
    """A page's ids, links, loaded files and images; its text, its text outside code, its formulas, its scripts and styles."""

    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.links, self.loads, self.images, self.inline = path, {""}, [], [], [], []
        self.words, self.plain, self.formulas, self.within = [], [], [], []
        self.feed(path.read_text())
        self.text, self.prose = "".join(self.words), "".join(self.plain)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag in APART:
            self.within.append(tag)
        self.ids.add(values.get("id") or "")
        if tag == "a":
            self.links.append(values.get("href") or "")
            self.ids.add(values.get("name") or "")
        elif tag in LOADED and values.get(LOADED[tag]):
            self.loads.append(values[LOADED[tag]])
        if tag == "img":
            self.images.append(values)
        elif tag == "script":
            self.inline.append(values.get("type") or "")

    def handle_endtag(self, tag):
        if tag in self.within:
            self.within.remove(tag)

    def handle_data(self, data):
        kind = self.within[-1] if self.within else ""
        if kind in ("script", "style"):
            self.inline.append(data)
            return
        self.words.append(data)
        {"": self.plain, "math": self.formulas}.get(kind, []).append(data)


def complaints(site, notebooks):
    """One line for each fault of the pages in folder `site`, made of these notebooks."""
    pages = cache(Page)
    for path in sorted(set(site.rglob("*.html")) - set(site.glob("_static/**/*.html"))):  # there: templates of the theme
        page, name = pages(path), path.relative_to(site)
        faults = [*links(page, site, pages), *alt_texts(page), *hosts(page), *widgets(page), *formulas(page)]
        yield from (f"{name}: {fault}" for fault in faults)
    for path in sorted(site.rglob("*.css")):
        yield from (f"{path.relative_to(site)}: loads {url}" for url in foreign(path.read_text()))
    for path in notebooks:
        page = site / "notebooks" / path.parts[-2].replace("notebooks", "") / f"{path.stem}.html"
        yield from (f"{page.relative_to(site)}: {fault}" for fault in left_in(pages(page), json.loads(path.read_text())))


def links(page, site, pages):
    """Every internal link and file leads somewhere, and every anchor is there."""
    for url in [*page.links, *page.loads]:
        parts = urlsplit(url)
        if parts.scheme or parts.netloc:
            continue
        target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
        if not target.is_file() or site.resolve() not in target.resolve().parents:
            yield f"link to {url}, which is not in the site"
        elif target.suffix == ".html" and unquote(parts.fragment) not in pages(target).ids:
            yield f"link to {url}, which has no such anchor"


def alt_texts(page):
    """Every image has a text; Sphinx writes the file's name where there is none."""
    for image in page.images:
        alt, src = (image.get("alt") or "").strip(), image.get("src", "")
        if not alt or Path(alt).name == Path(src).name:
            yield f"image without alt text: {src[:80]}"


def hosts(page):
    """Nothing is loaded from another host; a link may lead there."""
    yield from (f"loads {url}" for url in page.loads if urlsplit(url).netloc)
    yield from (f"loads {url}" for text in page.inline for url in foreign(text))


def foreign(text):
    """Addresses of other hosts that a style sheet or an inline script loads."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return re.findall(r"""(?:url\(|@import|import\(?|from|src\s*=)\s*["']?((?:https?:)?//[^\s"')]+)""", text)


def widgets(page):
    text = page.text + "".join(page.inline)
    yield from (f"a widget's placeholder: {mark}" for mark in NO_WIDGETS if mark in text)


def formulas(page):
    """LaTeX in prose, or a command within a formula: what was not turned into a formula."""
    for found in LATEX.finditer(page.prose):
        yield f"not a formula: {page.prose[max(0, found.start() - 20):found.end() + 20]!r}"
    yield from (f"not understood in a formula: {text!r}" for text in page.formulas if "\\" in text)


def left_in(page, notebook):
    """Cells tagged remove-cell that the page shows."""
    for number, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"]).strip()
        if "remove-cell" in cell["metadata"].get("tags", []) and source in page.text:
            yield f"shows cell {number}, which is tagged remove-cell"


