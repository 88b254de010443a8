"""Owns the sections between the tables and the runs: interactive figures, studies, sample images.

Refuses to read a figure's points itself: plots.py and samples.py do.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rethink.paper.numbers import NORMS, TABLES
from rethink.report.page import exports, overview, parts, plots, run_index, samples
from rethink.report.page.markup import Markup, element
from rethink.report.page.run_index import RunGroup, RunRecord
from rethink.report.page.samples import Condition
from rethink.report.page.verdicts import Verdict
from rethink.results import tables

LARGEST_PICTURE = 2**20  # bytes of a PNG that is shown in the page; larger ones are linked


def figures_section(
    found: Sequence[RunGroup], judged: Mapping[str, Verdict], output: Path, files: exports.Exports
) -> Markup | None:
    """Returns the figures of all shelves and, of those that are no table of the paper, their runs as a table.

    Args:
      judged: id that the claims about a figure get -> the verdict on them.
    """
    shown = [shelf for shelf in found if _has_figures(shelf)]
    articles = []
    for number, shelf in enumerate(shown):
        claims = [_claims(anchor, verdict, files) for anchor, verdict in judged.items() if verdict.shelf is shelf]
        articles.append(_shelf(number, shelf, claims, output, files))
    if not any(articles):
        return None
    return element("section", element("h2", "Figures", id="figures"), articles, aria_labelledby="figures")


def _has_figures(shelf: RunGroup) -> bool:
    return any(entry.kind == "train" or len(shelf.entries) > 1 for entry in shelf.entries if not entry.problem)


def _claims(anchor: str, verdict: Verdict, files: exports.Exports) -> Markup:
    """Returns what the paper says of a figure beside what its runs show."""
    heading = element("h4", "What the paper says of it", id=anchor)
    if verdict.problem or verdict.shelf is None:
        return element("div", heading, element("p", "Not compared: ", verdict.problem, class_="problem"))
    title = run_index.display_name(verdict.shelf)
    return element("div", heading, overview.orderings(title, verdict.shelf.folder.name, title, verdict, files))


def _shelf(
    number: int, shelf: RunGroup, claims: Sequence[Markup], output: Path, files: exports.Exports
) -> Markup | None:
    title = run_index.display_name(shelf)
    drawn = []
    for plot in plots.of_shelf(shelf):
        written = files.write(f"{shelf.folder.name}-{plot.name}", plot.rows, plot.columns, f"{title}: {plot.title}")
        static = parts.sibling_files(shelf.folder / "figures", plot.name, output)
        links = parts.file_links(static, f"Static figure: {plot.title}") if static else None
        listed = parts.numbers(plot.title, plot.columns, plot.rows, parts.file_links(written, plot.title))
        drawn.append(parts.plot(f"plot-{number}-{plot.name}", plot.title, plot.caption, plot.figure, links, listed))
    table = None if shelf.name in TABLES else _runs(shelf, title, files)
    return element("article", element("h3", title), drawn, claims, table) if drawn or claims or table else None


def _runs(shelf: RunGroup, title: str, files: exports.Exports) -> list[Markup]:
    """Returns the table of a shelf's runs, and its files."""
    rows = run_index.run_rows(shelf)
    links = {str(entry.folder.name): entry for entry in shelf.entries}

    def show(column: str, row: Mapping[str, Any]) -> Any:
        if column == "run":
            return parts.run_links([links[row["run"]]], row["run"])
        return parts.badge(row["status"]) if column == "status" else str(row[column])

    caption = title if shelf.name == run_index.SINGLE else f"Runs of {title}"
    written = files.write(f"{shelf.folder.name}-runs", rows, tables.BRIEF_COLUMNS, caption)
    table = parts.table(caption, tables.BRIEF_COLUMNS, rows, show)
    return [table, parts.file_links(written, caption)]


def studies_section(found: Sequence[RunGroup], output: Path) -> Markup | None:
    """Returns what the runs that are built or solved, not trained, have shown."""
    studies = [entry for shelf in found for entry in shelf.entries if entry.kind != "train" and not entry.problem]
    if not studies:
        return None
    heading = element("h2", "What is proved or solved", id="studies")
    return element("section", heading, (_study(entry, output) for entry in studies), aria_labelledby="studies")


def _study(entry: RunRecord, output: Path) -> Markup:
    heading = element("h3", element("a", entry.folder.name, href=f"#{entry.anchor}"), " ", parts.badge(entry.status))
    listed = entry.summary.get("rows")
    rows = [
        {"what": str(row[0]), "found": str(row[1])}
        for row in (listed if isinstance(listed, list) else [])
        if isinstance(row, list) and len(row) == 2
    ]
    if rows and entry.kind == "kernel" and entry.cell in NORMS:
        norm = NORMS[entry.cell]
        rows.append(
            {"what": f"norm in the paper ({norm.certainty}), which does not say of what kernel", "found": norm.note}
        )
    table = parts.table(f"What {entry.folder.name} has shown", ("what", "found"), rows) if rows else None
    empty = None if rows else element("p", "It has come to no result.")
    return element("article", heading, table, empty, _pictures(entry, output))


def _pictures(entry: RunRecord, output: Path) -> list[Markup]:
    found = []
    for path in sorted((entry.folder / "figures").glob("*.png")):
        title = f"{path.stem} of {entry.folder.name}"
        links = parts.file_links(parts.sibling_files(path.parent, path.stem, output), title)
        picture = None
        if path.stat().st_size <= LARGEST_PICTURE:
            uri = samples.png_uri(path.read_bytes())
            picture = element("img", src=uri, alt=f"Figure: {title}; its numbers stand in the table", class_="static")
        found.append(element("figure", picture, element("figcaption", title), links))
    return found


def samples_section(found: Sequence[RunGroup]) -> Markup | None:
    """Returns a few training examples of each condition, corrupted, before crop and whitening."""
    conditions = samples.conditions([entry for shelf in found for entry in shelf.entries])
    if not conditions:
        return None
    text = "Corrupted training examples before crop and whitening, of one run a condition. Labels are class numbers."
    shown = [_condition(condition) for condition in conditions]
    heading = element("h2", "What the network is given", id="samples")
    return element("section", heading, element("p", text), shown, aria_labelledby="samples")


def _condition(condition: Condition) -> Markup:
    title = f"{condition.data}: pixels {condition.pixels}; labels {condition.labels}"
    link = element("a", condition.entry.folder.name, href=f"#{condition.entry.anchor}")
    return element(
        "article",
        element("h3", title),
        element("p", "From ", link, "."),
        element("ul", map(_sample, condition.samples), class_="samples"),
    )


def _sample(sample: samples.Sample) -> Markup:
    same = sample.given == sample.true
    words = f"given label {sample.given}, true label {sample.true}"
    image = element("img", src=sample.uri, alt=f"Training image: {words}", class_="pixels", loading="lazy")
    given = element("span", f"given {sample.given}", class_=None if same else "differs")
    return element("li", image, element("span", given, f", true {sample.true}", class_="digits", aria_hidden="true"))
