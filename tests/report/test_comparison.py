"""Runs beside the paper: means over seeds, what is not comparable, what has not run, and which orderings hold."""

import csv
import io
import json
import runpy
import subprocess
import sys

import pytest

from rethink.paper.numbers import TABLES, Number
from rethink.report import comparison, verdicts
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
            manifest["summary"] = {"evaluation": last, "epochs": epochs}
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


@pytest.mark.parametrize(
    "train, difference, verdict", [(0.99, "-1.00", "match"), (0.9898, "-1.02", "off"), (0.5, "-50.00", "off")]
)
def test_a_match_is_within_a_point_of_what_is_known_whole(write, train, difference, verdict):
    row = row_of({"mlp_3x512-none": [write("mlp_3x512-none", train=train)]}, "mlp_3x512-none", "train_accuracy")
    assert row["ours - paper"] == difference and row["verdict"] == verdict


def test_a_match_is_within_three_standard_errors_of_runs_and_test_set(write):
    cell = "mlp_3x512-none"
    one = row_of({cell: [write(cell, test=0.5375)]}, cell)
    assert (one["standard error"], one["ours - paper"], one["verdict"]) == ("0.50", "+1.36", "match")
    assert row_of({cell: [write(cell, 1, test=0.54)]}, cell)["verdict"] == "off"
    seeds = [write(cell, seed, test=test) for seed, test in ((2, 0.535), (3, 0.545))]
    both = row_of({cell: seeds}, cell)  # 0.5 points of the runs, 0.5 of the test set
    assert (both["standard error"], both["ours - paper"], both["verdict"]) == ("0.71", "+1.61", "match")
    noisy = [write(cell, seed, test=test) for seed, test in ((4, 0.53), (5, 0.55))]
    assert row_of({cell: noisy}, cell)["verdict"] == "inconclusive"  # three of 1.12 are more than 2.5 points


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
    ordering = claim_of({**runs, "mlp_3x512-wd": [write("mlp_3x512-wd", test=0.6)]}, WD)
    unlike = {"subset": "train examples", "size of the train": "train examples", "short": "epochs"}
    differ = [f"runs differ in {what}" for start, what in unlike.items() if note.startswith(start)]
    assert ordering["notes"] == "; ".join([f"{cell}: {note}", *differ])
    other = differ or note.startswith(("pixels", "test labels"))
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
    other = write("mlp_3x512-wd", test=0.6)
    assert claim_of({cell: [bad], "mlp_3x512-wd": [other]}, WD)["verdict"] == "no result"
    mixed = claim_of({cell: [bad, good], "mlp_3x512-wd": [other]}, WD)
    if status == "diverged":  # the mean is one of survivors
        assert (row["verdict"], row["notes"]) == ("not comparable", "1 of 2 diverged")
        assert mixed["verdict"] == "not comparable"
    else:
        assert row["verdict"] == "match"
        assert mixed["verdict"] == "holds" and mixed["notes"] == f"{cell}: 1 {status}, 1 done"


@pytest.mark.parametrize(
    "changes, verdict, note",
    [
        ({"train.total_epochs": 128.0}, "not comparable", "runs differ in epochs"),
        ({"optimizer.nesterov": True}, "not comparable", "runs differ in the optimizer of one network"),
        ({"train.batch_size": 64}, "holds", ""),
    ],
)
def test_no_ordering_is_put_to_cells_that_were_trained_otherwise_than_each_other(write, changes, verdict, note):
    plain, decayed = "mlp_3x512-none", "mlp_3x512-wd"
    runs = {plain: [write(plain, test=0.5)], decayed: [write(decayed, test=0.6, **changes)]}
    row = claim_of(runs, WD)
    assert row["verdict"] == verdict and row["notes"].endswith(note)
    both = {plain: [write(plain, 1, test=0.5, **changes)], decayed: runs[decayed]}
    assert claim_of(both, WD)["verdict"] == "holds"


def test_a_difference_beyond_all_noise_is_off_however_noisy():
    number = Number(50.0, "A")
    judged = [
        comparison.judge_number(number, difference, 1.0, ran=True, comparable=True)
        for difference in (-60.0, 3.1, 2.9, 0.1)
    ]
    assert judged == ["off", "off", "inconclusive", "inconclusive"]


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

WD = "mlp_3x512: weight decay above no regularizer"
REVERSED = "mlp_1x512: no regularizer above weight decay"


@pytest.mark.parametrize(
    "wd, none, verdict", [(0.53, 0.52, "holds"), (0.52, 0.53, "doesn't hold"), (0.5, 0.5, "doesn't hold")]
)
def test_an_ordering_flips_with_the_numbers(write, wd, none, verdict):
    row = claim_of(
        {"mlp_3x512-wd": [write("mlp_3x512-wd", test=wd)], "mlp_3x512-none": [write("mlp_3x512-none", test=none)]}, WD
    )
    assert row["verdict"] == verdict and row["paper"] == "53.35 > 52.39" and row["certainty"] == "B"
    assert row["ours"] == f"{100 * wd:.2f} {'>' if wd > none else '<='} {100 * none:.2f}"
    assert row["n"] == "1" and row["standard error"] == ""


def test_the_direction_is_the_papers(write):
    runs = {"mlp_1x512-wd": [write("mlp_1x512-wd", test=0.6)], "mlp_1x512-none": [write("mlp_1x512-none", test=0.5)]}
    assert claim_of(runs, REVERSED)["verdict"] == "doesn't hold"


