"""Runs beside the paper: means over seeds, what is not comparable, what has not run, and which orderings hold."""

import csv
import io
import json
import runpy

import numpy as np
import pytest

from rethink.paper.numbers import TABLES, Number
from rethink.report import comparison, inference, terminal, verdicts
from rethink.results import runs as results_runs
from rethink.results import tables
from rethink.schema import grid, validation
from rethink.schema.errors import UserError

FULL = 50_000
SIZES = {"train_examples": FULL, "test_examples": 10_000}  # of CIFAR10
CONFIGS = {  # cell -> the flat config of its run
    f"{table}/{member.name}": json.loads(validation.to_json(member.config))
    for table in ("table1", "table2", "table4")
    for member in grid.expand_grid(runpy.run_path(f"configs/paper/{table}.py")["get_config"]())
}
PLAIN = CONFIGS["table1/mlp_3x512-none"]


@pytest.fixture
def write(tmp_path):
    """write(cell, seed, ...) -> the directory of a made-up run."""

    def write(
        cell,
        seed=0,
        *,
        test=0.5,
        train=1.0,
        status="done",
        history=(),
        epochs=64.0,
        steps=25_000,
        data=None,
        table="table1",
        **config,
    ):
        folder = tmp_path / f"{cell}-seed{seed}"
        folder.mkdir()
        last = {"kind": "evaluation", "step": 9, "train_accuracy": train, "test_accuracy": test}
        last.update(test_top5_accuracy=test, train_top5_accuracy=train)
        manifest = {
            "config": {**CONFIGS.get(f"{table}/{cell}", PLAIN), "seed": seed, **config},
            "status": status,
            "data": SIZES if data is None else data,
        }
        if status in ("done", "fitted", "stopped early", "diverged"):
            manifest["summary"] = {"evaluation": last, "epochs": epochs, "steps": steps}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        rows = [{"kind": "train", "step": 1, "loss": 2.3, "accuracy": 0.1}]
        rows += [{**last, "step": step, "test_accuracy": value} for step, value in enumerate(history)] + [last]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return write


def load(runs):
    """Returns cell -> loaded runs, of cell -> run directories."""
    return {cell: [results_runs.load_run(folder) for folder in folders] for cell, folders in runs.items()}


def row_of(runs, cell, measure="test_accuracy", table="table1"):
    (row,) = [r for r in comparison.compare_table(table, load(runs)) if r["cell"] == cell and r["measure"] == measure]
    return row


def claim_of(runs, statement, table="table1"):
    (row,) = [r for r in comparison.check_orderings(table, load(runs)) if r["statement"] == statement]
    return row


def seeds(write, cell, *accuracies, **changes):
    """Returns the directories of runs of a cell, one a test accuracy."""
    return [write(cell, seed, test=test, **changes) for seed, test in enumerate(accuracies)]


def test_rows_follow_the_papers_table_and_say_what_has_not_run(write):
    rows = comparison.compare_table("table1", load({"mlp_3x512-none": [write("mlp_3x512-none")]}))
    assert [(row["cell"], row["measure"]) for row in rows] == [
        (cell, measure) for cell in TABLES["table1"].cells for measure in ("train_accuracy", "test_accuracy")
    ]
    for row in rows:
        ran = row["cell"] == "mlp_3x512-none"
        assert (row["verdict"] == "not run") == (not ran)
        assert row["status"] == ("done" if ran else "not run") and bool(row["ours %"]) == ran == bool(row["n"])
        assert row["paper %"] and row["certainty"] == "B" and bool(row["ours - paper"]) == ran


def test_seeds_give_mean_sample_deviation_and_n(write):
    cell = "mlp_3x512-none"
    runs = {cell: [write(cell, seed, test=test) for seed, test in enumerate((0.52, 0.53, 0.54))]}
    row = row_of(runs, cell)
    assert (row["ours %"], row["deviation"], row["n"]) == ("53.00", "1.00", 3)
    assert (row["paper %"], row["ours - paper"], row["verdict"]) == ("52.39", "+0.61", "match")
    one = row_of({cell: runs[cell][:1]}, cell)
    assert (one["ours %"], one["deviation"], one["n"]) == ("52.00", "", 1)
    assert one["train examples"] == "50000" and one["epochs"] == "64" and one["notes"] == ""


