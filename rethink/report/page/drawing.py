"""Makes an interactive figure: traces in panels one above the other, as the JSON that plotly.js draws.

The page's own colours are set by its script, light or dark.
"""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from rethink.figures.style import SERIES_STYLES
from rethink.schema.errors import UserError

PANEL_HEIGHT = 270  # pixels
MARKS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")  # as SERIES_STYLES
LINES = ("solid", "dash", "dot", "dashdot")


def import_plotly() -> ModuleType:
    """Returns the package that makes figures.

    Raises:
      UserError: it is not installed.
    """
    try:
        import plotly.graph_objects
        import plotly.offline
        import plotly.subplots
    except ImportError as error:
        raise UserError("the page needs plotly, which is not installed: pip install -e '.[page]'") from error
    return plotly


def library() -> str:
    """Returns the script that draws figures, plotly.js."""
    return import_plotly().offline.get_plotlyjs()


def series_look(number: int) -> dict[str, Any]:
    """Returns line and marker of a series: told apart by colour and by mark, those of the static figures."""
    colour = SERIES_STYLES[number % len(SERIES_STYLES)]["color"]
    dash = LINES[number // len(SERIES_STYLES) % len(LINES)]
    marker = {"color": colour, "symbol": MARKS[number % len(MARKS)], "size": 7}
    return {"line": {"color": colour, "width": 1.8, "dash": dash}, "marker": marker}


def make_figure(
    panels: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], x_title: str, **x_axis: Any
) -> dict[str, Any]:
    """Returns the JSON of a figure with a common horizontal axis.

    Args:
      panels: (title of the vertical axis, traces) from above.
      x_axis: further properties of the horizontal axis.
    """
    package = import_plotly()
    made = package.subplots.make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.06)
    for row, (title, traces) in enumerate(panels, start=1):
        for trace in traces:
            made.add_trace(package.graph_objects.Scatter(**trace), row=row, col=1)
        made.update_yaxes(title_text=title, rangemode="tozero", row=row, col=1)
    made.update_xaxes(**x_axis)
    made.update_xaxes(title_text=x_title, row=len(panels), col=1)
    made.update_layout(
        height=PANEL_HEIGHT * len(panels) + 90,
        margin={"l": 58, "r": 12, "t": 30, "b": 90},
        legend={"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0, "tracegroupgap": 0},
        hovermode="closest",
        font={"size": 13},
    )
    figure = made.to_plotly_json()
    figure["layout"].pop("template", None)  # colours of its own
    return figure
