"""Figures that move."""

from matplotlib.animation import PillowWriter

from .runs import probabilities


def animate(history, names, path, frames_a_second=4):
    """Write the heat map of p over the epochs of a search to `path`, a GIF; the last frame stays for two seconds.

    `history` is a search's, with columns epoch, phase and probabilities (E, N); `names` are the N candidates.
    Returns `path`. Raises ValueError for a history without epochs.
    """
    if not len(history):
        raise ValueError("the history holds no epoch: there is nothing to draw")
    frames = [probabilities(row.probabilities, names, f"epoch {row.epoch}, {row.phase}") for row in history.itertuples()]
    writer = PillowWriter(fps=frames_a_second)
    with writer.saving(frames[0], path, dpi=80):
        for writer.fig in frames + frames[-1:] * (2 * frames_a_second):
            writer.grab_frame()
    return path
