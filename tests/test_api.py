"""The package as a library: its runs are those of the command line, and the program stays as it was."""

import json
import logging
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import absl.logging
import flax.linen as nn
import jax
import numpy as np
import pytest

import rethink
from rethink import api
from rethink.configs import base, digits_random
from rethink.experiment import guest, train
from rethink.experiment.run import Launch, run_experiment
from rethink.results import example_history
from rethink.training import checkpoints

ROOT = pathlib.Path(__file__).parents[1]
TINY = {
    "data.train_examples": 128,
    "train.batch_size": 64,
    "train.total_epochs": 2,
    "corruption.label_probability": 0.5,
    "log.tensorboard": False,
}


class Net(nn.Module):
    """A network of the user's."""

    num_classes: int
    width: int = 8

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(self.num_classes)(nn.relu(nn.Dense(self.width)(images.reshape(len(images), -1))))


@pytest.fixture(scope="module")
def config():
    return rethink.config("digits_random:mlp_tiny", **TINY)


@pytest.fixture(scope="module")
def command_line(config, tmp_path_factory):
    """A run of the command line, and its directory."""
    folder = tmp_path_factory.mktemp("command_line") / "run"
    assert run_experiment(config, str(folder), Launch(quiet=True)) == 0
    return folder


@pytest.fixture(scope="module")
def in_memory(config, tmp_path_factory):
    """The same run of the library, made in an empty directory, and what was in that afterwards."""
    here, empty = os.getcwd(), tmp_path_factory.mktemp("empty")
    os.chdir(empty)
    try:
        run = rethink.train(config, quiet=True)
        assert list(empty.iterdir()) == []
    finally:
        os.chdir(here)
    return run


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (96, 4, 4), np.uint8), np.arange(96) % 3


def equal_trees(first, second):
    leaves = [jax.tree.leaves_with_path(tree) for tree in (first, second)]
    return [path for path, _ in leaves[0]] == [path for path, _ in leaves[1]] and all(
        np.array_equal(one, other) for (_, one), (_, other) in zip(*leaves, strict=True)
    )


def test_a_run_keeps_what_each_evaluation_saw_of_each_example(config, command_line):
    for run in (rethink.load(command_line), rethink.train(config, quiet=True)):
        seen, rows = run.example_history(), run.history
        assert seen.steps.tolist() == rows["step"].tolist()
        assert np.allclose(seen.correct.mean(axis=1), rows["train_accuracy"])
        assert np.allclose(seen.loss.astype(float).mean(axis=1), rows["train_loss"], rtol=1e-3)
        assert np.array_equal(seen.margin > 0, seen.correct)
        missing = 1 - seen.probability  # the other classes share it
        assert np.all(seen.error > missing - 1e-3) and np.all(seen.error < np.sqrt(2) * missing + 1e-3)
        assert np.array_equal(seen.ids, run.examples["id"])
        assert np.array_equal(run.scores["last_loss"], seen.loss[-1]) and set(run.examples) < set(run.scores)
        presented = run.presentations()
        assert np.array_equal(presented.ids, seen.ids) and set(presented.count) == {2}  # of two epochs


