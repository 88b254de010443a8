"""What runs show of a table or figure of the paper, as text for a terminal: what has runs, and the finding last.

Nothing is judged here: comparison.py and verdicts.py do.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rethink.paper.numbers import CERTAINTIES
from rethink.report import outcomes, verdicts
from rethink.results import screen, tables

Rows = Sequence[Mapping[str, Any]]

# By importance: the last ones have no room in a narrow terminal.
COLUMNS = ("cell", "measure", "ours %", "paper %", "verdict", "ours - paper", "epochs", "status", "notes")


def for_terminal(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row of `compare_table` in fewer columns: spread and n beside the mean, certainty beside the number."""
    spread = f" +- {row['deviation']}" if row["deviation"] else ""
    ours = f"{row['ours %']}{spread} (n={row['n']})" if row["n"] else ""
    merged = {
        "measure": row["measure"].replace("_accuracy", "").replace("_", " "),
        "ours %": ours,
        "paper %": f"{row['paper %']} {row['certainty']}".strip(),
    }
    return {column: {**row, **merged}[column] for column in COLUMNS}


def _with_runs(rows: Rows, field: str) -> list[Mapping[str, Any]]:
    """Returns the rows of cells that were run, which `field` tells: "status" of numbers, "verdict" of claims."""
    return [row for row in rows if row[field] != outcomes.NOT_RUN]


def describe_numbers(rows: Rows) -> str:
    """Returns the rows of `compare_table` of cells with runs as a table, and how many cells have none."""
    ran = _with_runs(rows, "status")
    missing = len({row["cell"] for row in rows} - {row["cell"] for row in ran})
    parts = [tables.to_text([for_terminal(row) for row in ran], COLUMNS)] if ran else []
    return "\n".join([*parts, *([f"{missing} of the paper's cells not run"] if missing else [])])


def describe_claims(rows: Rows, shown: Collection[str] = ()) -> str:
    """Returns the rows of claims that have runs, each as a verdict and a paragraph, and how many have none.

    Args:
      shown: notes that are on the screen already.
    """
    ran = _with_runs(rows, "verdict")
    blocks = [line for row in ran for line in _describe_claim(row, shown)]
    missing = len(rows) - len(ran)
    return "\n".join([*blocks, *([f"{missing} more are about cells that were not run"] if missing else [])])


def _describe_claim(row: Mapping[str, Any], shown: Collection[str]) -> list[str]:
    """Returns the lines of a claim: verdict and statement, then the values, then the notes."""
    values = [
        f"ours: {row['ours']} (n={row['n']})" if row["ours"] else "",
        f"interval: {row['interval']}" if len({*row["interval"].split(" to ")}) > 1 else "",
        f"{row['source']}: {row['paper']} {row['certainty']}",
    ]
    notes = [note for note in row["notes"].split("; ") if note not in shown]
    below = [f"{row['measure']}; {'; '.join(filter(None, values))}", "; ".join(notes)]
    return [
        screen.wrap(f"{row['verdict']}: {row['statement']}", 2),
        *(screen.wrap(f"  {text}", 4) for text in filter(None, below)),
    ]


def describe_signs(rows: Rows, claims: Rows) -> str:
    """Returns what the letters and the question mark in rows of numbers and of claims mean; "" where there are none."""
    letters = sorted({letter for row in (*rows, *claims) for letter in row["certainty"]})
    meanings = [f"{letter}: {CERTAINTIES[letter]}" for letter in letters]
    lines = [f"Letters tell how certain the paper's number is: {'; '.join(meanings)}."] if letters else []
    lines += ["a ? b: which is larger is not decided."] if any("?" in str(row["ours"]) for row in claims) else []
    return "\n".join(map(screen.wrap, lines))


def describe_finding(rows: Rows, claims: Rows) -> str:
    """Returns how many claims and how many numbers have which verdict; "" where there are neither."""
    judged, compared = (Counter(row["verdict"] for row in some) for some in (claims, rows))
    parts = [f"{verdict} {judged[verdict]}" for verdict in verdicts.CLAIM_VERDICTS if judged[verdict]]
    texts = [f"claims of the paper: {', '.join(parts)}"] if parts else []
    texts += [f"its numbers: {', '.join(f'{verdict} {count}' for verdict, count in compared.items())}"] if rows else []
    return screen.wrap("; ".join(texts))


def describe_comparison(title: str, rows: Rows, claims: Rows) -> str:
    """Returns numbers and claims that have runs, under a title, and what their signs mean.

    Args:
      rows: of `compare_table`, none of a figure; claims: of `check_orderings` or `check_figure_claims`.
    """
    ran, judged = _with_runs(rows, "status"), _with_runs(claims, "verdict")
    claims_title = "What the paper says of it" if claims else ""
    shown = {f"{row['cell']}: {note}" for row in ran for note in row["notes"].split("; ")}
    texts = describe_claims(claims, shown), describe_signs(ran, judged)
    parts = [screen.wrap(title), describe_numbers(rows), claims_title, *texts]
    return "\n\n".join(filter(None, parts))
