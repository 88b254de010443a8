"""The analysis of memorization as a user runs it: its files, interrupted, extended, on two devices, and mistakes."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from rethink.analyses.influence import summarize_memorization
from rethink.configs import influence as influence_config
from rethink.experiment.run import Launch, run_experiment
from rethink.memorization.influence import Memorization
from rethink.memorization.subset_networks import CorrectnessFile
from rethink.schema.errors import UserError

FIELDS = {
    "data.train_examples": 50,
    "data.test_examples": 30,
    "train.batch_size": 10,
    "train.total_epochs": 3.0,
    "model.name": "mlp_tiny",
    "influence.networks": 24,
    "influence.share": 0.6,
    "corruption.label_probability": 0.3,
}
KILL = """
import os
from rethink.memorization import subset_networks
append = subset_networks.CorrectnessFile.append
def append_or_die(self, correct):
    append(self, correct)
    if self.count == 6:
        os.kill(os.getpid(), 9)
subset_networks.CorrectnessFile.append = append_or_die
exec(open("main.py").read())
"""
RESULTS = ("networks.bin", "influence.npz", "memorization.csv", "influence_pairs.csv")


def config_of(**fields):
    config = influence_config.get_config()
    config.update_from_flattened_dict({**FIELDS, **{name.replace("__", "."): value for name, value in fields.items()}})
    return config


def run(folder, **fields):
    """Runs it; returns its manifest."""
    assert run_experiment(config_of(**fields), str(folder), Launch()) == 0
    return json.loads((folder / "manifest.json").read_text())


def contents(folder):
    return {name: (folder / name).read_bytes() for name in RESULTS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of 24 networks that nothing disturbed."""
    folder = tmp_path_factory.mktemp("influence")
    run(folder)
    return folder


def test_it_writes_what_each_example_is_memorized_by(folder):
    summary = json.loads((folder / "manifest.json").read_text())["summary"]
    with np.load(folder / "influence.npz", allow_pickle=False) as arrays:
        found = dict(arrays)
    assert summary["members"] == 30 and summary["memorization"]["examples"]["all"] == 50
    assert summary["memorization"]["mean"]["all"] == pytest.approx(found["tr_mem"].mean())
    is_corrupted = found["tr_labels"] != found["tr_true_labels"]
    assert summary["memorization"]["mean"]["corrupted"] == pytest.approx(found["tr_mem"][is_corrupted].mean())
    assert 0 < is_corrupted.sum() < 50 and 0 <= summary["memorization"]["auroc_corrupted"] <= 1
    # The tables hold the same, the most memorized and the strongest first.
    rows = list(csv.DictReader((folder / "memorization.csv").open()))
    by_id = dict(zip(found["tr_ids"].tolist(), found["tr_mem"], strict=True))
    values = [float(row["memorization"]) for row in rows]
    assert len(rows) == 50 and values == sorted(values, reverse=True)
    assert all(abs(by_id[int(row["id"])] - float(row["memorization"])) <= 5e-5 for row in rows)
    pairs = list(csv.DictReader((folder / "influence_pairs.csv").open()))
    assert len(pairs) == len(found["infl"]) == summary["pairs"]["above"]
    assert found["infl"].min() >= 0.15
    assert [int(pair["test_id"]) for pair in pairs] == found["tt_ids"][found["tt_idx"]].tolist()
    for name in ("memorization", "influence_pairs"):
        assert (folder / "figures" / f"{name}.png").stat().st_size
    labels = [label for label, _ in summary["rows"]]
    assert "mean memorization, corrupted examples" in labels and "AUROC of memorization for corrupted labels" in labels