def test_the_import_is_light():
    code = (
        "import sys, time; before = time.perf_counter(); import rethink; seconds = time.perf_counter() - before\n"
        "print(seconds, [name for name in ('jax', 'pandas', 'numpy', 'rethink.api') if name in sys.modules])\n"
        "assert 'train' in dir(rethink)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, _, modules = ended.stdout.partition(" ")
    assert float(seconds) < 0.5 and modules.strip() == "[]"


def test_no_other_name_is_there():
    with pytest.raises(AttributeError, match="module 'rethink' has no attribute 'trian'"):
        rethink.trian  # noqa: B018


def test_a_run_is_that_of_the_command_line_bit_for_bit(in_memory, command_line):
    loaded = rethink.load(command_line)
    assert in_memory._record.rows() == loaded._record.rows()
    assert in_memory.history.equals(loaded.history) and len(loaded.history) == 3
    assert in_memory.examples.equals(loaded.examples)
    assert equal_trees(in_memory.variables, loaded.variables)
    assert in_memory._record.manifest["fingerprints"] == loaded._record.manifest["fingerprints"]
    predictions = loaded._record.predictions()
    stored = example_history.read_arrays(command_line / "corruption_test.npz", {"ids": np.uint32})[0]
    from sklearn.datasets import load_digits

    images = np.round(load_digits().images * (255 / 16)).astype(np.uint8)[stored]
    for run in (in_memory, loaded):
        logits = run.predict(images)
        assert logits.dtype == np.float32 and np.array_equal(logits.argmax(axis=1), predictions.predicted)
        assert np.array_equal(run.predict(images[:1]), logits[:1])
        assert {str(dtype) for dtype in run.history.dtypes} == {"int64", "float64"}


def test_a_saved_run_is_one_of_the_command_line(in_memory, command_line, config, tmp_path, capsys):
    in_memory.save(tmp_path / "saved")
    names = {path.name for path in command_line.iterdir()}
    assert {path.name for path in (tmp_path / "saved").iterdir()} == names
    assert run_experiment(config, str(tmp_path / "saved"), Launch()) == 0
    assert "Nothing to do" in capsys.readouterr().out
    again = rethink.load(tmp_path / "saved")
    assert equal_trees(again.params, in_memory.params) and again.summary == in_memory.summary
    again.save(tmp_path / "copy")
    assert rethink.load(tmp_path / "copy").history.equals(in_memory.history)
    for run in (again, in_memory):
        with pytest.raises(rethink.UserError, match="choose a new directory"):
            run.save(tmp_path / "copy")


@pytest.mark.slow
def test_the_same_call_again_returns_the_run_and_other_data_or_networks_are_refused(arrays, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "draw_curve", lambda *_: None)  # most of the time of such a run
    images, labels = arrays
    config = rethink.config(
        "digits_random",
        **{"train.batch_size": 32, "train.total_epochs": 1, "preprocess.whiten": "none", "log.tensorboard": False},
    )
    call = {"train": arrays, "test": (images[:9], labels[:9]), "workdir": tmp_path / "run", "quiet": True}
    run = rethink.train(config, model=Net, **call)
    assert rethink.train(config, model=Net(num_classes=3), **call).history.equals(run.history)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert len(manifest["launches"]) == 1 and manifest["data"]["image_shape"] == [4, 4, 1]
    with pytest.raises(rethink.UserError, match="the fingerprint of its images has changed"):
        rethink.train(config, model=Net(num_classes=3), **{**call, "train": (images[::-1], labels[::-1])})
    with pytest.raises(rethink.UserError, match=r"The class '1' of the data was '0' .*choose another workdir\."):
        rethink.train(config, model=Net(num_classes=3), **{**call, "train": (images, labels + 1), "test": None})
    with pytest.raises(rethink.UserError, match="^workdir=.*model.kwargs.width: None -> 5"):
        rethink.train(config, model=Net(num_classes=3, width=5), **call)
    with pytest.raises(rethink.UserError, match="were arrays of a program: give them again"):
        run_experiment(run.config, str(tmp_path / "other"), Launch())
    with pytest.raises(rethink.UserError, match="computes something else .* or give that as model=.$"):
        rethink.load(tmp_path / "run", model=Net(3, width=9))

    class Edited(Net):
        activation: object = nn.tanh

    monkeypatch.setattr(sys.modules[Net.__module__], "Net", Edited)  # as a cell of a notebook that is run again
    assert run.predict(images).shape == (96, 3)
    monkeypatch.undo()
    assert rethink.load(tmp_path / "run", model=Net(3)).predict(images.astype(int)).shape == (96, 3)
    for wrong in (images.astype(float), images[:, :3], images.astype(int) + 1000):
        with pytest.raises(rethink.UserError, match=r"predict wants images \[n, 4, 4, 1\] of uint8"):
            run.predict(wrong)


@pytest.mark.slow
def test_a_network_that_can_not_be_imported_is_given_again_to_a_loaded_run(arrays, tmp_path):
    class Local(Net):
        activation: object = nn.tanh

    config = rethink.config(
        "digits_random", **{"train.batch_size": 32, "train.total_epochs": 1, "preprocess.whiten": "none"}
    )
    run = rethink.train(config, model=Local(3), train=arrays, quiet=True)
    assert run.config.model.name == "given-in-python:Local"
    run.save(tmp_path / "run")
    with pytest.raises(rethink.UserError, match="can't be imported: give it again, as model="):
        rethink.load(tmp_path / "run").predict([])
    assert equal_trees(rethink.load(tmp_path / "run", model=Local(3)).params, run.params)


@pytest.mark.parametrize(
    "model, name, kwargs",
    [
        (Net, f"{__name__}:Net", {}),
        (Net(3), f"{__name__}:Net", {}),
        (Net(3, width=5), f"{__name__}:Net", {"width": 5}),
        (nn.Sequential([nn.Dense(3)]), "given-in-python:Sequential", {}),
    ],
)
def test_a_model_has_the_name_that_the_command_line_would_give_it(config, model, name, kwargs, monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules[Net.__module__])
    taken, given = api.take_given(config, model, None, None)
    assert given.network is model or given.network.module is model  # the name may stand for another one later
    assert (taken.model.name, taken.model.kwargs.to_dict()) == (name, kwargs)
    assert config.model.name == "mlp_tiny"  # the user's own config stays as it is


@pytest.mark.parametrize("field, value", [("batch_norm.kind", "across_devices"), ("dropout.rate", 0.5)])
def test_what_a_network_that_is_given_can_not_do_is_refused(config, field, value):
    with pytest.raises(rethink.UserError, match=f"^{field}='?{value}'? would do nothing, as model= is a network as it"):
        rethink.train(rethink.config(config, **{field: value}), model=Net(10))


@pytest.mark.slow
def test_the_best_state_is_restored_in_memory_too(tmp_path):
    config = rethink.config(
        "digits_random:mlp_tiny",
        **{**TINY, "train.total_epochs": 4, "stop.train_accuracy": 0.0, "data.validation_fraction": 0.25},
        **{"early_stopping.monitor": "validation", "early_stopping.restore_best": True, "optimizer.learning_rate": 1.0},
    )
    run = rethink.train(config, quiet=True)
    best = run.summary["early_stopping"]["best_step"]
    assert run.summary["evaluation"]["step"] == best == int(run._result().state.step)
    on_disk = rethink.train(config, workdir=tmp_path / "run", quiet=True)
    assert equal_trees(on_disk.params, run.params)


def test_a_program_is_left_as_it_was(config, capsys):
    import sklearn.datasets  # noqa: F401  its import sets a variable of the environment

    with jax.enable_x64(True), jax.transfer_guard("disallow"):
        before = signal.getsignal(signal.SIGINT), jax.config.jax_enable_x64, jax.config.jax_compilation_cache_dir
        jax.config.update("jax_numpy_rank_promotion", "warn")
        try:
            handlers, environment = list(logging.getLogger("rethink").handlers), dict(os.environ)
            rethink.corrupt_labels(np.arange(9), num_classes=9, kind="uniform", probability=0.5)
            with pytest.raises(rethink.UserError):
                rethink.train(rethink.config(config, **{"data.train_examples": 5000}), quiet=True)
            assert jax.config.jax_numpy_rank_promotion == "warn"
        finally:
            jax.config.update("jax_numpy_rank_promotion", "allow")
        after = signal.getsignal(signal.SIGINT), jax.config.jax_enable_x64, jax.config.jax_compilation_cache_dir
    assert not jax.config.jax_enable_x64
    assert before == after and handlers == logging.getLogger("rethink").handlers and environment == dict(os.environ)
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_an_interruption_is_pythons_own_and_leaves_the_directory_to_be_resumed(config, tmp_path, monkeypatch):
    from rethink.experiment import reporter

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(reporter.Reporter, "handle_event", interrupt)
        with pytest.raises(KeyboardInterrupt):
            rethink.train(config, workdir=tmp_path / "run", quiet=True)
    assert rethink.load(tmp_path / "run").status == "interrupted"
    with pytest.raises(rethink.UserError, match="has no result"):
        rethink.load(tmp_path / "run").predict([])
    assert rethink.train(config, workdir=tmp_path / "run", quiet=True).status == "done"


def test_noisy_labels_have_the_bits_of_a_run(in_memory):
    examples = in_memory.examples
    labels = np.zeros(examples.id.max() + 1, int)
    labels[examples.id] = examples.true_label
    noisy = rethink.corrupt_labels(labels, num_classes=10, kind="uniform", probability=0.5, seed=0)
    assert np.array_equal(noisy.labels[examples.id], examples.given_label)
    assert np.array_equal(noisy.resampled[examples.id], examples.resampled)


@pytest.mark.parametrize(
    "labels, given, message",
    [
        ([0, 3], {}, "row 1 has label 3, which is none of the 3 declared classes"),
        ([0.5, 1], {}, "row 0 has label 0.5, which is no class"),
        (3, {}, "give one for each example"),
        (np.eye(4), {}, r"labels= has shape \[4, 4\]: give one for each example, \[n\], or rows \[n, 3\]"),
        (["cat", "dog"], {}, "labels= has 2 different texts, and num_classes=3: give class_names="),
        ([0, 1], {"num_classes": 3.0}, "num_classes=3.0 is no number of classes"),
        ([0, 1], {"class_names": ("a", "b")}, "class_names= has 2 names, and num_classes=3"),
        ([0, 1], {"matrix": np.eye(3)}, "kind='matrix' and matrix= go together"),
        ([0, 1], {"kind": "matrix", "matrix": [[1], [0, 1]]}, "matrix= has rows of several lengths"),
        ([0, 1], {"kind": None}, "corruption.labels=None is no value"),
        ([0, 1], {"probability": ".3"}, "label_probability='.3' is no number"),
        ([0, 1], {"seed": 1.5}, "seed=1.5 is no whole number"),
        ([0, 1], {"seed": -1}, "seed=-1 is out of range"),
        ([0, 1], {"kind": "instance", "images": [[[np.nan]], [[0.5]]]}, "images=, example 0 holds nan"),
        ([0, 1], {"kind": "instance", "images": np.full((2, 4, 4), 2.0)}, r"images=, example 0 holds 2, outside"),
        ([0, 1], {"kind": "unifrom"}, "did you mean 'uniform'"),
        ([0, 1], {"probability": 1.5}, r"probability=1.5 is out of range: it must be "),
    ],
)
def test_label_noise_that_can_not_be_made_is_one_line(labels, given, message):
    with pytest.raises(rethink.UserError, match=message):
        rethink.corrupt_labels(labels, **{"num_classes": 3, "kind": "uniform", "probability": 0.5, **given})


def test_noisy_labels_read_labels_and_images_as_a_run_does():
    labels, images = np.arange(30) % 3, np.random.default_rng(0).integers(0, 2, (30, 4, 4), np.uint8)

    def corrupt(labels, images, **given):
        return rethink.corrupt_labels(labels, num_classes=3, kind="instance", probability=0.5, images=images, **given)

    first = corrupt(labels, images * np.uint8(255))
    others = [
        corrupt(labels, images.astype(bool)[..., None]),
        corrupt(np.eye(3)[labels], images.astype(int) * 255),
        corrupt([["cat", "dog", "owl"][label] for label in labels], images * np.uint8(255)),
        corrupt([["z", "a", "m"][label] for label in labels], images * np.uint8(255), class_names=("z", "a", "m")),
    ]
    assert first.resampled.any() and all(map(np.array_equal, others, [first] * 4))
    assert rethink.corrupt_labels([], num_classes=3, kind="uniform").labels.shape == (0,)


def test_options_of_jax_are_set_for_one_thread_and_change_no_bit():
    call = {"num_classes": 9, "kind": "uniform", "probability": 0.5}
    first = rethink.corrupt_labels(np.arange(99) % 9, **call)
    jax.config.update("jax_threefry_partitionable", False)
    try:
        again = rethink.corrupt_labels(np.arange(99) % 9, **call)
        with guest.as_guest(base.get_config().hardware), ThreadPoolExecutor(1) as other:
            assert jax.config.jax_threefry_partitionable
            assert not other.submit(lambda: jax.config.jax_threefry_partitionable).result()
        assert not jax.config.jax_threefry_partitionable
    finally:
        jax.config.update("jax_threefry_partitionable", True)
    assert np.array_equal(first.labels, again.labels)


def test_handlers_filters_and_hooks_are_as_before(monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    hook, filters = sys.unraisablehook, list(logging.getLogger("absl").filters)
    with guest.as_guest(base.get_config().hardware):
        checkpoints.silence_echoes()
        absl.logging.vlog(1, "as Orbax does")
        assert sys.unraisablehook is not hook
    assert logging.root.handlers == [] and sys.unraisablehook is hook
    assert logging.getLogger("absl").filters == filters


@pytest.mark.parametrize(
    "model, axes, message",
    [
        (Net, {"model.name": ["mlp_1x512"]}, "name=mlp_1x512: model.name would do nothing, as model= is given"),
        (Net(10), {"model.kwargs.width": [4]}, "width=4: model.kwargs(.width)? would do nothing, as model="),
        (Net(10), {"dropout.rate": [0.0, 0.5]}, "rate=0.5: dropout.rate would do nothing, as model="),
        (Net(10), {"model.init": ["he_normal"]}, "model.init would do nothing, as model="),
        (Net, {"data.name": ["cifar10"]}, "data.name would do nothing, as train= is given"),
        (Net, {"optimizer.learning_rate": 0.5}, "axes: optimizer.learning_rate=0.5 must be a list of values"),
        (Net, {"optimizer.name": "sgd"}, "axes: optimizer.name='sgd' must be a list of values"),
        (Net, [("optimizer.name", ["sgd"])], "must be a dictionary, field -> values"),
    ],
)
def test_an_axis_that_would_change_nothing_is_refused(config, arrays, model, axes, message):
    with pytest.raises(rethink.UserError, match=message):
        rethink.sweep(config, axes=axes, model=model, train=arrays)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"corruption.label_probabilty": 0.4}, "did you mean config.corruption.label_probability"),
        ({"corruption.label_probability": "0.4"}, "'0.4' is no number"),
        ({"corruption.label_probability": 2}, "out of range"),
        ({"seed": 1.5}, "no whole number"),
        ({"corruption": 1}, "is a section"),
        ({"corruption.labels": "none", "corruption.label_probability": 0.4}, "has no effect"),
    ],
)
def test_a_field_that_is_off_is_the_line_of_the_command_line(fields, message):
    with pytest.raises(rethink.UserError, match=message):
        rethink.config("digits_random", **fields)


