"""The drawing of the spaces' blocks: what it says is so, and it is drawn to scale."""

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.patches import FancyBboxPatch, Polygon

import proxyless_lite as pl
from proxyless_lite.course import plots

EDGE, CELL = pl.spaces.mobile().edges()[9], (240, 60, 240)


def texts(ax):
    return [t.get_text().strip() for t in ax.findobj(plt.Text) if t.get_text().strip()]


def layers(ax):
    """(channels above, channels below) of each layer, from its corners."""
    corners = [p.get_xy() for p in ax.findobj(Polygon) if p.get_fill() and len(p.get_xy()) == 5]
    return [(xy[1][0] - xy[0][0], xy[2][0] - xy[3][0]) for xy in corners]


@pytest.fixture(scope="module")
def figure():
    with plt.rc_context(plots.STYLE):
        return plots.building_blocks(EDGE.block("MB6 5x5"), CELL)


def test_layers_are_as_wide_as_their_channels(figure):
    module = EDGE.operation("MB6 5x5")
    convolutions = [(c.in_channels, c.out_channels) for c in module.modules() if isinstance(c, torch.nn.Conv2d)]
    assert layers(figure.axes[0]) == convolutions == [(80, 480), (480, 480), (480, 80)]
    entering, cell, leaving = CELL
    assert layers(figure.axes[1]) == [(entering, cell), (cell, 2 * cell), (cell, leaving)]
    assert all(any(f"{i} → {o}" in t for t in texts(figure.axes[0])) for i, o in ((80, 480), (480, 80)))


def test_the_drawn_cell_is_one_of_the_tree_space(figure):
    """Its channels, its twelve edges and their candidates, and its fixed convolutions."""
    space = pl.spaces.tree()
    own = [edge for edge in space.edges() if edge.name.startswith("block28.")]
    assert space.rows[28] == ("240→240 s1 16x16", 12) and {edge.in_channels for edge in own} == {60} and own[0] == space.edges()[12 * 28]
    questions = texts(figure.axes[1]).count("?")
    assert questions == len(own) == 12 and {len(edge.candidates) for edge in own} == {7}
    assert sum(isinstance(p, FancyBboxPatch) for p in figure.axes[1].patches) == questions + 1, "and the ground of the cell"
    with torch.device("meta"):
        block = space.network(lambda edge: torch.nn.Identity()).blocks[28]
    fixed = [(c.in_channels, c.out_channels) for c in block.modules() if isinstance(c, torch.nn.Conv2d)]
    assert fixed == layers(figure.axes[1])


def test_it_can_be_read_and_is_described(figure):
    assert len(figure.get_label()) > 30 and figure.get_size_inches()[0] <= 10
    assert min(t.get_fontsize() for ax in figure.axes for t in ax.findobj(plt.Text) if t.get_text().strip()) >= 9
    assert "expand ×6" in " ".join(texts(figure.axes[0])) and "5×5 depthwise" in " ".join(texts(figure.axes[0]))


def test_a_block_without_a_shortcut_has_none():
    first = pl.spaces.mobile().edges()[0]                                # 16 → 24 channels, stride 2
    drawn = [texts(plots.building_blocks(edge.block("MB3 7x7"), CELL).axes[0]) for edge in (first, EDGE)]
    assert ["shortcut" in words for words in drawn] == ["Zero" in first.candidates, "Zero" in EDGE.candidates] == [False, True]
    assert any("16 → 48" in t for t in drawn[0])
