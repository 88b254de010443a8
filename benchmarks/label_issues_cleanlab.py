"""How does cleanlab rank wrong labels, given the same held-out probabilities as our scores?

    python main.py --config=configs/beyond/label_issues_benchmark.py:folds --workdir=runs/label_issues
    python -m benchmarks.label_issues_cleanlab runs/label_issues --data_dir=DIR > docs/results/label_issues_cleanlab.csv

Of each noise whose folds have all ended, the probabilities of every class are computed anew by the networks as they
ended, each for the examples that it was not trained on. cleanlab ranks by them; our scores read the records of the same
networks, at the last evaluation. A positive is a given label that differs from the true one. `found` of cleanlab's
`find_label_issues` are the labels that it flags; ours flag none here.
"""

import argparse
import pathlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.special

import rethink
from rethink.data.registry import open_dataset
from rethink.figures.metric_vs_field import series_name
from rethink.memorization.detection import Detection, measure_detection
from rethink.memorization.dynamics import compute_scores
from rethink.memorization.readings import find_wrong
from rethink.memorization.several_runs import join_folds
from rethink.results import tables
from rethink.results.runs import LoadedRun, load_runs
from rethink.schema.errors import exit_on_mistake

COLUMNS = (
    *("labels", "seed", "examples", "wrong", "tool", "ranking", "AUROC", "error", "average precision"),
    *("found", "precision", "recall"),
)
RANKINGS = (  # method, and whether probabilities are divided by the mean of their class first
    ("self_confidence", False),
    ("self_confidence", True),
    ("normalized_margin", False),
    ("normalized_margin", True),
    ("confidence_weighted_entropy", False),
)
FILTERS = ("prune_by_noise_rate", "confident_learning")
NEAR = 0.02  # by which a probability computed anew may differ from the recorded one, which has 11 bits


def main() -> None:
    """Prints a CSV with a row for each noise, seed and ranking."""
    parser = argparse.ArgumentParser(description="How does cleanlab rank wrong labels?")
    parser.add_argument("folder", type=pathlib.Path, help="of a sweep with folds")
    parser.add_argument("--data_dir", default="", help="directory of prepared TFDS sets")
    arguments = parser.parse_args()
    with exit_on_mistake():
        groups: dict[tuple[str, int], list[LoadedRun]] = {}
        for run in (run for runs in load_runs(arguments.folder).values() for run in runs):
            if run.config["data.folds"] and run.has_result:
                cell = series_name(run.cell, "data.fold", run.config["data.fold"])
                groups.setdefault((cell, run.seed), []).append(run)
        rows = []
        for (cell, seed), folds in groups.items():
            if len(folds) == folds[0].config["data.folds"]:
                print(f"{cell}, seed {seed} ...", file=sys.stderr)
                rows += [{**row, "labels": cell, "seed": seed} for row in compare(folds, arguments.data_dir)]
    print(tables.to_csv(rows, COLUMNS), end="")


def compare(folds: Sequence[LoadedRun], data_dir: str) -> list[dict[str, Any]]:
    """Returns the rows of our scores and of cleanlab's, on the same held-out examples."""
    from cleanlab import filter, rank

    history = join_folds([run.example_history("validation") for run in folds])
    wrong, labels = find_wrong(history), history.given_labels
    probabilities = predict_held_out(folds, data_dir)
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    assert np.abs(own - history.probability[-1]).max() < NEAR, "other networks than the recorded ones"
    rows = [
        describe(wrong, "rethink", name, measure_detection(name, values, wrong))
        for name, values in compute_scores(history).items()
    ]
    for ranking, adjust in RANKINGS:
        quality = rank.get_label_quality_scores(labels, probabilities, method=ranking, adjust_pred_probs=adjust)
        found = measure_detection("last_margin", quality, wrong)  # small is suspicious, as of a margin
        rows.append(describe(wrong, "cleanlab", ranking + ", adjusted" * adjust, found))
    for filter_by in FILTERS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            flagged = filter.find_label_issues(labels, probabilities, filter_by=filter_by, n_jobs=1)
        rows.append(describe(wrong, "cleanlab", f"find_label_issues, {filter_by}", None, flagged))
    return rows


def predict_held_out(folds: Sequence[LoadedRun], data_dir: str) -> np.ndarray:
    """Returns the probability of each class of each example by the run that held it out, float64 [examples, classes].

    By ascending id.
    """
    ids, logits = [], []
    for record in folds:
        run = rethink.load(record.folder)
        data = run.config.data.copy_and_resolve_references()
        data.dir = data_dir
        held_out = open_dataset(data).splits["validation"].load()
        ids.append(held_out.ids)
        logits.append(run.predict(held_out.images))
    order = np.argsort(np.concatenate(ids))
    return scipy.special.softmax(np.concatenate(logits).astype(np.float64), axis=1)[order]


def describe(
    wrong: np.ndarray, tool: str, ranking: str, found: Detection | None, flagged: np.ndarray | None = None
) -> dict[str, Any]:
    """Returns a row of `COLUMNS`, but for labels and seed."""
    row: dict[str, Any] = {**dict.fromkeys(COLUMNS, ""), "examples": len(wrong), "wrong": int(wrong.sum())}
    row |= {"tool": tool, "ranking": ranking}
    if found:
        row |= {"AUROC": f"{found.auroc:.5f}", "average precision": f"{found.average_precision:.5f}"}
        row["error"] = "" if found.standard_error is None else f"{found.standard_error:.5f}"
    if flagged is not None:
        hits = np.count_nonzero(flagged & wrong)
        row |= {"found": int(flagged.sum()), "precision": f"{hits / max(1, flagged.sum()):.4f}"}
        row["recall"] = f"{hits / wrong.sum():.4f}"
    return row


if __name__ == "__main__":
    main()
