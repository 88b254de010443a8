"""Many run directories as loaded runs and tidy tables: one row a run, one row a metrics row, and no pandas before."""

import json
import subprocess
import sys

import numpy as np
import pytest

from rethink.results import runs
from rethink.schema.errors import UserError


@pytest.fixture
def write(tmp_path):
    """write(cell, seed, ...) -> the directory of a made-up run."""

    def write(cell, seed=0, *, status="done", reached=(100, None), **config):
        folder = tmp_path / f"{cell}-seed{seed}"
        folder.mkdir()
        manifest = {"config": {"seed": seed, "train.batch_size": 32, **config}, "status": status}
        if status == "done":
            steps = dict(zip(("0.95", "0.99"), reached, strict=True))
            evaluation = {"kind": "evaluation", "step": 300, "test_accuracy": 0.5}
            manifest["summary"] = {"evaluation": evaluation, "steps": 300, "steps_to_train_accuracy": steps}
        rows = [{"kind": "train", "step": 10, "loss": 2.0}, {"kind": "evaluation", "step": 10, "test_accuracy": 0.1}]
        (folder / "manifest.json").write_text(json.dumps(manifest))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return write


def load(folder):
    return [run for loaded in runs.load_runs(folder).values() for run in loaded]


def test_a_row_for_each_run_holds_config_and_result(write, tmp_path):
    write("a", 0), write("a", 1, **{"train.batch_size": 64}), write("b", status="running")
    table = runs.run_table(load(tmp_path), notes=lambda run: [f"seed {run.seed}"])
    assert list(table["run"]) == ["a-seed0", "a-seed1", "b-seed0"] and list(table["cell"]) == ["a", "a", "b"]
    assert list(table["train.batch_size"]) == [32, 64, 32] and list(table["has_result"]) == [True, True, False]
    assert list(table["notes"]) == [["seed 0"], ["seed 1"], ["seed 0"]]
    numbers = runs.read_numbers(table, "test_accuracy")
    assert list(numbers[:2]) == [0.5, 0.5] and numbers.isna()[2] and runs.read_numbers(table, "nothing").isna().all()


@pytest.mark.parametrize(
    "change, differs",
    [
        ({}, True),
        ({"data.train_examples": 10}, False),  # others by the config
        ({"data.dir": "elsewhere"}, True),  # a place, which may hold the same
        ({"corruption.pixels": "gaussian"}, False),  # images as corrupted
    ],
)
def test_runs_of_one_data_set_must_have_had_the_same_examples(write, tmp_path, change, differs):
    config = {"data.name": "npz:a.npz", "data.train_examples": 0, "data.dir": "", "corruption.pixels": "none"}
    for folder, images, fields in ((write("a", **config), "1", {}), (write("b", **config), "2", change)):
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["config"] |= fields
        manifest["fingerprints"] = {"images": images, "true_labels": "3", "order": images}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    if differs:
        with pytest.raises(UserError, match="had other images under the same data.name"):
            runs.check_same_data(load(tmp_path))
    else:
        runs.check_same_data(load(tmp_path))


def test_steps_that_were_not_reached_are_those_made(write, tmp_path):
    write("a")
    row = runs.run_table(load(tmp_path)).iloc[0]
    assert (row["steps to 0.95"], row["reached 0.95"]) == (100, True)
    assert (row["steps to 0.99"], row["reached 0.99"]) == (300, False)


def test_a_row_for_each_metrics_row_of_a_kind_or_of_all(write, tmp_path):
    write("a", 0), write("b", 0)
    table = runs.row_table(load(tmp_path))
    assert [*zip(table["cell"], table["kind"], table["step"], strict=True)] == [
        (cell, kind, 10) for cell in "ab" for kind in ("train", "evaluation")
    ]
    assert list(runs.row_table(load(tmp_path), "train")["loss"]) == [2.0, 2.0]
    assert len(runs.run_table([])) == len(runs.row_table([])) == 0


def test_a_manifest_without_a_seed_is_named(write, tmp_path):
    folder = write("a")
    (folder / "manifest.json").write_text(json.dumps({"config": {}, "status": "done"}))
    with pytest.raises(UserError, match="manifest.json has no seed"):
        runs.load_runs(tmp_path)


def test_the_sweep_is_named_by_the_configs(write, tmp_path):
    write("a", name="table1-a")
    assert runs.sweep_name(runs.load_runs(tmp_path)) == "table1"
    assert runs.sweep_name({}) == ""


