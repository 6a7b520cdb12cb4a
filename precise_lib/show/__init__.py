"""Figures: one style, maps that share a color scale with their truth, sliders without a kernel."""

from precise_lib.show.curves import gains, plot_curves, plot_spectra, ppm_axis, snr_axes
from precise_lib.show.maps import map_panels, map_rows, plot_phantom, show_map
from precise_lib.show.slider import slider
from precise_lib.show.style import color, marker, use_style
from precise_lib.show.table import Markdown, records, table

__all__ = [
    "Markdown",
    "color",
    "gains",
    "map_panels",
    "map_rows",
    "marker",
    "plot_curves",
    "plot_phantom",
    "plot_spectra",
    "ppm_axis",
]
__all__ += ["records", "show_map", "slider", "snr_axes", "table", "use_style"]
