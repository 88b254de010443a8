"""The first sections of a page: the verdict, and every table of the paper beside ours.

Judges nothing: it shows what group_verdicts.py and comparison.py have.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rethink.paper.numbers import CERTAINTIES, TABLES
from rethink.report import comparison, verdicts
from rethink.report.page import exports, group_verdicts, parts, run_index
from rethink.report.page.group_verdicts import GroupVerdict
from rethink.report.page.markup import Markup, element
from rethink.results.runs import BRIEF_COLUMNS


def anchor(number: int) -> str:
    """Returns the id of the table of a verdict, of which `number` came before; figures follow the tables."""
    return f"table-{number + 1}"


def verdict_section(groups: Sequence[GroupVerdict]) -> Markup:
    """Returns the counts over all tables and figures, the rule, and a line for each of them."""
    counts = sum((verdict.counts() for verdict in groups), Counter())
    claims = sum((verdict.orderings() for verdict in groups), Counter())
    return element(
        "section",
        element("h2", "The verdict", id="verdict"),
        element("p", _sentence(counts, claims), class_="lead"),
        element("h3", "Numbers of the paper's tables"),
        _tiles(counts, comparison.VERDICTS),
        element("h3", "Orderings that the paper reports, in tables and figures"),
        _tiles(claims, verdicts.CLAIM_VERDICTS),
        element("p", element("strong", "The rule. "), group_verdicts.RULE),
        _verdict_table(groups),
        aria_labelledby="verdict",
    )


def _sentence(counts: Counter[str], claims: Counter[str]) -> str:
    judged, held = counts["match"] + counts["off"], claims["holds"] + claims["doesn't hold"]
    first = (
        f"Of {judged} numbers measured on the paper's own experiments, {counts['match']} match."
        if judged
        else "No number has been measured on one of the paper's own experiments yet."
    )
    others = counts["not comparable"]
    other = f" {others} were measured on other experiments, so they can't be compared." if others else ""
    orders = f" Of {held} orderings that were put to our numbers, {claims['holds']} hold." if held else ""
    return first + other + orders


def _tiles(counts: Counter[str], names: Sequence[str]) -> Markup:
    tiles = (
        element("div", element("dt", parts.badge(name)), element("dd", counts[name]), class_="tile") for name in names
    )
    return element("dl", tiles, class_="tiles")


def _verdict_table(groups: Sequence[GroupVerdict]) -> Markup:
    columns = (
        "table or figure",
        *comparison.VERDICTS,
        "orderings: hold",
        "don't",
        "not comparable ",
        "not run ",
        "no result ",
    )
    rows = []
    for number, verdict in enumerate(groups):
        numbers, orderings = verdict.counts(), [verdict.orderings()[name] for name in verdicts.CLAIM_VERDICTS]
        name = verdict.table if verdict.group is None else run_index.display_name(verdict.group)
        link = element("a", name, href=f"#{anchor(number)}")
        cells = [link, *(numbers[name] for name in comparison.VERDICTS), *orderings]
        rows.append(dict(zip(columns, cells, strict=True)))
    return parts.table("Verdicts of each table and figure", columns, rows)


def tables_section(groups: Sequence[GroupVerdict], files: exports.Exports) -> Markup:
    """Returns every table of the paper beside ours, and writes its files."""
    letters = element("dl", ([element("dt", k), element("dd", v)] for k, v in CERTAINTIES.items()), class_="keys")
    return element(
        "section",
        element("h2", "The paper's tables", id="tables"),
        element("p", "The letter behind a number of the paper says how certain it is that the paper has it:"),
        letters,
        (_table_article(number, verdict, files) for number, verdict in enumerate(groups)),
        aria_labelledby="tables",
    )


def _table_article(number: int, verdict: GroupVerdict, files: exports.Exports) -> Markup:
    title = TABLES[verdict.table].title
    where = f"{title} ({verdict.group.folder.name})" if verdict.group else title
    heading = element("h3", where, id=anchor(number))
    if verdict.problem:
        return element("article", heading, element("p", "Not compared: ", verdict.problem, class_="problem"))
    name = verdict.table if verdict.group is None else f"{verdict.table}-{verdict.group.folder.name}"
    written = files.write(name, verdict.rows, comparison.COLUMNS, where)
    runs = (
        files.write(f"{verdict.group.folder.name}-runs", run_index.describe_group(verdict.group), BRIEF_COLUMNS, where)
        if verdict.group
        else []
    )
    return element(
        "article",
        heading,
        _unreadable_note(verdict),
        _numbers_table(title, verdict),
        parts.file_links(written, where),
        parts.file_links(runs, f"Runs of {where}", label="Its runs") if runs else None,
        orderings(title, name, where, verdict, files) if verdict.claims else None,
    )


def _unreadable_note(verdict: GroupVerdict) -> Markup | None:
    unreadable = verdict.group.unreadable() if verdict.group else []
    if not unreadable:
        return None
    links = [part for record in unreadable for part in (" ", element("a", record.name, href=f"#{record.anchor}"))]
    return element("p", "Left out, as they can't be read:", links, class_="problem")


def _numbers_table(title: str, verdict: GroupVerdict) -> Markup:
    records = verdict.group.records if verdict.group else ()
    columns = ("cell", "measure", "paper %", "ours %", "difference", "± s.e.", "verdict", "status", "notes")

    def show(column: str, row: Mapping[str, Any]) -> Any:
        if column == "cell":
            return parts.run_links([record for record in records if record.run.cell == row["cell"]], row["cell"])
        if column == "paper %":
            return _certain(row["paper %"], row["certainty"], "digits")
        if column == "ours %":
            return _ours(row)
        if column == "verdict":
            return parts.badge(row["verdict"])
        if column == "status" and row["status"] == "not run":
            return ""  # its verdict says so
        text = str(row[{"difference": "ours - paper", "± s.e.": "standard error"}.get(column, column)])
        return text.replace("_", " ") if column == "measure" else text

    return parts.table(f"{title}: the paper's numbers beside ours", columns, verdict.rows, show)


def _certain(text: str, letters: str, look: str | None = None) -> Any:
    """Returns what the paper has, with the letters of its certainty; "" without one."""
    if not letters:
        return ""
    meaning = "; ".join(CERTAINTIES[letter] for letter in letters)
    return element("span", text, " ", element("abbr", letters, title=meaning), class_=look)


def _ours(row: Mapping[str, Any]) -> Any:
    if not row["n"]:
        return ""
    spread = f" ± {row['deviation']}" if row["deviation"] else ""
    small = element("small", f"{spread} (n={row['n']})")
    return element("span", row["ours %"], small, class_="digits")


def orderings(title: str, name: str, where: str, verdict: GroupVerdict, files: exports.Exports) -> list[Markup]:
    """Returns the table of a verdict's claims, and writes its files, NAME-orderings."""
    columns = ("statement", "verdict", "paper", "ours", "± s.e.", "n", "notes")

    def show(column: str, row: Mapping[str, Any]) -> Any:
        if column == "verdict":
            return parts.badge(row["verdict"])
        if column == "paper":
            return _certain(row["paper"], row["certainty"])
        return str(row["standard error" if column == "± s.e." else column])

    written = files.write(f"{name}-orderings", verdict.claims, verdicts.CLAIM_COLUMNS, f"Orderings: {where}")
    table = parts.table(f"{title}: orderings", columns, verdict.claims, show)
    return [table, parts.file_links(written, f"Orderings of {where}")]