def test_predictions_are_none_where_there_are_none_and_damaged_ones_are_named(write, tmp_path):
    run = runs.load_run(write("a"))
    assert run.predictions() is None
    kept = {"ids": np.arange(3, dtype=np.uint32)}
    kept |= {name: np.array([0, 1, 1], np.int32) for name in ("true_labels", "given_labels", "predicted")}
    path = run.folder / "predictions.npz"
    np.savez_compressed(path, **kept)
    assert [values.tolist() for values in run.predictions()] == [[0, 1, 2], *[[0, 1, 1]] * 3]
    whole = path.read_bytes()
    damaged = [b"", whole[: len(whole) // 2], b"\0" + whole[1:], whole.replace(b"PK", b"pk"), b"a text"]
    damaged += [whole[:i] + bytes([whole[i] ^ 16]) + whole[i + 1 :] for i in range(30, 200, 7)]  # in the first array
    for content in damaged:
        path.write_bytes(content)
        try:
            assert [values.tolist() for values in run.predictions()] == [[0, 1, 2], *[[0, 1, 1]] * 3]
        except UserError as error:
            assert str(error) == f"{path} is damaged: bring it back from a copy, or leave {run.folder} out."
            continue
        assert content not in damaged[:5]
    for change in (
        {"ids": np.array([0, 2, 2], np.uint32)},
        {"predicted": np.array([0, 1], np.int32)},
        {"predicted": np.array([0, 1, 1], np.int64)},
        {"predicted": np.array(3, np.int32)},
    ):
        np.savez_compressed(path, **{**kept, **change})
        with pytest.raises(UserError, match="is damaged"):
            run.predictions()


@pytest.mark.parametrize("module", ["rethink.experiment.run", "rethink.sweeps.run", "rethink.sweeps.reproduce"])
def test_a_run_starts_without_pandas(module):
    code = f"import sys, {module}; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "found, experiments, held",
    [
        (".", (), "a single run"),
        (".", ("one",), "a single run"),
        ("a-seed0", (), ""),
        ("a-seed0", ("one",), "the runs of a sweep"),
        ("a-seed0", ("a-seed0",), ""),
        ("a-seed0/network-seed0", (), ""),  # an analysis's own run
        ("one", (), "the runs of a suite"),
        ("one", ("one",), ""),
        ("one/a-seed0", (), "the runs of a suite"),
        ("one/a-seed0", ("other",), ""),
        ("missing/figures", (), ""),
    ],
)
def test_runs_of_different_kinds_do_not_lie_in_one_folder(tmp_path, found, experiments, held):
    for folder in (found, *(["a-seed0"] if found.startswith("a-seed0") else [])):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        if "figures" not in folder:
            (tmp_path / folder / "manifest.json").write_text("{}")
    if not held:
        return runs.check_kind_of_folder(tmp_path, experiments)
    with pytest.raises(UserError, match=f"holds {held} .*: choose another --workdir"):
        runs.check_kind_of_folder(tmp_path, experiments)


def test_a_folder_that_there_is_not_yet_holds_nothing(tmp_path):
    runs.check_kind_of_folder(tmp_path / "new")


def test_seeds_are_told_by_their_mean_and_deviation(write):
    loaded = [runs.load_run(write("a", seed)) for seed in range(3)]
    for run, accuracy in zip(loaded, (0.5, 0.6, 0.7), strict=True):
        run.manifest["summary"]["evaluation"] |= {"test_accuracy": accuracy, "train_accuracy": 1.0}
    said = "a: accuracy %: train 100.00 +- 0.00 (n=3), test 60.00 +- 10.00 (n=3)"
    assert runs.describe_seeds("a", loaded) == said
    assert runs.describe_seeds("a", loaded[:1]) == ""


def test_runs_are_sorted_by_the_values_of_axes_as_numbers(write):
    cells = ["a-width=32", "a-width=256", "a-width=1e-05", "b-width=4-act=relu", "b-width=16-act=relu", "b-width=none"]
    ordered = sorted((runs.load_run(write(cell)) for cell in cells), key=runs.by_values)
    names = [run.cell for run in ordered]
    assert names[:3] == ["a-width=1e-05", "a-width=32", "a-width=256"]
    assert names.index("b-width=4-act=relu") < names.index("b-width=16-act=relu")
