"""The parts that the sections of a page are made of: tables, badges, figures, links to runs and files."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rethink.report.page import markup
from rethink.report.page.markup import Markup, element
from rethink.report.page.run_index import RunRecord

SIGNS = {  # of a verdict or a status, beside its words: never colour alone
    "match": ("good", "✓"),
    "holds": ("good", "✓"),
    "off": ("bad", "✗"),
    "doesn't hold": ("bad", "✗"),
    "not comparable": ("other", "≠"),
    "inconclusive": ("other", "≈"),
    "not run": ("none", "–"),
    "no result": ("none", "…"),
    "not reported": ("none", "·"),
    "in words": ("none", "”"),
    "fitted": ("good", "✓"),
    "done": ("good", "✓"),
    "stopped early": ("good", "✓"),
    "running": ("other", "▸"),
    "interrupted": ("other", "‖"),
    "diverged": ("bad", "✗"),
    "failed": ("bad", "✗"),
    "unreadable": ("bad", "✗"),
}
WIDTHS = {"measure": "word", "status": "word", "paper": "word", "ours": "word", "notes": "long"}  # column -> class


def badge(words: str) -> Markup:
    """Returns a verdict or a status, as a sign, in words and in colour."""
    kind, sign = SIGNS.get(words, ("none", "·"))
    return element("span", element("span", sign, aria_hidden="true"), " ", words, class_=f"badge {kind}")


def table(
    caption: Any,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    show: Callable[[str, Mapping[str, Any]], Any] = lambda column, row: row[column],
) -> Markup:
    """Returns a table that scrolls in its box; the first column heads the rows.

    Args:
      show: (column, row) -> what the cell holds.
    """
    listed = list(rows)
    shown = {column: [show(column, row) for row in listed] for column in columns}
    looks = [_look(column, cells) for column, cells in shown.items()]
    heads = [element("th", name, scope="col", class_=look) for name, look in zip(columns, looks, strict=True)]
    lines = [_line(cells, looks) for cells in zip(*shown.values(), strict=True)]
    head, body = element("thead", element("tr", heads)), element("tbody", lines)
    whole = element("table", element("caption", caption), head, body)
    return element("div", whole, class_="scroll", tabindex="0", role="group", aria_label="table, scrolls sideways")


def _line(cells: Sequence[Any], looks: Sequence[str | None]) -> Markup:
    others = (element("td", cell, class_=look) for cell, look in zip(cells[1:], looks[1:], strict=True))
    return element("tr", element("th", cells[0], scope="row"), others)


def _look(column: str, cells: Iterable[Any]) -> str | None:
    """Returns the class of a column: numbers are set flush right."""
    texts = [str(cell) for cell in cells if cell not in ("", "not reached")]
    is_number = bool(texts) and all(text.strip("+-.,%>= 0123456789") == "" for text in texts)
    return "number" if is_number else WIDTHS.get(column)


def run_links(records: Sequence[RunRecord], name: str) -> Any:
    """Returns the name of a cell as a link to its run; with several, a link for each seed behind the name."""
    if not records:
        return name
    if len(records) == 1:
        return element("a", name, href=f"#{records[0].anchor}")
    seeds = [
        element("a", _seed(record), href=f"#{record.anchor}", aria_label=_link_label(record)) for record in records
    ]
    spaced = [part for link in seeds for part in (" ", link)]
    return [name, element("span", " seed", spaced, class_="seeds")]


def _seed(record: RunRecord) -> str:
    return record.name.rpartition("-seed")[2]


def _link_label(record: RunRecord) -> str:
    return f"run {record.run.cell}, seed {_seed(record)}"


def file_links(paths: Sequence[str], what: str, label: str = "Files") -> Markup:
    """Returns links to files, each by its ending; `what` names them for a screen reader."""
    links = []
    for path in paths:
        ending = path.rpartition(".")[2].upper()
        links += [" ", markup.link(path, ending, aria_label=f"{what} as {ending}")]
    return element("p", f"{label}:", links, class_="files")


def sibling_files(folder: Path, stem: str, output: Path) -> list[str]:
    """Returns the static figures STEM.png and STEM.pdf that exist in a folder, as paths relative to the page."""
    paths = (folder / f"{stem}.{suffix}" for suffix in ("png", "pdf"))
    return [os.path.relpath(path, output.parent) for path in paths if path.is_file()]


def plot(anchor: str, title: str, caption: str, figure: Mapping[str, Any], *more: Any) -> Markup:
    """Returns an interactive figure, drawn when it comes into view; `more` follows its caption."""
    return element(
        "figure",
        element("h4", title),
        element("div", class_="plot", id=anchor, role="img", aria_label=f"{title}. {caption}", style=_height(figure)),
        markup.data(figure, id=f"{anchor}-data"),
        element("figcaption", caption),
        *more,
        class_="wide",
    )


def _height(figure: Mapping[str, Any]) -> str:
    return f"min-height:{int(figure['layout']['height'])}px"  # what is below does not move when it is drawn


def numbers(title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], links: Markup) -> Markup:
    """Returns the numbers of a figure, folded away."""
    summary = element("summary", "The numbers of this figure")
    return element("details", summary, table(title, columns, rows), links)
