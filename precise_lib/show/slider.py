"""A slider without a kernel."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable, Mapping

import matplotlib.pyplot as plt


def slider(draw: Callable, values: Iterable, label: str, alt: str = "", start: str | None = None):
    """A slider called `label` over figures that `draw` makes now of the `values`, a mapping of slider labels or an
    iterable; alive in JupyterLab and on the static page alike. `alt` says what the pictures show, for readers who do
    not see them; `start` is the slider label where it begins, the first unless given.
    """
    import ipywidgets as widgets

    values = values if isinstance(values, Mapping) else {str(v): v for v in values}
    pictures = []
    for text, value in values.items():
        figure, buffer = draw(value), io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
        plt.close(figure)
        data, described = base64.b64encode(buffer.getvalue()).decode(), html.escape(f"{alt or label}, {text}")
        image = f'<img alt="{described}" style="max-width:100%" src="data:image/png;base64,{data}">'
        pictures.append(widgets.HTML(image))
    first = 0 if start is None else list(values).index(start)
    options, style = [(text, i) for i, text in enumerate(values)], {"description_width": "initial"}
    control = widgets.SelectionSlider(options=options, index=first, description=label, style=style)
    stack = widgets.Stack(pictures, selected_index=first)
    play = widgets.Play(value=first, min=0, max=len(pictures) - 1, interval=700, show_repeat=False)
    widgets.jslink((play, "value"), (control, "index"))
    widgets.jslink((control, "index"), (stack, "selected_index"))
    return widgets.VBox([widgets.HBox([play, control]), stack])
