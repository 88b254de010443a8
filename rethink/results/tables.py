"""Owns tables of runs: one row a run directory, from its records alone; and how rows become CSV, Markdown and text.

Refuses to compute a metric: a figure that no run recorded is blank.

    python -m rethink.results.tables runs/* > docs/runs.csv
    python -m rethink.results.tables --markdown runs/*
"""

import argparse
import csv
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rethink.results import progress, records
from rethink.schema.errors import UserError

COLUMNS = (
    "run",
    "model",
    "labels",
    "pixels",
    "train examples",
    "test examples",
    "seed",
    "status",
    "steps",
    "train accuracy %",
    "test accuracy %",
    "result of",
    "steps to 99%",
    "steps to 100%",
    "seconds",
    "devices",
)
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # at the start of a row, after a line's end, it would open that one's argument
    **{sign: rf"\{sign}" for sign in "&%$#_"},
}
BRIEF_COLUMNS = ("run", "seed", "status", "steps", "train accuracy %", "test accuracy %", "result of", "seconds")


def run_row(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the row of a run that has ended; accuracies in percent, steps that were not reached as text.

    Raises:
      UserError: there is no run, it is damaged, or it has not ended.
    """
    manifest = records.read_run(folder)
    config, summary = manifest["config"], manifest.get("summary")
    if not summary:
        raise UserError(f"{folder} has not ended (status: {manifest['status']}): leave it out, or finish it.")
    evaluation, reached = summary["evaluation"] or {}, summary.get("steps_to_train_accuracy", {})
    labels = config["corruption.labels"]
    hardware = manifest["hardware"]
    return {
        "run": config["name"],
        "model": config["model.name"] if config.get("kind", "train") == "train" else config["kind"],
        "labels": "true" if labels == "none" else f"{labels} p={config['corruption.label_probability']:g}",
        "pixels": "true" if config["corruption.pixels"] == "none" else config["corruption.pixels"],
        "train examples": manifest["data"]["train_examples"],
        "test examples": manifest["data"].get("test_examples", ""),
        "seed": config["seed"],
        "status": manifest["status"],
        "steps": summary.get("steps", ""),
        "train accuracy %": percent(evaluation.get("train_accuracy")),
        "test accuracy %": percent(evaluation.get("test_accuracy")),
        "result of": _result_of(summary) if reached else "",
        "steps to 99%": _steps(reached, "0.99"),
        "steps to 100%": _steps(reached, "1.0"),
        "seconds": round(summary["seconds"]),
        "devices": f"{hardware['devices']} x {hardware['kind']}",
    }


def _result_of(summary: Mapping[str, Any]) -> str:
    """Returns which evaluation the accuracies are of; one that was chosen by the test set says so."""
    watched = summary.get("early_stopping")
    if not watched or not watched["restored"]:
        return "last step"
    chosen_by = "the ORACLE (test set)" if watched["monitor"] == "oracle" else "validation"
    return f"step {watched['best_step']}, best by {chosen_by}"


def write_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], stream: TextIO) -> None:
    """Writes rows with a header."""
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def to_markdown(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Returns rows as a Markdown table."""
    lines = [columns, ["---"] * len(columns), *([str(row[column]) for column in columns] for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def to_latex(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], caption: str) -> str:
    """Returns rows as a LaTeX table, for the package booktabs; every sign of a name or a note is shown as it is."""
    lines = [" & ".join(map(escape_latex, (row[column] for column in columns))) + r" \\" for row in rows]
    header = " & ".join(map(escape_latex, columns)) + r" \\"
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape_latex(caption)}}}",
            rf"  \begin{{tabular}}{{{'l' * len(columns)}}}",
            *(f"    {line}" for line in (r"\toprule", header, r"\midrule", *lines, r"\bottomrule")),
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )


def escape_latex(text: Any) -> str:
    """Returns text without a sign that LaTeX takes for a command."""
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(str(text).split()))


def to_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Returns rows as aligned lines for the terminal; columns without any entry are left out."""
    shown = [column for column in columns if any(str(row[column]) for row in rows)]
    lines = [shown, *([str(row[column]) for column in shown] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def percent(fraction: float | None) -> str:
    """0.98765 -> '98.77'; None -> ''; only a whole 1.0 is '100.00'."""
    return "" if fraction is None else progress.format_percent(fraction).removesuffix("%")


def _steps(reached: Mapping[str, int | None], accuracy: str) -> str:
    """Returns the steps to a train accuracy; blank for what takes no steps."""
    if accuracy not in reached:
        return ""
    return "not reached" if reached[accuracy] is None else str(reached[accuracy])


def main() -> None:
    """Prints the runs named on the command line as CSV or Markdown."""
    parser = argparse.ArgumentParser(description="A table of runs that have ended, one row each, as CSV.")
    parser.add_argument("folders", nargs="+", type=pathlib.Path, metavar="WORKDIR")
    parser.add_argument("--markdown", action="store_true", help="Markdown instead of CSV")
    arguments = parser.parse_args()
    try:
        rows = [run_row(folder) for folder in arguments.folders]
    except UserError as error:
        sys.exit(f"Error: {error}")
    if arguments.markdown:
        print(to_markdown(rows, COLUMNS))
    else:
        write_csv(rows, COLUMNS, sys.stdout)


if __name__ == "__main__":
    main()