def test_one_that_is_interrupted_between_networks_and_one_that_is_extended_have_the_same_bits(
    folder, tmp_path, monkeypatch, capsys
):
    append, calls = CorrectnessFile.append, []

    def interrupt(self, correct):
        calls.append(len(correct))
        if len(calls) == 7:
            raise KeyboardInterrupt
        append(self, correct)

    monkeypatch.setattr(CorrectnessFile, "append", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, influence__networks=12)
    assert len((tmp_path / "networks.bin").read_bytes().partition(b"\n")[2]) == 6 * (4 + 10)
    (tmp_path / "networks.bin").write_bytes((tmp_path / "networks.bin").read_bytes()[:-3])  # as a kill may leave it
    run(tmp_path, influence__networks=12)
    run(tmp_path)
    assert len(calls) == 7 + 7 + 12  # the 6th, whose record was cut, came again
    assert contents(tmp_path) == contents(folder)
    capsys.readouterr()
    run(tmp_path)
    assert "Nothing to do" in capsys.readouterr().out and len(calls) == 26


@pytest.mark.slow
def test_one_that_is_killed_on_two_devices_has_the_bits_of_one_device(folder, tmp_path):
    words = [f"--config.{field}={value}" for field, value in FIELDS.items()]
    command = [sys.executable, "main.py", "--config=configs/influence.py", f"--workdir={tmp_path / 'run'}", *words]
    command.append("--config.hardware.cpu_devices=2")
    root = pathlib.Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", KILL, *command[2:]], cwd=root, env=os.environ, capture_output=True)
    assert killed.returncode == -signal.SIGKILL and (tmp_path / "run" / "networks.bin").stat().st_size > 100
    subprocess.run(command, cwd=root, env=os.environ, check=True, capture_output=True)
    assert contents(tmp_path / "run") == contents(folder)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("early_stopping.monitor", "oracle", "early_stopping.monitor='oracle' has no meaning in this analysis"),
        ("stop.train_accuracy", 1.0, "stop.train_accuracy=1.0 has no meaning"),
        ("data.folds", 3, "data.folds=3 has no meaning"),
        ("data.validation_fraction", 0.1, "data.validation_fraction=0.1 has no meaning"),
        (
            "train.batch_size",
            40,
            r"train.batch_size=40 is more than the 30 examples of a subset \(influence.share=0.6\)",
        ),
    ],
)
def test_what_has_no_meaning_is_refused_in_a_line(tmp_path, field, value, message):
    with pytest.raises(UserError, match=message):
        run(tmp_path, **{field: value})
    assert not (tmp_path / "networks.bin").exists()


def test_networks_of_another_length_are_another_run(folder):
    with pytest.raises(UserError, match="train.total_epochs: 3.0 -> 4.0"):
        run(folder, **{"train.total_epochs": 4.0})


@pytest.mark.parametrize(
    "words, expected",
    [("", ("digits", 0, 0.1)), ("cifar10", ("cifar10", 4000, 0.1)), ("mnist,alexnet", ("mnist", 10000, 0.01))],
)
def test_the_config_takes_one_data_set(words, expected):
    config = influence_config.get_config(words)
    assert (config.data.name, config.data.train_examples, config.optimizer.learning_rate) == expected
    with pytest.raises(ValueError, match="of digits, mnist, cifar10 one at most"):
        influence_config.get_config("mnist,cifar10")


def test_a_summary_leaves_out_what_has_no_estimate_and_what_there_is_not():
    values = np.array([1.0, 0.5, 0.0, np.nan])
    found = Memorization(values, values, np.full(4, 9))
    summary = summarize_memorization(found, np.array([True, False, False, True]))
    assert summary["examples"] == {"all": 3, "clean": 2, "corrupted": 1} and summary["without_estimate"] == 1
    assert summary["mean"] == {"all": 0.5, "clean": 0.25, "corrupted": 1.0}
    assert summary["auroc_corrupted"] == 1 and summary["share_high"] == pytest.approx(2 / 3)
    clean = summarize_memorization(found, np.zeros(4, bool))
    assert clean["mean"]["corrupted"] is None and clean["auroc_corrupted"] is None
    nothing = summarize_memorization(Memorization(values * np.nan, values, np.zeros(4)), np.zeros(4, bool))
    assert nothing["mean"]["all"] is None and nothing["share_high"] is None
