"""Two ways to feed, one result: a streamed run equals a resident one, and several processes equal one."""

import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import orbax.checkpoint as ocp
import pytest
from made_up import assert_predicted

from rethink.configs import cifar_random
from rethink.data.registry import open_dataset
from rethink.experiment.input_pipeline import InputPipeline
from rethink.experiment.run import Launch, run_experiment
from rethink.figures import learning_curve
from rethink.results.runs import load_run

ROOT = pathlib.Path(__file__).parents[2]
CONDITIONS = {
    "labels": {"labels": "uniform"},
    "shuffled_pixels": {"pixels": "shuffled_pixels"},
    "random_pixels": {"pixels": "random_pixels", "labels": "symmetric"},
    "gaussian": {"pixels": "gaussian", "test_pixels": True},
    "gaussian_clipped": {"pixels": "gaussian_clipped"},
}


def small_config(data_dir, condition):
    config = cifar_random.get_config("mlp_tiny")
    config.data.dir = str(data_dir)
    config.data.name, config.data.test_split = "imagenet2012", "validation"  # a thousand images
    config.data.image_size = 32
    config.data.train_examples = 200
    config.corruption.update({"labels": "none", **CONDITIONS[condition]})
    config.train.total_epochs = 2.0
    config.evaluate.batch_size = 128
    config.data.workers = 0
    return config


def last_state(workdir):
    newest = max((workdir / "checkpoints").iterdir(), key=lambda path: int(path.name))
    return ocp.StandardCheckpointer().restore(newest / "state")["params"]


