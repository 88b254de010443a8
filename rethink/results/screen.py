"""How wide the screen is, and text in lines that fit it."""

import textwrap

from rich.console import Console


def measure_width() -> int:
    """Returns how many columns there are to print on: of the terminal, COLUMNS where it is set, elsewhere 80."""
    return Console().width


def wrap(text: str, indent: int = 0) -> str:
    """Returns text in lines that fit the screen, the further ones indented; a word is never cut."""
    return textwrap.fill(
        text, measure_width(), subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


def wrap_value(label: str, value: str) -> str:
    """Returns a label and a value, which stays beside it: only the words that follow may come to stand below."""
    return wrap(f"{label}\0{value}", 4).replace("\0", " ")