@pytest.mark.parametrize("train, verdict", [(1.0, "match"), (0.99, "match"), (0.9898, "off"), (0.5, "off")])
def test_what_is_fitted_in_the_paper_matches_where_ours_is(write, train, verdict):
    row = row_of({"mlp_3x512-none": [write("mlp_3x512-none", train=train)]}, "mlp_3x512-none", "train_accuracy")
    assert (row["verdict"], row["met by memorizing"]) == (verdict, "yes")


def test_a_match_is_of_odds_with_the_error_of_both_test_sets(write):
    cell = "mlp_3x512-none"
    one = row_of({cell: [write(cell, test=0.5375)]}, cell)
    # logit(0.5375) - logit(0.5239) = 0.0545, -+ 1.96 sqrt(2 / (10,000 / 4)) = 0.0554
    assert (one["odds ratio"], one["ours - paper"], one["verdict"]) == ("1.00 to 1.12", "+1.36", "match")
    assert row_of({cell: [write(cell, 1, test=0.55)]}, cell)["verdict"] == "match"
    assert row_of({cell: [write(cell, 2, test=0.56)]}, cell)["verdict"] == "inconclusive"
    assert row_of({cell: [write(cell, 3, test=0.60)]}, cell)["verdict"] == "off"
    noisy = [write(cell, seed, test=test) for seed, test in ((4, 0.51), (5, 0.55))]
    assert row_of({cell: noisy}, cell)["verdict"] == "inconclusive"  # of two runs little is known of the spread


@pytest.mark.parametrize(
    "ours, paper, decimals, size, verdict",
    [
        (1.5, 0.6, 1, 10_000, "off"),  # less than one point, and more than twice as many errors
        (1.0, 0.11, 2, 50_000, "off"),
        (0.6, 0.6, 1, 10_000, "inconclusive"),  # 60 errors in the paper do not tell it from 80
        (89.0, 89.31, 2, 10_000, "match"),
        (15.4, 15.0, 0, 10_000, "match"),
        (100.0, 99.0, 2, 10_000, "off"),
    ],
)
def test_near_0_and_100_percent_a_point_is_no_match(ours, paper, decimals, size, verdict):
    number, estimate = Number(paper, "A", decimals=decimals), inference.exact([ours], size)
    ratio = inference.odds_interval(estimate, paper, size, 10**-decimals / 2)
    judged = comparison.judge_number("test_accuracy", number, estimate, ratio, ran=True, comparable=True)
    assert judged == verdict


def test_numbers_that_any_network_has_that_memorizes_are_marked():
    rows = comparison.compare_table("table1", {})
    telling = [row for row in rows if not row["met by memorizing"]]
    assert len(rows) == 38 and len(telling) == 14
    assert {row["measure"] for row in telling} == {"test_accuracy"}
    assert not any(row["cell"].endswith("-random") for row in telling)


@pytest.mark.parametrize(
    "field, value",
    [
        ("model.name", "conv_tiny"),
        ("corruption.labels", "uniform"),
        ("dropout.rate", 0.5),
        ("batch_norm.kind", "per_device"),
        ("augmentation.flip", True),
        ("preprocess.crop", 24),
        ("preprocess.whiten", "none"),
        ("optimizer.name", "adam"),
        ("optimizer.momentum", 0.0),
        ("optimizer.schedule", "constant"),
        ("optimizer.decay_factor", 0.5),
        ("optimizer.learning_rate", 1.0),
        ("data.image_size", 64),
        ("data.test_split", "train"),
    ],
)
def test_a_run_that_is_not_what_its_cell_says_is_not_comparable(write, field, value):
    cell = "mlp_3x512-none"
    row = row_of({cell: [write(cell, test=0.5239, **{field: value})]}, cell)
    assert row["verdict"] == "not comparable" and row["notes"] == f"{field}: {value}"