def differences(one, other):
    """Returns the largest difference of two parameter trees, relative to the largest parameter."""
    import jax

    pairs = list(zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
    scale = max(np.abs(a).max() for a, _ in pairs)
    return max(np.abs(np.asarray(a) - np.asarray(b)).max() for a, b in pairs) / scale


def fingerprints(workdir):
    return json.loads((workdir / "manifest.json").read_text())["fingerprints"]


def assert_extremes(workdir, stored):
    """Asserts that a run has kept the examples that were learned last and first, with their images and labels."""
    kept, labels = np.load(workdir / "extremes.npz"), np.load(workdir / "corruption.npz")
    rows, history = np.searchsorted(labels["ids"], kept["ids"]), load_run(workdir).example_history()
    losses = history.loss[1:].astype(np.float64).sum(axis=0)  # the first row is of the network before the first step
    np.testing.assert_array_equal(kept["cumulative_loss"], losses[rows])
    ordered = np.sort(losses)[::-1]
    np.testing.assert_array_equal(losses[rows], [*ordered[:8], *ordered[-8:]])
    np.testing.assert_array_equal(kept["images"], stored.read(rows).images)
    for name in ("given_labels", "true_labels"):
        np.testing.assert_array_equal(kept[name], labels[name][rows])


@pytest.mark.parametrize(
    "condition", ["labels", *(pytest.param(name, marks=pytest.mark.slow) for name in CONDITIONS if name != "labels")]
)
def test_a_streamed_run_equals_a_resident_one_bit_for_bit(real_data, tmp_path, monkeypatch, condition):
    monkeypatch.setattr(learning_curve, "draw_learning_curve", lambda *_, **__: [])
    for feed in ("resident", "streamed"):
        config = small_config(real_data, condition)
        config.data.feed, config.log.examples = feed, "all"
        assert run_experiment(config, str(tmp_path / feed), Launch()) == 0
    assert differences(last_state(tmp_path / "resident"), last_state(tmp_path / "streamed")) == 0
    for name in ("metrics.jsonl", "examples_train.bin", "presentations.npz"):
        assert (tmp_path / "resident" / name).read_bytes() == (tmp_path / "streamed" / name).read_bytes()
    assert fingerprints(tmp_path / "resident") == fingerprints(tmp_path / "streamed")
    labels = [np.load(tmp_path / feed / "corruption.npz") for feed in ("resident", "streamed")]
    for column in ("ids", "true_labels", "given_labels", "resampled"):
        np.testing.assert_array_equal(labels[0][column], labels[1][column])
    assert (tmp_path / "resident/samples.npz").read_bytes() == (tmp_path / "streamed/samples.npz").read_bytes()
    if condition == "labels":
        assert_extremes(tmp_path / "resident", open_dataset(config.data).train)
    assert not (tmp_path / "streamed/extremes.npz").exists()  # it would read the images once more


def test_the_feed_is_chosen_by_size_against_the_limit():
    config = cifar_random.get_config("mlp_tiny")
    config.data.name = "digits"
    pipeline = InputPipeline(config, open_dataset(config.data))
    gib = 1797 * 64 / 2**30
    config.data.resident_limit_gib = gib * 1.01
    assert pipeline.choose_feed()[0] == "resident"
    config.data.resident_limit_gib = gib * 0.99
    assert pipeline.choose_feed()[0] == "streamed"
    config.data.feed = "resident"
    assert pipeline.choose_feed()[0] == "resident"


def start_processes(count, *arguments, last=(), code=None, config="configs/digits_random.py"):
    """Starts main.py, or code around it, in `count` processes of a run, the last with arguments of its own."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, *(["-c", code] if code else ["main.py"])]
    command += [f"--config={config}:{arguments[0]}", *arguments[1:]]
    several = [f"--coordinator=localhost:{port}", f"--num_processes={count}"] if count > 1 else []
    return [
        subprocess.Popen(
            command
            + (several + [f"--process_id={index}"] if several else [])
            + list(last if index == count - 1 else ()),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(count)
    ]


def run_processes(count, *arguments, **options):
    """Returns the outputs and exit codes of processes from `start_processes`, when they have ended."""
    running = start_processes(count, *arguments, **options)
    try:
        return [process.communicate(timeout=240)[0] for process in running], [process.returncode for process in running]
    finally:
        for process in running:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "norm", "feed"),
    [
        ("mlp_tiny", "none", "resident"),
        ("conv_tiny", "across_devices", "resident"),
        ("mlp_tiny", "none", "streamed"),
    ],
)
def test_two_processes_of_one_device_equal_one_process_of_two(tmp_path, model, norm, feed):
    fields = [f"--config.batch_norm.kind={norm}", f"--config.data.feed={feed}", "--config.data.workers=0"]
    fields += ["--config.train.total_epochs=2.0", "--config.corruption.pixels=gaussian"]
    one = run_processes(1, model, *fields, "--config.hardware.cpu_devices=2", f"--workdir={tmp_path}/one")
    two = run_processes(2, model, *fields, f"--workdir={tmp_path}/two")
    assert one[1] == [0] and two[1] == [0, 0], (one, two)
    assert fingerprints(tmp_path / "one") == fingerprints(tmp_path / "two")
    assert differences(last_state(tmp_path / "one"), last_state(tmp_path / "two")) < 1e-5
    assert "Run:" not in two[0][1]  # only the first process reports
    assert_predicted(tmp_path / "one")
    assert_predicted(tmp_path / "two")
    labels = [np.load(tmp_path / name / "corruption.npz")["given_labels"] for name in ("one", "two")]
    np.testing.assert_array_equal(*labels)


LAYOUTS = {"one": (1, "--config.hardware.cpu_devices=2"), "two": (2, "--config.hardware.cpu_devices=1")}
TASKS = {
    "mlp_tiny": ["--config.data.feed=streamed", "--config.data.workers=0"],
    "conv_tiny": ["--config.batch_norm.kind=across_devices", "--config.dropout.rate=0.3"]
    + [
        "--config.augmentation.mixup=0.4",
        "--config.augmentation.crop=random",
        "--config.augmentation.padding=1",
        "--config.preprocess.crop=8",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("model", TASKS)
def test_one_process_of_two_devices_and_two_of_one_resume_each_other(tmp_path, model):
    def launch(layout, epochs, workdir):
        count, devices = LAYOUTS[layout]
        fields = [*TASKS[model], devices, "--config.evaluate.every_epochs=0.5", "--config.checkpoint.every_epochs=0.5"]
        fields += [f"--config.train.total_epochs={epochs}"]
        outputs, codes = run_processes(count, model, *fields, f"--workdir={tmp_path / workdir}")
        assert codes == [0] * count, outputs
        return outputs[0]

    for first, then in (("one", "two"), ("two", "one")):
        launch(first, 1.5, f"{first}-{then}")  # 18 steps, and on in the middle of the second epoch
        assert "Resumed at step 18." in launch(then, 3.0, f"{first}-{then}")
        launch(first, 3.0, first)
    for folder in ("one-two", "two-one", "two"):
        assert fingerprints(tmp_path / folder) == fingerprints(tmp_path / "one")
        assert (tmp_path / folder / "corruption.npz").read_bytes() == (tmp_path / "one/corruption.npz").read_bytes()
        steps = [
            [json.loads(line)["step"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
            for name in (folder, "one")
        ]
        assert steps[0] == steps[1] and steps[0][-1] == 36
        distance = differences(last_state(tmp_path / folder), last_state(tmp_path / "one"))
        print(f"{model}: {folder} differs from one by {distance:.2g}")
        assert distance < 1e-5


TABLE = """
from rethink.configs import digits_random

def get_config(model):
    config = digits_random.get_config(model)
    config.name = "made_up"
    config.train.total_epochs = 1.0
    for cell, labels in (("a-true", "none"), ("b-random", "uniform")):
        config.cells[cell] = (("corruption.labels", labels),)
    return config
"""


@pytest.mark.slow
def test_processes_that_were_given_other_cells_of_a_table_are_all_refused(tmp_path):
    (tmp_path / "table.py").write_text(TABLE)
    words = ["mlp_tiny", f"--workdir={tmp_path}/runs"]
    outputs, codes = run_processes(2, *words, last=["--config.filter=b*"], config=f"{tmp_path}/table.py")
    assert codes == [2, 2], outputs
    refusal = "Error: The processes of this run have different configs (filter): start them with the same flags.\n"
    assert [output.count(refusal) for output in outputs] in ([1, 1], [1, 0], [0, 1])
    assert all(output.count("Error: ") == 1 for output in outputs) and not (tmp_path / "runs").exists()
    outputs, codes = run_processes(2, *words, "--config.filter=b*", config=f"{tmp_path}/table.py")
    assert codes == [0, 0] and [path.name for path in (tmp_path / "runs").glob("b-*")] == ["b-random-seed0"], outputs


@pytest.mark.slow
def test_all_processes_end_when_the_first_one_refuses_the_directory(tmp_path):
    (tmp_path / "foreign.txt").write_text("not a run")
    outputs, codes = run_processes(2, "mlp_tiny", f"--workdir={tmp_path}")
    assert codes == [2, 2], outputs
    assert all("holds files but no run" in output for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "word"),
    [("--config.evaluate.every_epochs=2.0", "different configs"), ("--config.data.dir=nowhere", "data.dir")],
)
def test_all_processes_end_when_one_of_them_cannot_start(tmp_path, own, word):
    fields = ["--config.data.name=mnist", f"--config.data.dir={tmp_path}"]
    outputs, codes = run_processes(2, "mlp_tiny", *fields, f"--workdir={tmp_path}/run", last=[own])
    assert codes == [2, 2], outputs
    assert any(word in output for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_other_and_the_run_goes_on_from_where_it_was_saved(tmp_path, lost):
    fields = ["--config.train.total_epochs=150.0", "--config.stop.train_accuracy=0.0"]
    fields += ["--config.evaluate.every_epochs=20.0", "--config.checkpoint.every_epochs=1.0"]
    fields += ["--config.hardware.heartbeat_timeout_seconds=5.0"]
    parts = ["mlp_tiny", *fields, f"--workdir={tmp_path}/parts"]
    running = start_processes(2, *parts)
    try:
        while not any(path.name.isdecimal() for path in (tmp_path / "parts").glob("checkpoints/*")):
            assert running[0].poll() is None, running[0].communicate()
            time.sleep(0.1)
        running[lost].kill()
        began = time.monotonic()
        output = running[1 - lost].communicate(timeout=60)[0]
        assert time.monotonic() - began < 30
    finally:
        for process in running:
            process.kill()
    manifest = json.loads((tmp_path / "parts" / "manifest.json").read_text())
    if lost == 1:
        assert running[0].returncode == 75
        assert "A process of this run was lost: process 1 has not been heard of for 5 s" in output
        assert manifest["status"] == "failed" and "process 1" in manifest["error"]
    else:  # the one that writes; JAX ends the other
        assert running[1].returncode not in (0, None) and "another task died" in output
    outputs, codes = run_processes(2, *parts)
    assert codes == [0, 0], outputs
    assert "Resumed at step" in outputs[0]
    assert run_processes(2, "mlp_tiny", *fields, f"--workdir={tmp_path}/whole")[1] == [0, 0]
    assert (tmp_path / "parts" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert differences(last_state(tmp_path / "parts"), last_state(tmp_path / "whole")) == 0


@pytest.mark.slow
def test_all_processes_stop_at_the_same_step_when_one_gets_a_signal(tmp_path):
    fields = ["--config.train.total_epochs=20000.0", "--config.stop.train_accuracy=0.0", "--config.log.every_steps=7"]
    fields += ["--config.evaluate.every_epochs=20.0", "--config.checkpoint.every_epochs=1000.0"]
    running = start_processes(2, "mlp_tiny", *fields, f"--workdir={tmp_path}")
    try:
        while not (tmp_path / "timings.jsonl").exists() or len((tmp_path / "timings.jsonl").read_text()) < 500:
            assert running[0].poll() is None, running[0].communicate()
            time.sleep(0.1)
        running[1].send_signal(signal.SIGTERM)
        outputs = [process.communicate(timeout=60)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [143, 143], outputs
    stopped = [re.search(r"Interrupted at step ([0-9,]+), and saved", output)[1] for output in outputs]
    assert stopped[0] == stopped[1]
    (saved,) = (tmp_path / "checkpoints").iterdir()
    assert saved.name == stopped[0].replace(",", "")


FAILS_AT_STEP = """
import sys
import jax
from rethink.training import feeds
sys.path.insert(0, ".")
train = feeds.StreamedFeed.train

def failing(feed, first_step, steps):
    if first_step >= 20 and jax.process_index() == {failing}:
        raise ValueError("made to fail")
    return train(feed, first_step, steps)

feeds.StreamedFeed.train = failing
import main
main.launch()
"""


@pytest.mark.slow
@pytest.mark.parametrize("failing", [0, 1])
def test_a_process_that_fails_alone_ends_the_others_with_its_words(tmp_path, failing):
    fields = ["--config.train.total_epochs=20000.0", "--config.stop.train_accuracy=0.0"]
    fields += ["--config.data.feed=streamed", "--config.data.workers=0", f"--workdir={tmp_path}/run"]
    running = start_processes(2, "mlp_tiny", *fields, code=FAILS_AT_STEP.format(failing=failing))
    try:
        outputs = [process.communicate(timeout=150)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [75, 75], outputs
    assert "ValueError: made to fail" in outputs[failing]
    assert f"process {failing} failed: ValueError: made to fail" in outputs[1 - failing]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["status"] == "failed" and "made to fail" in manifest["error"]
