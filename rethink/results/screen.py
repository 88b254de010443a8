"""How wide the screen is, text in lines that fit it, and numbers as they are shown."""

import math
import textwrap
from collections.abc import Sequence

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


def name_class(label: int, class_names: Sequence[str], longest: int) -> str:
    """Returns the name of a class, cut to `longest` characters, behind its number; or the number alone."""
    name = str(class_names[label]) if 0 <= label < len(class_names) else ""
    if not name.strip() or name == str(label):
        return str(label)
    return f"{label} ({name if len(name) <= longest else name[:longest] + '...'})"


def format_percent(fraction: float) -> str:
    """Returns a fraction in percent: 0.1042 -> '10.42%'; only a whole 1.0 is '100.00%', one miss in 50,000 is not."""
    return "99.99%" if 0.9999 < fraction < 1 else f"{100 * fraction:.2f}%"


def format_loss(value: float) -> str:
    """Returns a loss with three decimals where they say enough, else scientific; nan and inf as they are."""
    return f"{value:.2e}" if 0 < abs(value) < 0.01 or 1000 <= abs(value) < math.inf else f"{value:.3f}"


def format_duration(seconds: float) -> str:
    """Returns 12.3s, 45s, 4m10s, 1h02m or 2d03h: whole seconds from 20 s on, from a minute on the two largest units."""
    if seconds < 20:
        return f"{seconds:.1f}s"
    seconds = round(seconds)
    for size, unit, part, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            return f"{seconds // size}{unit}{seconds % size // part:02d}{name}"
    return f"{seconds}s"
