"""Writes scores.csv beside each run, a row for each training example; prints how well each score finds wrong labels.

python -m rethink.memorization runs/digits_random-HASH
python -m rethink.memorization --step=1000 runs/*

A folder of runs, such as that of a sweep or a suite, stands for all runs in it. Where labels were corrupted, the wrong
ones are known, and what each score is worth is printed. Runs that differ only in their seed, and have the same labels,
also have scores over seeds, in NAME-scores_over_seeds.csv beside the first. Nothing is trained.
"""

import argparse
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rethink.memorization.detection import measure_detection
from rethink.memorization.dynamics import PRESENTATION_SCORES, SCORES, find_score
from rethink.memorization.several_runs import compute_run_scores
from rethink.memorization.tables import make_example_table, make_score_table, read_history
from rethink.results import files, runs, tables
from rethink.schema.errors import UserError, exists, exit_on_mistake

if TYPE_CHECKING:
    import pandas


def main() -> None:
    """Scores the examples of the runs named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m rethink.memorization", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folders", nargs="+", type=pathlib.Path, metavar="RUN", help="a run's directory, or a folder of them"
    )
    parser.add_argument("--step", type=int, help="score the last evaluation up to this step; default: the last one")
    with exit_on_mistake():
        arguments = parser.parse_args()
        paths = dict.fromkeys(path for folder in arguments.folders for path in runs.find_runs(folder))
        loaded = [runs.load_run(path) for path in paths if exists(path / "manifest.json")]
        scored = {run.folder: run for run in loaded if run.example_history() is not None}
        if not scored:
            raise UserError(
                f"No run in {', '.join(map(str, arguments.folders))} has a record of single examples: train with "
                "--config.log.examples=all, or name others."
            )
        for run in scored.values():
            print(score_run(run, arguments.step))
        for group in group_by_seed(list(scored.values())):
            print(score_seeds(group, arguments.step))
    if left_out := len(paths) - len(scored):
        print(f"Left out: {left_out} without a record of single examples.")


def score_run(run: runs.LoadedRun, step: int | None) -> str:
    """Writes the scores of a run into it; returns what is printed of them."""
    table = make_score_table(run, step)
    scores = {name: table[name].to_numpy() for name in table if name in {**SCORES, **PRESENTATION_SCORES}}
    is_wrong = (table["given_label"] != table["true_label"]).to_numpy()
    return "\n".join([_write(run.folder / "scores.csv", table), describe_detections(scores, is_wrong)])


def score_seeds(group: Sequence[runs.LoadedRun], step: int | None) -> str:
    """Writes the scores over runs that differ in their seed beside the first; returns what is printed of them."""
    histories, first = [read_history(run, step) for run in group], group[0]
    try:
        scores = compute_run_scores(histories)
    except UserError as error:
        return f"{first.cell}, {len(group)} seeds: {error}"
    columns = ["id", "given_label", "true_label"]
    table = make_example_table(first)[columns].assign(**scores)
    is_wrong = histories[0].given_labels != histories[0].true_labels
    path = first.folder.parent / f"{first.cell}-scores_over_seeds.csv"
    return "\n".join([_write(path, table), describe_detections(scores, is_wrong)])


def describe_detections(scores: Mapping[str, np.ndarray], is_wrong: np.ndarray) -> str:
    """Returns a table of how well scores find wrong labels, the best first; where none is known, one line."""
    found = {name: measure_detection(name, values, is_wrong) for name, values in scores.items()}
    rows = [
        {
            "score": name,
            "suspicious": find_score(name).suspicious,
            "AUROC": f"{one.auroc:.4f}",
            "standard error": "" if one.standard_error is None else f"{one.standard_error:.4f}",
            "average precision": f"{one.average_precision:.4f}",
        }
        for name, one in found.items()
        if one
    ]
    if not rows:
        return "No given label is known to be wrong, or all are: what the scores are worth can't be measured."
    rows.sort(key=lambda row: row["AUROC"], reverse=True)
    return f"{np.count_nonzero(is_wrong):,} labels are wrong.\n{tables.to_text(rows, list(rows[0]))}"


def group_by_seed(loaded: Sequence[runs.LoadedRun]) -> list[list[runs.LoadedRun]]:
    """Returns the groups of two runs or more whose configs differ in nothing but seed and name."""
    groups: dict[str, dict[int, runs.LoadedRun]] = {}  # a copy of a run is no other seed
    for run in loaded:
        config = {field: value for field, value in run.config.items() if field not in ("seed", "name")}
        groups.setdefault(json.dumps(config, sort_keys=True), {})[run.seed] = run
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def _write(path: pathlib.Path, table: "pandas.DataFrame") -> str:
    files.replace(path, table.to_csv(index=False, lineterminator="\n").encode(errors="surrogateescape"))
    return f"{path}: {len(table):,} examples"


if __name__ == "__main__":
    main()
