"""Owns the first sections of a page: the verdict, and every table of the paper beside ours.

Refuses to count again: what it shows is what verdicts.py and comparison.py say.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rethink.paper.numbers import CERTAINTIES, TABLES
from rethink.report import comparison
from rethink.report.page import exports, parts, run_index, verdicts
from rethink.report.page.markup import Markup, element
from rethink.report.page.verdicts import Verdict
from rethink.results import tables


def anchor(number: int) -> str:
    """Returns the id of the table of a verdict, of which `number` came before; figures follow the tables."""
    return f"table-{number + 1}"


def verdict_section(found: Sequence[Verdict]) -> Markup:
    """Returns the counts over all tables and figures, the rule, and a line for each of them."""
    counts = verdicts.total([verdict.counts() for verdict in found])
    claims = verdicts.total([verdict.orderings() for verdict in found])
    return element(
        "section",
        element("h2", "The verdict", id="verdict"),
        element("p", _sentence(counts, claims), class_="lead"),
        element("h3", "Numbers of the paper's tables"),
        _tiles(counts, comparison.VERDICTS),
        element("h3", "Orderings that the paper reports, in tables and figures"),
        _tiles(claims, verdicts.ORDERING_VERDICTS),
        element("p", element("strong", "The rule. "), verdicts.RULE),
        _lines(found),
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


def _lines(found: Sequence[Verdict]) -> Markup:
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
    for number, verdict in enumerate(found):
        numbers, orderings = verdict.counts(), [verdict.orderings()[name] for name in verdicts.ORDERING_VERDICTS]
        name = verdict.table if verdict.shelf is None else run_index.display_name(verdict.shelf)
        link = element("a", name, href=f"#{anchor(number)}")
        cells = [link, *(numbers[name] for name in comparison.VERDICTS), *orderings]
        rows.append(dict(zip(columns, cells, strict=True)))
    return parts.table("Verdicts of each table and figure", columns, rows)


def tables_section(found: Sequence[Verdict], files: exports.Exports) -> Markup:
    """Returns every table of the paper beside ours, and writes its files."""
    letters = element("dl", ([element("dt", k), element("dd", v)] for k, v in CERTAINTIES.items()), class_="keys")
    return element(
        "section",
        element("h2", "The paper's tables", id="tables"),
        element("p", "The letter behind a number of the paper says how certain it is that the paper has it:"),
        letters,
        (_table(number, verdict, files) for number, verdict in enumerate(found)),
        aria_labelledby="tables",
    )


def _table(number: int, verdict: Verdict, files: exports.Exports) -> Markup:
    title = TABLES[verdict.table].title
    where = f"{title} ({verdict.shelf.folder.name})" if verdict.shelf else title
    heading = element("h3", where, id=anchor(number))
    if verdict.problem:
        return element("article", heading, element("p", "Not compared: ", verdict.problem, class_="problem"))
    name = verdict.table if verdict.shelf is None else f"{verdict.table}-{verdict.shelf.folder.name}"
    written = files.write(name, verdict.rows, comparison.COLUMNS, where)
    runs = (
        files.write(f"{verdict.shelf.folder.name}-runs", run_index.run_rows(verdict.shelf), tables.BRIEF_COLUMNS, where)
        if verdict.shelf
        else []
    )
    return element(
        "article",
        heading,
        _damaged(verdict),
        _numbers(title, verdict),
        parts.file_links(written, where),
        parts.file_links(runs, f"Runs of {where}", label="Its runs") if runs else None,
        orderings(title, name, where, verdict, files) if verdict.claims else None,
    )


def _damaged(verdict: Verdict) -> Markup | None:
    damaged = verdict.shelf.damaged() if verdict.shelf else []
    if not damaged:
        return None
    links = [part for entry in damaged for part in (" ", element("a", entry.folder.name, href=f"#{entry.anchor}"))]
    return element("p", "Left out, as they can't be read:", links, class_="problem")


def _numbers(title: str, verdict: Verdict) -> Markup:
    entries = verdict.shelf.entries if verdict.shelf else ()
    columns = ("cell", "measure", "paper %", "ours %", "difference", "± s.e.", "verdict", "status", "notes")

    def show(column: str, row: Mapping[str, Any]) -> Any:
        if column == "cell":
            return parts.run_links([entry for entry in entries if entry.cell == row["cell"]], row["cell"])
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


def orderings(title: str, name: str, where: str, verdict: Verdict, files: exports.Exports) -> list[Markup]:
    """Returns the table of a verdict's claims, and writes its files, NAME-orderings."""
    columns = ("statement", "verdict", "paper", "ours", "± s.e.", "n", "notes")

    def show(column: str, row: Mapping[str, Any]) -> Any:
        if column == "verdict":
            return parts.badge(row["verdict"])
        if column == "paper":
            return _certain(row["paper"], row["certainty"])
        return str(row["standard error" if column == "± s.e." else column])

    written = files.write(f"{name}-orderings", verdict.claims, comparison.ORDERING_COLUMNS, f"Orderings: {where}")
    table = parts.table(f"{title}: orderings", columns, verdict.claims, show)
    return [table, parts.file_links(written, f"Orderings of {where}")]
