"""A bar in the output of a notebook's cell, which is redrawn in place."""

import html
from collections.abc import Callable
from typing import Any


class NotebookBar:
    """A bar and a line of text beside it; without widgets, so that it needs nothing but IPython."""

    def __init__(self, describe: Callable[[], tuple[float, str]], transient: bool):
        """Shows nothing yet.

        Args:
          describe: -> (the part that is done, the text).
          transient: whether it disappears at the end.
        """
        self._describe, self._transient = describe, transient
        self._handle: Any = None

    def start(self, refresh: bool = True) -> None:
        """Shows it, in the cell that is being run."""
        from IPython.display import display

        self._handle = display(self._draw(), raw=True, display_id=True)

    def refresh(self) -> None:
        """Draws it again."""
        self._handle.update(self._draw(), raw=True)

    def stop(self) -> None:
        """Draws its end; does nothing when stopped already."""
        if self._handle:
            self._handle.update({"text/plain": ""} if self._transient else self._draw(), raw=True)
            self._handle = None

    def _draw(self) -> dict[str, str]:
        part, text = self._describe()
        bar = f'<progress value="{part:.4f}" max="1" style="width: 20em"></progress>'
        return {"text/plain": text, "text/html": f"{bar} <code>{html.escape(text)}</code>"}