def test_an_ordering_of_gains_needs_all_its_cells(write):
    statement = "alexnet: gain of cropping above gain of weight decay"
    runs = {f"alexnet-{name}": [write(f"alexnet-{name}", test=t)] for name, t in (("crop", 0.8), ("wd", 0.77))}
    row = claim_of(runs, statement)
    assert row["verdict"] == "not run" and row["ours"] == row["n"] == "" and row["paper"] == "3.59 > 1.29"
    runs["alexnet-none"] = [write("alexnet-none", test=0.76)]
    assert (claim_of(runs, statement)["verdict"], claim_of(runs, statement)["ours"]) == ("holds", "4.00 > 1.00")


def test_the_standard_error_is_that_of_the_margin(write):
    def seeds(cell, *accuracies):
        return [write(cell, seed, test=test) for seed, test in enumerate(accuracies)]

    runs = {
        "mlp_3x512-wd": seeds("mlp_3x512-wd", 0.52, 0.54),
        "mlp_3x512-none": seeds("mlp_3x512-none", 0.50, 0.53, 0.53),
    }
    row = claim_of(runs, WD)
    # Variances 2 and 3 points squared, over 2 and 3 runs: sqrt(1 + 1). The margin is one point.
    assert (row["standard error"], row["n"], row["notes"]) == ("1.41", "2 to 3", "within two standard errors")
    runs["alexnet-crop"], runs["alexnet-wd"] = seeds("alexnet-crop", 0.80, 0.82), seeds("alexnet-wd", 0.70, 0.72)
    runs["alexnet-none"] = seeds("alexnet-none", 0.6)  # cancels from the margin of both gains
    row = claim_of(runs, "alexnet: gain of cropping above gain of weight decay")
    assert (row["standard error"], row["n"], row["notes"]) == ("1.41", "1 to 2", "")
    row = claim_of(runs, "alexnet: gain from mlp_3x512 above gain of cropping")
    assert row["standard error"] == ""


def test_random_labels_are_fitted_and_at_chance_or_not(write):
    runs = {"mlp_1x512-random": [write("mlp_1x512-random", train=0.9841, test=0.1021)]}
    prefix = "mlp_1x512, random labels"
    assert claim_of(runs, f"{prefix}: fitted (train accuracy of 99% or more)")["verdict"] == "doesn't hold"
    assert claim_of(runs, f"{prefix}: at chance (test accuracy in 9.01..10.99%)")["verdict"] == "holds"


@pytest.mark.parametrize(
    "changes",
    [{"corruption.labels": "none"}, {"corruption.label_probability": 0.0}, {"weight_decay.coefficient": 0.0}],
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
    runs = {"mlp_1x512-random": [write("mlp_1x512-random", test=0.13, data=few)]}
    # 10 -+ 300 sqrt(0.1 * 0.9 * (1 / 360 + 1 / 1000))
    statement = "mlp_1x512, random labels: at chance (test accuracy in 4.47..15.53%)"
    assert claim_of(runs, statement)["verdict"] == "holds"


def test_a_standard_error_that_is_not_known_is_blank(write):
    cell = "mlp_3x512-none"
    alone = {cell: [write(cell, test=0.5, data={"train_examples": FULL})]}
    assert row_of(alone, cell)["standard error"] == "" == row_of(alone, cell, "train_accuracy")["standard error"]
    other = "mlp_3x512-wd"
    sized = {other: [write(other, test=0.5, data=SIZES)]}
    assert row_of(sized, other)["standard error"] == "0.50"
    assert row_of(sized, other, "train_accuracy")["standard error"] == ""  # known whole


@pytest.mark.parametrize(
    "changes, verdict",
    [
        ({"status": "diverged"}, "holds"),
        ({"train": 0.1}, "holds"),
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
    brief = comparison.for_terminal(row_of(folders, "mlp_3x512-none"))
    assert brief["ours %"] == "50.50 +- 0.71 (n=2)" and brief["paper %"] == "52.39 B"


def test_folders_are_found_by_their_names(write, tmp_path):
    first, second = write("inception_no_bn-wd", 0), write("inception_no_bn-wd", 12)
    (tmp_path / "mlp_1x512-wd-seed0").mkdir()  # begun by no run yet
    (tmp_path / "log.txt").write_text("")
    assert {cell: [run.folder for run in loaded] for cell, loaded in results_runs.load_runs(tmp_path).items()} == {
        "inception_no_bn-wd": [first, second]
    }


def call(*arguments):
    command = [sys.executable, "-m", "rethink.report.comparison", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_prints_table_and_orderings(write, tmp_path):
    write("mlp_3x512-none", test=0.5382), write("mlp_3x512-wd", test=0.55)
    for option in ([], ["--markdown"]):
        ended = call("table1", tmp_path, *option)
        assert ended.returncode == 0 and "53.82" in ended.stdout and WD in ended.stdout and "not run" in ended.stdout
        assert ("| mlp_3x512-none |" in ended.stdout) == bool(option)


@pytest.mark.parametrize(
    "mistake", ["table", "no folder", "empty folder", "stranger", "damaged rows", "damaged manifest"]
)
def test_mistakes_end_in_one_line(write, tmp_path, mistake):
    folder = write("mlp_3x512-none") if mistake != "empty folder" else None
    if mistake == "stranger":
        folder.rename(tmp_path / "my_run")
    if mistake.startswith("damaged"):
        name = "metrics.jsonl" if "rows" in mistake else "manifest.json"
        (folder / name).write_text("{\n")
    where = tmp_path / "nowhere" if mistake == "no folder" else tmp_path
    ended = call("tabel1" if mistake == "table" else "table1", where)
    assert ended.returncode and ended.stderr.startswith("Error: ") and ended.stderr.count("\n") == 1
