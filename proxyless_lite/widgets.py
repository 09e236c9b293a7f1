"""Controls for notebooks: thin ipywidgets over the figures of `plots`."""

import ipywidgets
import torch
from IPython.display import display

from . import plots


def scrub(history, names):
    """A slider over the epochs of a search; below it p of every edge at that epoch (plots.probabilities)."""
    epoch = ipywidgets.IntSlider(value=len(history) - 1, min=0, max=len(history) - 1, description="epoch")
    show = lambda epoch: display(plots.probabilities(history.probabilities[epoch], names, f"p after epoch {epoch}"))  # noqa: E731
    return ipywidgets.VBox([epoch, ipywidgets.interactive_output(show, {"epoch": epoch})])


def sample_path(names):
    """A slider for the α of each path and one for the number of draws; below them p = softmax(α) and what was drawn
    (plots.path_probabilities). The draws start from one seed, so only what a slider changes changes."""
    alphas = {name: ipywidgets.FloatSlider(value=0, min=-4, max=4, step=0.1, description=f"α {name}") for name in names}
    draws = ipywidgets.IntSlider(value=1, min=0, max=200, description="draws")

    def show(draws, **alphas):
        p = torch.tensor(list(alphas.values())).softmax(0)
        drawn = p.multinomial(200, replacement=True, generator=torch.Generator().manual_seed(0))[:draws]  # Eq. (2)
        display(plots.path_probabilities(p, names, drawn.tolist()))

    return ipywidgets.VBox([*alphas.values(), draws, ipywidgets.interactive_output(show, {"draws": draws, **alphas})])
