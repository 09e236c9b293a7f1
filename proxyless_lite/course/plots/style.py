"""One look for all figures: sizes, colours, and a text description for readers who cannot see them.

Colours are Okabe and Ito's, safe for colour-blind readers; markers, line styles and hatches carry the same information in grey.
"""

import inspect
from functools import wraps

import matplotlib.figure
import matplotlib.pyplot as plt

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000"
KERNELS = {"3": (BLUE, "", "o"), "5": (ORANGE, "//", "s"), "7": (RED, "xx", "^")}  # colour, hatch, marker; the same everywhere
OTHER = GREEN, "..", "D"

HEADLINE = 0.27  # height of a headline in inches
STYLE = {"figure.dpi": 100, "savefig.dpi": 150, "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10,
         "legend.fontsize": 9, "xtick.labelsize": 9, "ytick.labelsize": 9, "axes.spines.top": False,
         "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3, "legend.frameon": False}


class Figure(matplotlib.figure.Figure):
    """A figure whose label is its alt text; notebook.setup displays it that way."""


def new_figure(*args, **settings):
    """plt.subplots, but closed at once, so that a notebook shows the figure only once, as a cell's value."""
    figure, axes = plt.subplots(*args, layout="constrained", FigureClass=Figure, **settings)
    plt.close(figure)
    return figure, axes


def headline(figure, text):
    """The figure with its message in a line above all else, for who looks for five seconds."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + HEADLINE)
    figure.suptitle(text, x=0.01, ha="left", fontsize=11, fontweight="bold")
    for legend in figure.legends:  # those outside the axes: the layout gives them and the message one place, so a line above them is left free
        title = legend.get_title().get_text()
        legend.set_title(f"\n{title}" if title else " ")
    return figure


def described(plot):
    """Make the first line of a plot's docstring the alt text of its figures."""
    @wraps(plot)
    def drawn(*args, **settings):
        figure = plot(*args, **settings)
        figure.set_label(inspect.getdoc(plot).splitlines()[0])
        return figure
    return drawn