@pytest.mark.parametrize(
    "changes, note",
    [
        ({"data": {**SIZES, "train_examples": 1000}}, "subset: 1,000 of 50,000 examples"),
        ({"data": {}}, "size of the train set not recorded"),
        ({"data": {"train_examples": FULL}}, "size of the test set not recorded"),
        ({"data.classes": 2}, "labels modulo 2 classes"),
        ({"data": {**SIZES, "test_examples": 2000}}, "tested on 2,000 of 10,000 examples"),
        ({"model.kwargs.width": 8}, "network changed by model.kwargs.width"),
        ({"corruption.pixels": "gaussian"}, "pixels: gaussian"),
        ({"train.loss": "squared"}, "loss: squared"),
        ({"augmentation.mixup": 0.2}, "mixup: 0.2"),
        ({"early_stopping.monitor": "validation"}, "stopped by examples held out of train"),
        ({"stop.train_accuracy": 1.0}, "ends at a train accuracy of 100.00%"),
        ({"train.total_epochs": 30.0}, "short: 30 epochs"),
        ({"early_stopping.monitor": "oracle"}, "stopped by the oracle (test set)"),
        ({"corruption.test_labels": True}, "test labels corrupted too"),
    ],
)
def test_what_is_another_experiment_is_marked_and_never_a_match(write, changes, note):
    cell = "mlp_3x512-none"
    runs = {cell: [write(cell, 0, test=0.5239), write(cell, 1, test=0.5239, **changes)]}
    row = row_of(runs, cell)
    assert row["notes"] == note and row["ours - paper"] == "+0.00" and row["verdict"] == "not comparable"
    assert row_of({cell: runs[cell][:1]}, cell)["verdict"] == "match"
    unlike = {
        "subset": ["train examples"],
        "size of the train": ["train examples", "test examples"],
        "size of the test": ["test examples"],
        "tested on": ["test examples"],
        "short": ["epochs"],
        "labels modulo": ["the data set"],
        "network": ["one network"],
        "stopped by": ["what ends them"],
        "ends at": ["what ends them"],
    }
    differ = [f"runs differ in {what}" for start, whats in unlike.items() if note.startswith(start) for what in whats]
    cropped = {"alexnet-none": [write("alexnet-none", 0, test=0.76), write("alexnet-none", 1, test=0.76, **changes)]}
    ordering = claim_of({**cropped, "alexnet-crop": seeds(write, "alexnet-crop", 0.85, 0.85)}, CROP)
    assert ordering["notes"] == "; ".join([f"alexnet-none: {note}", *differ])
    other = differ or note.startswith(("pixels", "test labels", "loss", "mixup"))
    assert ordering["verdict"] == ("not comparable" if other else "holds")


@pytest.mark.parametrize("status", ["running", "interrupted", "failed", "diverged"])
def test_runs_without_a_result_say_so_and_are_no_part_of_the_mean(write, status):
    cell = "mlp_3x512-none"
    bad, good = write(cell, 0, test=0.1, status=status), write(cell, 1, test=0.52, epochs=50.0)
    row = row_of({cell: [bad]}, cell)
    assert (row["ours %"], row["n"], row["ours - paper"], row["epochs"], row["status"]) == ("", "", "", "", status)
    row = row_of({cell: [bad, good]}, cell)
    assert (row["ours %"], row["n"], row["deviation"], row["epochs"]) == ("52.00", 1, "", "50")
    assert row["status"] == f"1 {status}, 1 done"
    assert row["verdict"] == ("not comparable" if status == "diverged" else "match")
    assert (row["notes"] == "1 of 2 diverged") == (status == "diverged")  # the mean is one of survivors
    base, other = "alexnet-none", {"alexnet-crop": seeds(write, "alexnet-crop", 0.85, 0.85)}
    lost, *kept = write(base, 0, test=0.1, status=status), write(base, 1, test=0.76), write(base, 2, test=0.76)
    assert claim_of({base: [lost], **other}, CROP)["verdict"] == "no result"
    mixed = claim_of({base: [lost, *kept], **other}, CROP)
    assert mixed["verdict"] == ("not comparable" if status == "diverged" else "holds")
    assert f"1 {status}, 2 done" in mixed["notes"]


