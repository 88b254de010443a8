"""The benchmark of scores that find wrong labels: made-up runs whose AUROC is known, and the config of its runs."""

import json
import runpy
from types import SimpleNamespace

import numpy as np
import pytest

from rethink.configs import base
from rethink.figures import label_issues, registry
from rethink.results import example_history, presentations
from rethink.results import runs as results_runs
from rethink.schema import grid, validation
from rethink.schema.errors import UserError

PLAIN = json.loads(validation.to_json(base.get_config()))
IDS = np.arange(8, dtype=np.uint32)
TRUE = np.zeros(8, np.int32)
GIVEN = np.array([1, 1, 1, 1, 0, 0, 0, 0], np.int32)  # the first four are wrong
LOSSES = ([9, 9, 9, 9, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2, 2, 2])  # AUROC 1 after an epoch, 0.5 after two
PREDICTED = ([0] * 8, [1, 1, 1, 0, 0, 0, 0, 0])  # three of the wrong ones are fitted at last


@pytest.fixture
def write(tmp_path):
    """write(cell, seed, ...) -> the directory of a made-up run with a row at the start and one for each epoch."""

    def write(cell, seed=0, *, losses=LOSSES, held_out=(), given=GIVEN, tests=(0.8, 0.6), **config):
        folder = tmp_path / f"{cell}-seed{seed}"
        folder.mkdir()
        rows = [
            {"kind": "evaluation", "step": 10 * epoch, "epoch": float(epoch), "test_accuracy": test}
            | {"train_accuracy_corrupted_given": 0.75}
            for epoch, test in enumerate((0.1, *tests))
        ]
        manifest = {"config": {**PLAIN, "seed": seed, **config}, "status": "done", "summary": {"evaluation": rows[-1]}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        is_held_out = np.isin(IDS, held_out)
        for split, chosen in (("train", ~is_held_out), ("validation", is_held_out)):
            name = "corruption" if split == "train" else f"corruption_{split}"
            np.savez(
                folder / f"{name}.npz", ids=IDS[chosen], true_labels=TRUE[chosen], given_labels=np.array(given)[chosen]
            )
            for step, loss, predicted in zip((0, 10, 20), ([3] * 8, *losses), (PREDICTED[0], *PREDICTED), strict=True):
                loss = np.array(loss)[chosen]
                seen = SimpleNamespace(
                    losses=loss, margins=-loss, errors=loss / 9, predicted=np.array(predicted)[chosen]
                )
                path = folder / example_history.FILE.format(split=split)
                if chosen.any():
                    example_history.append_row(path, 10, example_history.make_row(step, 10, seen))
        return folder

    return write


@pytest.fixture
def undrawn(monkeypatch):
    """Leaves the tables, which are what a test is of, and draws nothing."""
    monkeypatch.setattr(label_issues, "draw_label_issues", lambda *_, **__: [])


def draw(folder):
    """Draws the figure of the runs in a folder; returns its rows and those of its tables by name."""
    figure = registry.draw_figure("label_issues", results_runs.load_runs(folder), folder, title="figure")
    assert all(path.stat().st_size > 1000 for path in figure.paths)
    return figure.rows, {table.name.removeprefix("label_issues_"): table.rows for table in figure.further}


def find(rows, **fields):
    (row,) = [row for row in rows if fields.items() <= row.items()]
    return row


def test_a_score_of_the_last_epoch_dies_where_a_cumulative_one_survives(write, tmp_path):
    write("symmetric_20")
    write("symmetric_20-mixup", tests=(0.75, 0.7))
    write("true", given=TRUE)
    rows, more = draw(tmp_path)
    last, total = (find(rows, labels="symmetric_20", score=score) for score in ("last_loss", "cumulative_loss"))
    assert [last[column] for column in ("@ 1", "@ 2", "last", "best", "at epoch")] == [
        *("1.0000", "0.5000", "0.5000", "1.0000", "1")
    ]
    assert last["behind"] == "0.5000" and last["precision"] == "0.5000" and last["best precision"] == "1.0000"
    assert total["last"] == "1.0000" and total["behind"] == "0.0000" and total["seeds"] == 1
    assert last["reading"] == "in sample" and "true" not in {row["labels"] for row in rows}
    point = find(more["epochs"], labels="symmetric_20", score="last_loss", epoch="2")
    assert (point["AUROC"], point["average precision"], point["fitted"]) == ("0.50000", "0.50000", "0.7500")
    rule = find(more["rules"], rule="last_loss at the last epoch", reading="in sample")
    assert (rule["cells"], rule["behind"], rule["near"]) == (1, "0.5000", "0.00")
    assert find(more["rules"], rule="aum at the last epoch", reading="in sample, mixup")["near"] == "1.00"
    assert find(more["choices"], labels="symmetric_20")["AUROC"] == "1.0000"
    cost = find(more["accuracy"], labels="symmetric_20")
    assert [
        cost[column] for column in ("best test %", "at epoch", "last test %", "cost", "given back", "fitted %")
    ] == [*("80.00", "1", "60.00", "20.00", "", "75.00")]
    assert find(more["accuracy"], labels="symmetric_20-mixup")["given back"] == "+10.00"
    assert find(more["accuracy"], labels="true")["cost"] == "20.00"
    assert (tmp_path / "figures" / "label_issues_epochs.csv").read_text().count("\n") == 1 + len(more["epochs"])


def test_folds_are_joined_and_a_missing_one_leaves_none(write, tmp_path, undrawn):
    # Within each fold the order is right; of all, two of the 16 pairs are not.
    losses = ([5, 9, 3, 4, 1, 2, 2, 4.5], LOSSES[1])
    parts = ([0, 1, 4, 7], [2, 3, 5, 6])
    for fold, held_out in enumerate(parts):
        write(f"pair_flip_20-fold={fold}", losses=losses, held_out=held_out, **{"data.folds": 2, "data.fold": fold})
    write("symmetric_20-fold=0", held_out=parts[0], **{"data.folds": 2, "data.fold": 0})
    rows, more = draw(tmp_path)
    assert {(row["labels"], row["reading"]) for row in rows} == {("pair_flip_20", "out of fold")}
    assert find(rows, score="last_loss")["best"] == "0.8750"
    assert more["accuracy"] == []  # they were trained on other examples


def test_seeds_have_a_mean_a_spread_and_are_read_together(write, tmp_path, undrawn):
    write("symmetric_20", 0)
    write("symmetric_20", 1, losses=(LOSSES[0], [1, 1, 1, 1, 2, 2, 2, 2]), tests=(0.8, 0.7))
    rows, more = draw(tmp_path)
    last = find(rows, reading="in sample", score="last_loss")
    assert (last["seeds"], last["last"], last["deviation"]) == (2, "0.2500", "0.3536")
    together = find(rows, reading="mean of 2 seeds", score="last_loss")
    assert (together["seeds"], together["last"], together["deviation"]) == (1, "0.0000", "")  # losses 1.5 and 2
    assert find(rows, score="disagreement")["reading"] == "mean of 2 seeds"
    assert find(more["accuracy"], labels="symmetric_20")["last test %"] == "65.00"


def test_scores_of_training_are_read_at_its_end(write, tmp_path, undrawn):
    folder = write("symmetric_20")
    numbers = {name: np.zeros(8, dtype) for name, dtype in presentations.DTYPES.items()}
    numbers |= {"ids": IDS, "count": np.full(8, 2, np.int32), "margin_sum": np.array([1, 1, 1, 4, 4, 5, 5, 5.0])}
    np.savez(folder / presentations.PRESENTATIONS, **numbers)
    row = find(draw(tmp_path)[0], score="training_aum")
    assert (row["last"], row["at epoch"], row["@ 1"]) == ("0.9688", "2", "")  # one of 16 pairs is equal


def test_seeds_with_other_noise_are_not_read_together(write, tmp_path, undrawn):
    write("symmetric_20", 0)
    write("symmetric_20", 1, given=GIVEN[::-1])
    assert {row["reading"] for row in draw(tmp_path)[0]} == {"in sample"}


def test_nothing_to_read_is_one_line(write, tmp_path):
    write("true", given=TRUE)
    with pytest.raises(UserError, match=r"^No run here has wrong labels and a record of its examples"):
        label_issues.read_series(results_runs.load_runs(tmp_path))


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("", 7),
        ("digits", 7),
        ("mnist,robust", 25),
        ("alexnet", 7),
        ("folds", 30),
        ("cifar10", 7),
        ("digits,folds,robust", 120),
    ],
)
def test_every_run_of_the_benchmark_is_valid_and_its_seeds_share_the_noise(words, count):
    config = runpy.run_path("configs/beyond/label_issues_benchmark.py")["get_config"](words)
    config.filter = "*"  # a filter of the user's brings back no run on true labels
    runs = grid.expand_grid(config)
    assert len(runs) == count and grid.choose_figure(config).name == "label_issues"
    for run in runs:
        validation.validate(run.config)
        assert run.config.corruption.seed == 0 and run.config.evaluate.every_epochs == 1
        assert ("true" in run.name) == (run.config.corruption.labels == "none")
    for wrong in ("cifar100", "digits,mnist", "mnist,cifar10"):
        with pytest.raises(ValueError, match="choose from cifar10, digits"):
            runpy.run_path("configs/beyond/label_issues_benchmark.py")["get_config"](wrong)
