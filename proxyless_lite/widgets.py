"""Controls for notebooks: thin ipywidgets over the figures of `plots`."""

import ipywidgets
from IPython.display import display

from . import plots


def scrub(history, names):
    """A slider over the epochs of a search; below it p of every edge at that epoch (plots.probabilities)."""
    epoch = ipywidgets.IntSlider(value=len(history) - 1, min=0, max=len(history) - 1, description="epoch")
    show = lambda epoch: display(plots.probabilities(history.probabilities[epoch], names, f"p after epoch {epoch}"))  # noqa: E731
    return ipywidgets.VBox([epoch, ipywidgets.interactive_output(show, {"epoch": epoch})])