@pytest.mark.parametrize(
    "changes, note",
    [
        ({"train.total_epochs": 128.0}, "runs differ in epochs"),
        ({"optimizer.nesterov": True}, "runs differ in the optimizer or initialization of one network"),
        ({"data.test_split": "train"}, "runs differ in the data set"),
        ({"data": {**SIZES, "test_examples": 2000}}, "runs differ in test examples"),
        ({"early_stopping.monitor": "oracle"}, "runs differ in what ends them"),
        ({"train.precision": "bfloat16"}, "runs differ in precision"),
        ({"corruption.seed": 7}, "runs differ in the seed of labels and pixels"),
        ({"model.kwargs.features": [8]}, "runs differ in one network"),
        ({"model.init": "glorot_uniform"}, "runs differ in the optimizer or initialization of one network"),
        ({"train.batch_size": 64}, "runs differ in the batch size"),
        ({"data": {**SIZES, "name": "digits"}}, "runs differ in the data set"),
    ],
)
def test_no_ordering_is_put_to_cells_that_were_trained_otherwise_than_each_other(write, changes, note):
    plain, cropped = "alexnet-none", "alexnet-crop"
    runs = {plain: seeds(write, plain, 0.76, 0.76), cropped: seeds(write, cropped, 0.85, 0.85, **changes)}
    row = claim_of(runs, CROP)
    assert row["verdict"] == "not comparable" and row["notes"].endswith(note)
    both = {plain: [write(plain, seed, test=0.76, **changes) for seed in (2, 3)], cropped: runs[cropped]}
    assert claim_of(both, CROP)["verdict"] == "holds"


def test_what_else_changes_with_batch_norm_is_named(write):
    statement = "inception: batch norm above none"
    runs = {name: seeds(write, name, *tests) for name, tests in (("inception-none", (0.86, 0.86)),)}
    runs["inception_no_bn-none"] = seeds(
        write, "inception_no_bn-none", 0.8, 0.8, **{"optimizer.learning_rate": 0.01, "model.init": "he_normal"}
    )
    row = claim_of(runs, statement)
    assert row["verdict"] == "holds"
    assert "3 changes at once: batch norm; model.init: " in row["notes"]
    assert "he_normal; optimizer.learning_rate: 0.1, 0.01" in row["notes"]


def test_the_best_so_far_is_the_largest_of_all_evaluations(write):
    runs = {"true-none": [write("true-none", test=0.6, history=(0.1, 0.64, 0.62))]}
    best = row_of(runs, "true-none", "oracle's best test_accuracy", "table2")
    assert (best["ours %"], best["paper %"], best["certainty"]) == ("64.00", "63.16", "C")
    assert row_of(runs, "true-none", "test_accuracy", "table2")["ours %"] == "60.00"
    assert row_of(runs, "true-aug", "oracle's best test_accuracy", "table2")["paper %"] == ""


