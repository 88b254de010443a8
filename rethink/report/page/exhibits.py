"""The sections between the tables and the runs: interactive figures, analyses, sample images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rethink.paper.numbers import NORMS, TABLES
from rethink.report.page import exports, overview, parts, plots, run_index, samples
from rethink.report.page.group_verdicts import GroupVerdict
from rethink.report.page.markup import Markup, element
from rethink.report.page.run_index import RunGroup, RunRecord
from rethink.report.page.samples import Condition
from rethink.results.runs import BRIEF_COLUMNS

LARGEST_PICTURE = 2**20  # bytes of a PNG that is shown in the page; larger ones are linked


def figures_section(
    groups: Sequence[RunGroup], verdicts: Mapping[str, GroupVerdict], output: Path, files: exports.Exports
) -> Markup | None:
    """Returns the figures of all groups and, of those that are no table of the paper, their runs as a table.

    Args:
      verdicts: id that the claims about a figure get -> the verdict on them.
    """
    shown = [group for group in groups if _has_figures(group)]
    articles = []
    for number, group in enumerate(shown):
        claims = [
            _claims_block(anchor, verdict, files) for anchor, verdict in verdicts.items() if verdict.group is group
        ]
        articles.append(_group_article(number, group, claims, output, files))
    if not any(articles):
        return None
    return element("section", element("h2", "Figures", id="figures"), articles, aria_labelledby="figures")


def _has_figures(group: RunGroup) -> bool:
    return any(record.run.kind == "train" or len(group.records) > 1 for record in group.records if not record.problem)


def _claims_block(anchor: str, verdict: GroupVerdict, files: exports.Exports) -> Markup:
    """Returns what the paper says of a figure beside what its runs show."""
    heading = element("h4", "What the paper says of it", id=anchor)
    if verdict.problem or verdict.group is None:
        return element("div", heading, element("p", "Not compared: ", verdict.problem, class_="problem"))
    title = run_index.display_name(verdict.group)
    return element("div", heading, overview.orderings(title, verdict.group.folder.name, title, verdict, files))


def _group_article(
    number: int, group: RunGroup, claims: Sequence[Markup], output: Path, files: exports.Exports
) -> Markup | None:
    title = run_index.display_name(group)
    drawn = []
    for plot in plots.draw_plots(group):
        written = files.write(f"{group.folder.name}-{plot.name}", plot.rows, plot.columns, f"{title}: {plot.title}")
        static = parts.sibling_files(group.folder / "figures", plot.name, output)
        links = parts.file_links(static, f"Static figure: {plot.title}") if static else None
        listed = parts.numbers(plot.title, plot.columns, plot.rows, parts.file_links(written, plot.title))
        drawn.append(parts.plot(f"plot-{number}-{plot.name}", plot.title, plot.caption, plot.figure, links, listed))
    table = None if group.name in TABLES else _runs_table(group, title, files)
    return element("article", element("h3", title), drawn, claims, table) if drawn or claims or table else None


def _runs_table(group: RunGroup, title: str, files: exports.Exports) -> list[Markup]:
    """Returns the table of a group's runs, and its files."""
    rows = run_index.describe_group(group)
    links = {str(record.name): record for record in group.records}

    def show(column: str, row: Mapping[str, Any]) -> Any:
        if column == "run":
            return parts.run_links([links[row["run"]]], row["run"])
        return parts.badge(row["status"]) if column == "status" else str(row[column])

    caption = title if group.name == run_index.SINGLE else f"Runs of {title}"
    written = files.write(f"{group.folder.name}-runs", rows, BRIEF_COLUMNS, caption)
    table = parts.table(caption, BRIEF_COLUMNS, rows, show)
    return [table, parts.file_links(written, caption)]


def analyses_section(groups: Sequence[RunGroup], output: Path) -> Markup | None:
    """Returns what the runs that are built or solved, not trained, have shown."""
    records = [record for group in groups for record in group.records if not record.problem]
    analyses = [record for record in records if record.run.kind != "train"]
    if not analyses:
        return None
    heading = element("h2", "What is proved or solved", id="analyses")
    return element(
        "section", heading, (_analysis_article(record, output) for record in analyses), aria_labelledby="analyses"
    )


def _analysis_article(record: RunRecord, output: Path) -> Markup:
    heading = element("h3", element("a", record.name, href=f"#{record.anchor}"), " ", parts.badge(record.status))
    listed = record.run.summary.get("rows")
    rows = [
        {"what": str(row[0]), "value": str(row[1])}
        for row in (listed if isinstance(listed, list) else [])
        if isinstance(row, list) and len(row) == 2
    ]
    if rows and record.run.kind == "kernel" and record.run.cell in NORMS:
        norm = NORMS[record.run.cell]
        rows.append(
            {"what": f"norm in the paper ({norm.certainty}), which does not say of what kernel", "value": norm.note}
        )
    table = parts.table(f"What {record.name} has shown", ("what", "value"), rows) if rows else None
    empty = None if rows else element("p", "It has come to no result.")
    return element("article", heading, table, empty, _picture_figures(record, output))


def _picture_figures(record: RunRecord, output: Path) -> list[Markup]:
    figures = []
    for path in sorted((record.run.folder / "figures").glob("*.png")):
        title = f"{path.stem} of {record.name}"
        links = parts.file_links(parts.sibling_files(path.parent, path.stem, output), title)
        picture = None
        if path.stat().st_size <= LARGEST_PICTURE:
            uri = samples.png_uri(path.read_bytes())
            picture = element("img", src=uri, alt=f"Figure: {title}; its numbers stand in the table", class_="static")
        figures.append(element("figure", picture, element("figcaption", title), links))
    return figures


def samples_section(groups: Sequence[RunGroup]) -> Markup | None:
    """Returns a few training examples of each condition, corrupted, before crop and whitening."""
    conditions = samples.read_conditions([record for group in groups for record in group.records])
    if not conditions:
        return None
    text = "Corrupted training examples before crop and whitening, of one run a condition. Labels are class numbers."
    shown = [_condition_article(condition) for condition in conditions]
    heading = element("h2", "What the network is given", id="samples")
    return element("section", heading, element("p", text), shown, aria_labelledby="samples")


def _condition_article(condition: Condition) -> Markup:
    title = f"{condition.data}: pixels {condition.pixels}; labels {condition.labels}"
    link = element("a", condition.record.name, href=f"#{condition.record.anchor}")
    return element(
        "article",
        element("h3", title),
        element("p", "From ", link, "."),
        element("ul", map(_sample_item, condition.samples), class_="samples"),
    )


def _sample_item(sample: samples.Sample) -> Markup:
    same = sample.given == sample.true
    words = f"given label {sample.given}, true label {sample.true}"
    image = element("img", src=sample.uri, alt=f"Training image: {words}", class_="pixels", loading="lazy")
    given = element("span", f"given {sample.given}", class_=None if same else "differs")
    return element("li", image, element("span", given, f", true {sample.true}", class_="digits", aria_hidden="true"))