def test_a_config_is_found_from_anywhere_and_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = rethink.config("cifar_random:mlp_1x512", **{"corruption.label_probability": 1, "seed": np.int64(3)})
    assert (config.name, config.seed, type(config.corruption.label_probability)) == ("cifar_random-mlp_1x512", 3, float)
    assert rethink.config(str(ROOT / "configs" / "cifar_random.py")).name == "cifar_random-mlp_3x512"
    changed = rethink.config(config, **{"model.kwargs.hidden_sizes": [3, 4]})
    assert changed.model.kwargs.hidden_sizes == (3, 4) and "hidden_sizes" not in config.model.kwargs
    assert rethink.config("paper/table1").name == "table1"
    with pytest.raises(rethink.UserError, match="did you mean 'cifar_random'.*paper/table1"):
        rethink.config("cifar_randm")


def test_a_sweep_is_a_table_of_runs(config, in_memory, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "draw_curve", lambda *_: None)  # most of the time of such a run
    sweep = rethink.sweep(config, axes={"corruption.label_probability": [0, 0.5]}, workdir=tmp_path)
    table = sweep.table
    assert len(sweep) == 2 and sweep[1].history.equals(in_memory.history)
    assert table["corruption.label_probability"].tolist() == [0.0, 0.5] and table["seed"].tolist() == [0, 0]
    assert {"status", "steps", "test_accuracy"} <= set(table)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(table["run"] + "-seed0")
    assert "[2/2] label_probability=0.5-seed0  done" in capsys.readouterr().out
    with pytest.raises(rethink.UserError, match="'0.5' is no number"):
        rethink.sweep(config, axes={"corruption.label_probability": ["0.5"]})


