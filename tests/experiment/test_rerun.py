"""A run is rerun from its own directory, and what differs is named."""

import json
import subprocess
import sys

import numpy as np
import pytest
from made_up import make_sweep

from rethink.configs import base
from rethink.experiment import rerun
from rethink.experiment.run import Launch, run_experiment
from rethink.schema import validation
from rethink.schema.errors import UserError


def test_a_config_comes_back_from_its_flat_fields():
    config = base.get_config()
    config.model.kwargs = {"modules": ((16, 16), 32), "width": 3}
    config.kernel.ridges = (0.0, 0.1)
    back = validation.from_flat(json.loads(validation.to_json(config)))
    assert validation.to_json(back) == validation.to_json(config)
    assert back.kernel.ridges == (0.0, 0.1) and back.model.kwargs.modules == ((16, 16), 32)
    assert not validation.changed_fields(back, json.loads(validation.to_json(config)))


def test_a_rerun_is_the_same_row_for_row(tmp_path, run_module):
    first, second = tmp_path / "first", tmp_path / "second"
    assert run_experiment(make_sweep(), str(first), Launch()) == 0
    ended = run_module("rethink.experiment.rerun", first, f"--workdir={second}")
    assert ended.returncode == 0, ended.stderr
    rows = (first / "metrics.jsonl").read_text().count("\n")
    line = f"Same data, and all {rows} rows of metrics.jsonl and the results are equal to those in {first}."
    assert line in ended.stdout
    assert (first / "metrics.jsonl").read_bytes() == (second / "metrics.jsonl").read_bytes()
    ended = run_module("rethink.experiment.rerun", first)
    assert ended.returncode == 0 and "Nothing to do" in ended.stdout


def test_what_comes_out_otherwise_is_named(tmp_path):
    folders = [tmp_path / name for name in ("first", "second")]
    for folder, jax, cores, loss in zip(folders, ("0.9", "0.10"), (2, 1), (2.0, 2.5), strict=True):
        folder.mkdir()
        hardware = {"devices": 1, "kind": "cpu", "platform": "cpu", "cores": cores}
        launch = {"first_step": 0, "last_step": 20, "hardware": hardware, "versions": {"jax": jax}}
        manifest = {"config": {}, "status": "done", "launches": [launch], "fingerprints": {"labels": "a"}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        rows = [{"kind": "train", "step": 10, "loss": 2.3}, {"kind": "train", "step": 20, "loss": loss}]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line, same = rerun.compare_runs(*folders)
    why = "other now: cores (2 -> 1), jax (0.9 -> 0.10)"
    assert line == f"Same data, other rows: from step 20 on loss (by up to 0.5) differ from {folders[0]}; {why}."
    assert not same
    manifest["fingerprints"]["labels"] = "b"
    (folders[1] / "manifest.json").write_text(json.dumps(manifest))
    line = f"Other data: the fingerprints of labels differ from those in {folders[0]}."
    assert rerun.compare_runs(*folders) == (line, False)


def test_an_analysis_is_compared_by_its_results_but_for_times(tmp_path):
    folders = [tmp_path / name for name in ("first", "second")]
    for folder, seconds in zip(folders, (1.0, 2.0), strict=True):
        folder.mkdir()
        growth = [{"points": 10, "seconds": seconds, "residual": 0.5}]
        summary = {"growth": growth, "construction_seconds": seconds, "rows": [["time", f"{seconds} s"]]}
        (folder / "manifest.json").write_text(json.dumps({"config": {}, "status": "done", "summary": summary}))
    assert rerun.compare_runs(*folders) == (f"Same data, and the results are equal to those in {folders[0]}.", True)
    growth[0]["residual"] = 0.25
    (folders[1] / "manifest.json").write_text(json.dumps({"config": {}, "status": "done", "summary": summary}))
    line = f"Same data and rows, other results: growth differ from {folders[0]}."
    assert rerun.compare_runs(*folders) == (line, False)


def test_predictions_are_compared_where_both_runs_have_them(tmp_path):
    folders = [tmp_path / name for name in ("first", "second")]
    for folder, predicted in zip(folders, ([0, 1], [1, 0]), strict=True):
        folder.mkdir()
        (folder / "manifest.json").write_text(json.dumps({"config": {}, "status": "done"}))
        labels = np.zeros(2, np.int32)
        arrays = {"true_labels": labels, "given_labels": labels, "predicted": np.array(predicted, np.int32)}
        np.savez(folder / "predictions.npz", ids=np.arange(2, dtype=np.uint32), **arrays)
    line = f"Same data and rows, other results: predicted of predictions.npz differ from {folders[0]}."
    assert rerun.compare_runs(*folders) == (line, False)
    (folders[1] / "predictions.npz").unlink()
    assert rerun.compare_runs(*folders)[1]


@pytest.mark.slow
def test_a_run_that_comes_out_otherwise_fails(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert run_experiment(make_sweep(), str(first), Launch()) == 0
    rows = (first / "metrics.jsonl").read_text().splitlines(keepends=True)
    (first / "metrics.jsonl").write_text("".join(rows[:-1]))
    words = [sys.executable, "-m", "rethink.experiment.rerun", str(first), f"--workdir={second}"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == rerun.EXIT_DIFFERS == 1 and "Same data, other rows" in ended.stdout


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match=r"holds no run \(no manifest.json\)"):
        rerun.read_config(tmp_path)


@pytest.mark.slow
def test_a_run_is_not_compared_with_itself_and_one_of_another_version_is_named(tmp_path):
    assert run_experiment(make_sweep(), str(tmp_path / "run"), Launch()) == 0
    words = [
        sys.executable,
        "-m",
        "rethink.experiment.rerun",
        str(tmp_path / "run"),
        f"--workdir={tmp_path / 'run' / '.'}",
    ]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "is the run itself: choose a new directory" in ended.stderr
    path = tmp_path / "run" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["config"]["data.classes"]
    path.write_text(json.dumps(manifest))
    words[-1] = f"--workdir={tmp_path / 'new'}"
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "lacks a field that this version has" in ended.stderr
    assert "Traceback" not in ended.stderr
