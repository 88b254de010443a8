"""Renders the page's templates: escaping in one place, and a policy that lets no script run but the page's own.

Only what the templates themselves hold, and the page's own style and scripts, are taken as they are.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from rethink.report.page import drawing
from rethink.schema.output import spell_out

HERE = Path(__file__).parent
WIDTHS = {"measure": "word", "status": "word", "paper": "word", "ours": "word", "notes": "long"}  # column -> class


def render_page(data: Mapping[str, Any]) -> str:
    """Returns the page, from what its sections show.

    Raises:
      UserError: plotly is not installed.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        finalize=show_value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.globals["lay_out"] = lay_out
    scripts = [_keep_inside(source) for source in (drawing.library(), _read("page.js"))]
    own = {"library": scripts[0], "script": scripts[1], "style": Markup(_read("style.css")), "policy": _policy(scripts)}
    return environment.get_template("page.html").render({**data, **own}) + "\n"


def show_value(value: Any) -> Any:
    """Returns a value as text without what can't be printed; HTML as it is."""
    if value is None or hasattr(value, "__html__"):
        return "" if value is None else value
    return spell_out(str(value), keep="\n")


def lay_out(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], show: Callable[..., Markup] | None
) -> tuple[list[Markup], list[list[Any]]]:
    """Returns the class of each column, as an attribute, and the cells of each row.

    Args:
      show: (column, row) -> the HTML of a cell; without it, a cell is the row's value.
    """
    lines = [[show(name, row).strip() if show else row[name] for name in columns] for row in rows]
    classes = []
    for name, cells in zip(columns, zip(*lines, strict=True) if lines else [()] * len(columns), strict=True):
        texts = [text for cell in cells if (text := Markup.escape(cell).unescape()) not in ("", "not reached")]
        is_number = bool(texts) and all(text.strip("+-.,%>= 0123456789") == "" for text in texts)  # set flush right
        look = "number" if is_number else WIDTHS.get(name)
        classes.append(Markup(' class="{}"').format(look) if look else Markup())
    return classes, lines


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _keep_inside(source: str) -> Markup:
    """Returns a script without what would end its element, or hide its end."""
    return Markup(source.replace("</script", "<\\/script").replace("<!--", "<\\!--"))


def _policy(scripts: Iterable[str]) -> str:
    """Returns the policy: nothing loads that is not in the page, and of scripts only these run, by their hashes."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