def test_what_is_no_run_of_train_is_refused(config):
    for other, message in (
        (rethink.config("paper/linear"), "is an analysis"),
        (rethink.config("paper/table1"), "rethink.sweep runs a sweep"),
        (3, "A config is named by a text"),
        ("digits_randm", "^config='digits_randm' is unknown; did you mean 'digits_random'"),
    ):
        with pytest.raises(rethink.UserError, match=message):
            rethink.train(other)
    with pytest.raises(rethink.UserError, match="test= is given without train="):
        rethink.train(config, test=(1, 2))
    with pytest.raises(rethink.UserError, match="must be two arrays: write train=.images, labels."):
        rethink.train(config, train=np.zeros((3, 3)))
    for model, message in ((3, "is no flax.linen.Module, but an object of int"), (nn.Dense(3), "can't be called with")):
        with pytest.raises(rethink.UserError, match=message):
            rethink.train(config, model=model)
    with pytest.raises(rethink.UserError, match="workdir=5 is no path"):
        rethink.train(config, workdir=5)


def test_a_run_of_a_version_with_other_fields_is_read_and_its_network_is_not_made(command_line, tmp_path):
    shutil.copytree(command_line, tmp_path / "old")
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    del manifest["config"]["log.every_steps"]  # by which nothing is computed
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest))
    assert rethink.load(tmp_path / "old").params
    del manifest["config"]["data.value_range"]
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest))
    run = rethink.load(tmp_path / "old")
    assert len(run.history) == 3
    with pytest.raises(rethink.UserError, match="was made by a version without data.value_range"):
        run.predict([])


def test_a_run_is_a_line(in_memory):
    line = repr(in_memory)
    assert line.startswith("<rethink.Run digits_random-mlp_tiny: done  train ") and line.endswith(", in memory>")
    assert in_memory._repr_html_().startswith("<code>rethink.Run")
    assert digits_random.get_config("mlp_tiny").name == "digits_random-mlp_tiny"


@pytest.mark.slow
def test_every_snippet_of_the_docs_runs(tmp_path):
    """One program, as a script of the user's."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 7
    blocks.append("import logging\nassert logging.root.handlers == []")
    (tmp_path / "script.py").write_text("\n".join(blocks))
    ended = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "did you mean config.corruption.label_probability?" in ended.stdout
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"mine", "kept"}