def test_a_measure_that_was_not_recorded_is_blank(write):
    folder = write("true-none")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["summary"]["evaluation"]["test_top5_accuracy"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    row = row_of({"true-none": [folder]}, "true-none", "test_top5_accuracy", "table2")
    assert row["ours %"] == row["n"] == row["ours - paper"] == "" and row["paper %"] == "80.38"


def test_cells_of_the_users_own_follow_without_a_number_of_the_paper(write):
    rows = comparison.compare_table("table4", load({"wide_resnet-wd": [write("wide_resnet-wd", train=0.99)]}))
    assert [row["cell"] for row in rows] == [*TABLES["table4"].cells, "wide_resnet-wd"]
    assert rows[-1]["ours %"] == "99.00" and not any(rows[-1][c] for c in ("paper %", "certainty", "ours - paper"))
    words = rows[1]
    assert (words["cell"], words["paper %"], words["certainty"]) == ("alexnet-wd", "failed to converge", "A")
    assert (rows[-1]["verdict"], words["verdict"]) == ("not reported", "not run")
    ran = comparison.compare_table("table4", load({"alexnet-wd": [write("alexnet-wd", table="table4", train=0.99)]}))
    assert next(row for row in ran if row["cell"] == "alexnet-wd")["verdict"] == "in words"


def test_two_runs_of_one_seed_are_not_two_seeds(write, tmp_path):
    first = write("mlp_3x512-none", 3)
    with pytest.raises(UserError, match="same seed"):
        comparison.compare_table("table1", load({"mlp_3x512-none": [first, first]}))


# Orderings.

ORDERING = "mlp_3x512: weight decay above no regularizer"
CROP = "alexnet: cropping above no regularizer"
UNRESOLVED = "mlp_1x512: no regularizer above weight decay"


@pytest.mark.parametrize(
    "crop, none, verdict, sign",
    [
        ((0.80, 0.80), (0.76, 0.76), "holds", ">"),
        ((0.76, 0.76), (0.80, 0.80), "doesn't hold", "<"),
        ((0.78, 0.78), (0.78, 0.78), "undecided", "?"),  # a tie
        ((0.7801, 0.7801), (0.78, 0.78), "undecided", "?"),  # one test image
        ((0.85, 0.75), (0.76, 0.76), "undecided", "?"),  # within the spread over seeds
        ((0.85,), (0.76,), "undecided", "?"),  # a single run of each
    ],
)
def test_an_ordering_is_decided_by_its_interval(write, crop, none, verdict, sign):
    row = claim_of(
        {"alexnet-crop": seeds(write, "alexnet-crop", *crop), "alexnet-none": seeds(write, "alexnet-none", *none)}, CROP
    )
    means = [100 * sum(values) / len(values) for values in (crop, none)]
    assert row["verdict"] == verdict and row["paper"] == "79.66 > 76.07" and row["certainty"] == "B"
    assert row["ours"] == f"{means[0]:.2f} {sign} {means[1]:.2f}" and row["n"] == str(len(crop))
    assert (row["interval"] == "") == (len(crop) == 1)
    assert ("a single run shows no spread over seeds" in row["notes"]) == (len(crop) == 1)


def test_what_the_papers_own_numbers_do_not_resolve_is_undecided(write):
    runs = {name: seeds(write, name, *tests) for name, tests in (("mlp_1x512-wd", (0.7, 0.7)),)}
    runs["mlp_1x512-none"] = seeds(write, "mlp_1x512-none", 0.5, 0.5)
    row = claim_of(runs, UNRESOLVED)
    # 50.51 and 50.39 on 10,000 images: two standard errors of the difference are 2 sqrt(2 * 0.25 / 10,000).
    assert row["verdict"] == "undecided" and "don't resolve it (0.12 +- 1.42)" in row["notes"]


def test_an_ordering_of_gains_needs_all_its_cells(write):
    statement = "alexnet: gain of cropping above gain of weight decay"
    runs = {f"alexnet-{name}": seeds(write, f"alexnet-{name}", t, t) for name, t in (("crop", 0.84), ("wd", 0.77))}
    row = claim_of(runs, statement)
    assert row["verdict"] == "not run" and row["ours"] == row["n"] == "" and row["paper"] == "3.59 > 1.29"
    runs["alexnet-none"] = seeds(write, "alexnet-none", 0.76)  # cancels from the margin of both gains
    row = claim_of(runs, statement)
    assert (row["verdict"], row["ours"], row["n"]) == ("holds", "8.00 > 1.00", "1 to 2")
    statement = "alexnet: gain from mlp_3x512 above gain of cropping"
    runs["mlp_3x512-none"] = seeds(write, "mlp_3x512-none", 0.5, 0.5)
    assert claim_of(runs, statement)["verdict"] == "undecided"  # there it counts


def test_a_run_that_has_not_converged_decides_nothing(write):
    short = {"train": 0.187, "steps": 240}
    runs = {"alexnet-crop": seeds(write, "alexnet-crop", 0.85, 0.85)}
    runs["alexnet-none"] = seeds(write, "alexnet-none", 0.3, 0.3, **short)
    row = claim_of(runs, CROP)
    assert row["verdict"] == "undecided" and "not converged: alexnet-none" in row["notes"]
    runs["alexnet-none"] = [write("alexnet-none", seed, test=0.3, train=0.187) for seed in (2, 3)]
    assert claim_of(runs, CROP)["verdict"] == "holds"  # as many steps as the paper's
    statement = "mlp_1x512, random labels: fitted (train accuracy of 99% or more)"
    for seed, (changes, verdict) in enumerate([(short, "undecided"), ({"train": 0.187}, "doesn't hold")]):
        folder = write("mlp_1x512-random", seed, test=0.1, **changes)
        assert claim_of({"mlp_1x512-random": [folder]}, statement)["verdict"] == verdict


def test_a_few_epochs_of_many_small_steps_are_not_converged(write):
    runs = {"alexnet-crop": seeds(write, "alexnet-crop", 0.85, 0.85)}
    runs["alexnet-none"] = seeds(write, "alexnet-none", 0.3, 0.3, train=0.5, epochs=8.0)
    assert claim_of(runs, CROP)["verdict"] == "undecided"


def test_two_single_networks_are_compared_by_what_each_has_right(write):
    runs = {cell: [write(cell, test=test)] for cell, test in (("alexnet-crop", 0.6), ("alexnet-none", 0.4))}
    labels = np.arange(20) % 10
    for cell, wrong in (("alexnet-crop", 8), ("alexnet-none", 12)):
        save_predictions(runs[cell][0], labels, wrong)
    row = claim_of(runs, CROP)
    # Only the first has 4 more right: two-sided, 2 * 0.5^4.
    assert row["verdict"] == "undecided"
    assert "only alexnet-crop and alexnet-none have 4 and 0 test examples right (McNemar's p 0.12)" in row["notes"]
    save_predictions(runs["alexnet-none"][0], labels + 1, 12)  # another test set
    assert "McNemar" not in claim_of(runs, CROP)["notes"]
    save_predictions(runs["alexnet-none"][0], labels, 3)  # not what the run recorded
    assert "McNemar" not in claim_of(runs, CROP)["notes"]


def save_predictions(folder, labels, wrong):
    """Writes what a run predicts, of which the first are wrong."""
    ids = np.arange(len(labels), dtype=np.uint32)
    predicted = np.where(ids < wrong, labels - 1, labels).astype(np.int32)
    given = labels.astype(np.int32)
    np.savez(folder / "predictions.npz", ids=ids, true_labels=given, given_labels=given, predicted=predicted)


def write_kernel(write, name, error, seed=0, **config):
    """Writes a run of table 3 that has this test error."""
    fields = {
        "kind": "kernel",
        "data.name": "digits",
        "kernel.features": name.partition("-")[2],
        "kernel.ridges": [0.0],
    }
    folder = write(name, seed, train=0.0, **fields, **config)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["summary"]["evaluation"] |= {"test_error": error, "test_accuracy": 1 - error}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    save_predictions(folder, np.arange(100) % 10, round(100 * error))
    return folder


def test_on_other_data_table_3_speaks_of_those(write):
    runs = {
        name: [write_kernel(write, name, error)] for name, error in (("digits-pixels", 0.05), ("digits-gabor", 0.01))
    }
    row = claim_of(runs, "digits, test error: pixels above gabor", "table3")
    assert (row["ours"], row["paper"]) == ("5.00 ? 1.00", "1.20 > 0.60 (mnist)")
    for name, error in (("digits-pixels", 0.05), ("digits-gabor", 0.01)):
        runs[name] += [write_kernel(write, name, error, seed=1)]
    assert claim_of(runs, row["statement"], "table3")["verdict"] == "holds"  # a kernel does not have to converge
    runs["digits-pixels"] = [
        write_kernel(write, "digits-pixels", 0.9, seed, **{"corruption.labels": "uniform"}) for seed in (2, 3)
    ]
    assert claim_of(runs, row["statement"], "table3")["verdict"] == "not comparable"
    assert not any("digits" in row["statement"] for row in comparison.check_orderings("table3", {}))


def test_random_labels_are_fitted_and_at_chance_or_not(write):
    runs = {"mlp_1x512-random": [write("mlp_1x512-random", train=0.9841, test=0.1021)]}
    prefix = "mlp_1x512, random labels"
    assert claim_of(runs, f"{prefix}: fitted (train accuracy of 99% or more)")["verdict"] == "doesn't hold"
    assert claim_of(runs, f"{prefix}: at chance (test accuracy in 9.01..10.99%)")["verdict"] == "holds"


@pytest.mark.parametrize(
    "changes",
    [
        {"corruption.labels": "none"},
        {"corruption.label_probability": 0.0},
        {"weight_decay.coefficient": 0.0},
        {"train.loss": "squared"},
        {"augmentation.mixup": 0.2},
    ],
)
def test_no_ordering_is_put_to_another_corruption_or_regularizer(write, changes):
    cell, statement = "mlp_3x512-wd", "random labels, mlp_3x512-wd: fitted (train accuracy of 99% or more)"
    assert claim_of({cell: [write(cell, table="table4")]}, statement, "table4")["verdict"] == "holds"
    other = {cell: [write(cell, 1, table="table4", **changes)]}
    assert claim_of(other, statement, "table4")["verdict"] == "not comparable"


def test_chance_is_that_of_the_classes_there_are(write):
    folder = write("random-none", test=0.1, table="table2", data={"train_examples": 256, "test_examples": 360})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["summary"]["num_classes"] = 10
    (folder / "manifest.json").write_text(json.dumps(manifest))
    statement = "random-none: at chance (test accuracy in 2.64..17.36%)"
    assert claim_of({"random-none": [folder]}, statement, "table2")["verdict"] == "holds"


def test_a_field_that_is_not_recorded_is_not_taken_for_the_papers(write):
    folder = write("mlp_3x512-none", test=0.5239)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["config"]["dropout.rate"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    row = row_of({"mlp_3x512-none": [folder]}, "mlp_3x512-none")
    assert (row["verdict"], row["notes"]) == ("not comparable", "dropout.rate: not recorded")


@pytest.mark.parametrize("name", ["cifar10:3.0.2", "tfds:cifar10", "tfds:cifar10:3.0.2"])
def test_a_version_or_the_source_of_the_data_is_no_other_data(write, name):
    row = row_of({"mlp_3x512-none": [write("mlp_3x512-none", test=0.5239, **{"data.name": name})]}, "mlp_3x512-none")
    assert (row["verdict"], row["notes"]) == ("match", "")


def test_chance_is_wider_for_fewer_examples(write):
    few = {"train_examples": 1_000, "test_examples": 360}
    runs = {"mlp_1x512-random": [write("mlp_1x512-random", test=0.11, data=few)]}
    # 10 -+ 300 sqrt(0.1 * 0.9 * (1 / 360 + 1 / 1000))
    statement = "mlp_1x512, random labels: at chance (test accuracy in 4.47..15.53%)"
    assert claim_of(runs, statement)["verdict"] == "holds"
    runs = {"mlp_1x512-random": [write("mlp_1x512-random", 1, test=0.13, data=few)]}
    assert claim_of(runs, statement)["verdict"] == "undecided"  # 360 images place it in 9.5..16.5%
    runs = {"mlp_1x512-random": [write("mlp_1x512-random", 2, test=0.3, data=few)]}
    assert claim_of(runs, statement)["verdict"] == "doesn't hold"


@pytest.mark.parametrize(
    "changes, verdict",
    [
        ({"status": "diverged"}, "holds"),
        ({"train": 0.1}, "holds"),
        ({"train": 0.1, "steps": 240}, "undecided"),
        ({"train": 0.995}, "doesn't hold"),
        ({"status": "failed"}, "no result"),
    ],
)
def test_not_converging_is_met_by_divergence_but_not_by_a_crash(write, changes, verdict):
    statement = "random labels, alexnet-wd: not fitted (train accuracy below 99%, or diverged)"
    row = claim_of({"alexnet-wd": [write("alexnet-wd", table="table4", **changes)]}, statement, "table4")
    assert (row["verdict"], row["paper"], row["certainty"]) == (verdict, "failed to converge", "A")
    fitted = "random labels, inception-wd: fitted (train accuracy of 99% or more)"
    row = claim_of({"inception-wd": [write("inception-wd", table="table4", status="diverged")]}, fitted, "table4")
    assert row["verdict"] == "no result"


# Output.


def test_csv_markdown_and_terminal_hold_the_rows(write):
    folders = {"mlp_3x512-none": [write("mlp_3x512-none", seed, test=0.5 + seed / 100) for seed in (0, 1)]}
    runs = load(folders)
    for rows, columns in (
        (comparison.compare_table("table1", runs), comparison.COLUMNS),
        (comparison.check_orderings("table1", runs), verdicts.CLAIM_COLUMNS),
    ):
        read = list(csv.DictReader(io.StringIO(tables.to_csv(rows, columns))))
        assert read == [{name: str(value) for name, value in row.items()} for row in rows]
        assert len(tables.to_markdown(rows, columns).splitlines()) == len(rows) + 2
    brief = terminal.for_terminal(row_of(folders, "mlp_3x512-none"))
    assert brief["ours %"] == "50.50 +- 0.71 (n=2)" and brief["paper %"] == "52.39 B"


def test_folders_are_found_by_their_names(write, tmp_path):
    first, second = write("inception_no_bn-wd", 0), write("inception_no_bn-wd", 12)
    (tmp_path / "mlp_1x512-wd-seed0").mkdir()  # begun by no run yet
    (tmp_path / "log.txt").write_text("")
    assert {cell: [run.folder for run in loaded] for cell, loaded in results_runs.load_runs(tmp_path).items()} == {
        "inception_no_bn-wd": [first, second]
    }


def test_the_command_prints_table_and_orderings(write, tmp_path, run_module):
    write("mlp_3x512-none", test=0.5382), write("mlp_3x512-wd", test=0.55)
    for option in ([], ["--markdown"]):
        ended = run_module("rethink.report.comparison", "table1", tmp_path, *option)
        assert (
            ended.returncode == 0 and "53.82" in ended.stdout and ORDERING in ended.stdout and "not run" in ended.stdout
        )
        assert option or ended.stdout.count("17 of the paper's cells not run") == 1 and "alexnet" not in ended.stdout
        assert ("| mlp_3x512-none |" in ended.stdout) == bool(option)


@pytest.mark.parametrize(
    "mistake", ["table", "no folder", "empty folder", "stranger", "damaged rows", "damaged manifest"]
)
def test_mistakes_end_in_one_line(write, tmp_path, run_module, mistake):
    folder = write("mlp_3x512-none") if mistake != "empty folder" else None
    if mistake == "stranger":
        folder.rename(tmp_path / "my_run")
    if mistake.startswith("damaged"):
        name = "metrics.jsonl" if "rows" in mistake else "manifest.json"
        (folder / name).write_text("{\n")
    where = tmp_path / "nowhere" if mistake == "no folder" else tmp_path
    ended = run_module("rethink.report.comparison", "tabel1" if mistake == "table" else "table1", where)
    assert ended.returncode == 2 and ended.stderr.startswith("Error: ") and ended.stderr.count("\n") == 1
