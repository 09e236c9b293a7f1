"""Widgets of the notebooks: controls over the figures of `plots`."""

import ipywidgets
import torch

from . import plots
from .controls import Controls
from ..architecture import Architecture


def epoch_slider(history, names):
    """A slider over the epochs of a search; below it p of every edge at that epoch (plots.probabilities)."""
    epoch = ipywidgets.IntSlider(value=len(history) - 1, min=0, max=len(history) - 1, description="epoch")
    draw = lambda epoch: plots.probabilities(history.probabilities[epoch], names, f"p after epoch {epoch}")  # noqa: E731
    return Controls([epoch], draw, {"epoch": epoch}, stills=[{"epoch": 0}, {}])


def sample_path(names):
    """A slider for the α of each path and one for the number of draws; below them p = softmax(α) and what was drawn
    (plots.path_probabilities). The draws start from one seed, so only what a slider changes changes."""
    alphas = {name: ipywidgets.FloatSlider(value=0, min=-4, max=4, step=0.1, description=f"α {name}") for name in names}
    draws = ipywidgets.IntSlider(value=1, min=0, max=200, description="draws")

    def draw(draws, **alphas):
        p = torch.tensor(list(alphas.values())).softmax(0)
        drawn = p.multinomial(200, replacement=True, generator=torch.Generator().manual_seed(0))[:draws]  # Eq. (2)
        return plots.path_probabilities(p, names, drawn.tolist())

    return Controls([*alphas.values(), draws], draw, {"draws": draws, **alphas}, stills=[{"draws": 5}, {"draws": 200}])


def builder(space, *costs):
    """A menu of operations for every edge of the mobile space; below them the network's costs and its drawing (plots.network).

    `costs` are Costs of the space, each shown in its unit. Tab moves between the menus, Space opens one, arrow keys and Enter choose.
    """
    menus = {edge.name: ipywidgets.Dropdown(options=edge.candidates, description=edge.name.removeprefix("stage"),
                                            layout={"width": "150px"}, style={"description_width": "28px"}) for edge in space.edges()}
    stages = [[menu for name, menu in menus.items() if name.startswith(stage + ".")] for stage in dict.fromkeys(n.split(".")[0] for n in menus)]

    def draw(**choices):
        network = Architecture(space, tuple(choices[name] for name in menus))
        return plots.network(network, "   ".join(f"{cost.cost_of(network):,.{2 if cost.unit == 'ms' else 0}f} {cost.unit}" for cost in costs))

    largest = {name: menu.options[-2 if menu.options[-1] == "Zero" else -1] for name, menu in menus.items()}
    return Controls(map(ipywidgets.HBox, stages), draw, menus, stills=[{}, largest])


def front(networks):
    """A slider for the price λ₂ and one for the latency budget; below them the front of `networks` (plots.front)."""
    fastest, slowest = networks.latency.min(), networks.latency.max()
    wide = {"style": {"description_width": "9em"}, "layout": {"width": "32em"}}
    price = ipywidgets.FloatLogSlider(value=0.03, base=10, min=-3, max=0, step=0.05, description="λ₂ (nats/ms)", readout_format=".3f", **wide)
    budget = ipywidgets.FloatSlider(value=(fastest + slowest) / 2, min=fastest, max=slowest, step=0.05, description="budget (ms)", **wide)
    draw = lambda price, budget: plots.front(networks, price, budget)  # noqa: E731
    return Controls([price, budget], draw, {"price": price, "budget": budget}, stills=[{"price": 0.003}, {"price": 0.3}])
