"""Controls over a picture; where no kernel runs, still pictures in their place."""

import base64
import io

import ipywidgets
from IPython.core.pylabtools import print_figure
from IPython.display import display
from PIL import Image


class Controls(ipywidgets.VBox):
    """Rows of controls, and below them the figure `draw(**settings)`, drawn again when a control of `controls` (name: widget) moves.

    On a site, on GitHub and in print `stills` stand in their place: the figures at these settings (dicts; a control that a dict
    lacks is where it starts), one below the other.
    """

    def __init__(self, rows, draw, controls, stills):
        picture = ipywidgets.interactive_output(lambda **settings: display(draw(**settings)), controls)
        super().__init__([*rows, picture])
        start = {name: control.value for name, control in controls.items()}
        self.stills = [draw(**start | still) for still in stills]

    def _repr_mimebundle_(self, **kwargs):
        shown = super()._repr_mimebundle_(**kwargs)
        alt = f"What the controls show at {len(self.stills)} settings: {self.stills[0].get_label()}"
        return shown | {"image/png": png(self.stills)}, {"image/png": {"alt": alt}}


def png(figures):
    """The PNG, in base64, of figures one below the other, in 256 colours to keep notebooks small."""
    pictures = [Image.open(io.BytesIO(print_figure(figure))).convert("RGB") for figure in figures]
    whole = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    for i, picture in enumerate(pictures):
        whole.paste(picture, (0, sum(p.height for p in pictures[:i])))
    small = io.BytesIO()
    whole.quantize(256).save(small, "png", optimize=True)
    return base64.b64encode(small.getvalue()).decode()
