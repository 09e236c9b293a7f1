"""Controls for notebooks: thin ipywidgets over the figures of `plots`."""

import ipywidgets
from IPython.display import display

from . import plots


def scrub(history, names):
    """A slider over the epochs of a search; below it p of every edge at that epoch (plots.probabilities)."""
    epoch = ipywidgets.IntSlider(value=len(history) - 1, min=0, max=len(history) - 1, description="epoch")
    show = lambda epoch: display(plots.probabilities(history.probabilities[epoch], names, f"p after epoch {epoch}"))  # noqa: E731
    return ipywidgets.VBox([epoch, ipywidgets.interactive_output(show, {"epoch": epoch})])


def front(networks):
    """A slider for the price λ₂ and one for the latency budget; below them the front of `networks` (plots.front)."""
    fastest, slowest = networks.latency.min(), networks.latency.max()
    wide = {"style": {"description_width": "9em"}, "layout": {"width": "32em"}}
    price = ipywidgets.FloatLogSlider(value=0.03, base=10, min=-3, max=0, step=0.05, description="λ₂ (nats/ms)", readout_format=".3f", **wide)
    budget = ipywidgets.FloatSlider(value=(fastest + slowest) / 2, min=fastest, max=slowest, step=0.05, description="budget (ms)", **wide)
    show = lambda price, budget: display(plots.front(networks, price, budget))  # noqa: E731
    return ipywidgets.VBox([price, budget, ipywidgets.interactive_output(show, {"price": price, "budget": budget})])
