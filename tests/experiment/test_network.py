"""A network whose code has changed is named and refused, wherever its run is met again."""

import json
import pathlib
import re
import sys

import pytest

from rethink.configs import base, digits_random
from rethink.experiment import network, rerun
from rethink.experiment.run import Launch, run_experiment
from rethink.experiment.setup import make_run_spec
from rethink.figures import learning_curve
from rethink.results import launches
from rethink.schema import grid, validation
from rethink.schema.errors import EXIT_MISTAKE, UserError
from rethink.sweeps.executors import EXECUTORS
from rethink.sweeps.executors.tasks import RunFunctions, Task, split_finished
from rethink.sweeps.reproduce import run_sweep_or_suite

NETWORK = """
import flax.linen as nn

class Net(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.relu(nn.Dense(8)(images.reshape(len(images), -1)))
        return nn.Dense(self.num_classes)(x)
"""
CHANGED = (
    "my_edited_net:Net computes something else in evaluation and training than when the run in {} was started; the file"
)
FOLDER = pathlib.Path("a/run")


def make_config(epochs=1.0):
    config = digits_random.get_config("my_edited_net:Net")
    config.update_from_flattened_dict({"train.total_epochs": epochs, "data.train_examples": 256})
    return config


@pytest.fixture(scope="module")
def edit(tmp_path_factory):
    """Returns a function that edits the file of the network, as between two launches."""
    folder = tmp_path_factory.mktemp("code")
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(folder)
    patch.setattr(sys, "dont_write_bytecode", True)

    def edit(*replaced):
        text = NETWORK
        for old, new in zip(replaced[::2], replaced[1::2], strict=True):
            text = text.replace(old, new)
        (folder / "my_edited_net.py").write_text(text)
        sys.modules.pop("my_edited_net", None)

    yield edit
    patch.undo()


@pytest.fixture
def manifest(edit):
    """Returns that of a run that has ended, of the network as it is at first."""
    edit()
    config = make_config()
    return {
        "config": json.loads(validation.to_json(config)),
        "status": "done",
        "launches": [launches.describe_launch(0, {})],
        "program": dict(network.make_network(config, (8, 8, 1), 10).program),
    }


def read_all(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_that_has_ended_and_one_that_is_resumed_are_checked(edit, tmp_path, monkeypatch):
    monkeypatch.setattr(learning_curve, "draw_learning_curve", lambda *_, **__: None)
    edit()
    assert run_experiment(make_config(), str(tmp_path), Launch()) == 0

    def refuse(manifest, folder, given=None):
        raise UserError(f"another network than of {len(manifest['launches'])} launch")

    monkeypatch.setattr("rethink.experiment.run.check_program", refuse)
    monkeypatch.setattr("rethink.experiment.train.check_program", refuse)
    for config in (make_config(), make_config(epochs=2.0)):
        with pytest.raises(UserError, match="another network than of 1 launch"):
            run_experiment(config, str(tmp_path), Launch())


def test_processes_of_one_run_have_one_network(manifest, monkeypatch):
    made, other = manifest["program"], {**manifest["program"], "training": "0"}
    monkeypatch.setattr(network.distributed, "all_gather_text", lambda text: [text, text])
    network.check_same_program(made)
    monkeypatch.setattr(
        network.distributed, "all_gather_text", lambda text: [text, text.replace(made["training"], other["training"])]
    )
    with pytest.raises(UserError, match="different networks"):
        network.check_same_program(made)


@pytest.mark.slow
def test_a_changed_network_is_neither_taken_for_the_old_one_nor_resumed(edit, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(learning_curve, "draw_learning_curve", lambda *_, **__: None)
    folder = tmp_path / "run"
    edit()
    assert run_experiment(make_config(), str(folder), Launch()) == 0
    before, changed = read_all(folder), CHANGED.format(folder)
    edit("relu", "tanh")
    for config in (make_config(), make_config(epochs=2.0)):  # ended, and to be extended
        with pytest.raises(UserError, match=f"^The network {changed} of its class has changed: bring back"):
            run_experiment(config, str(folder), Launch())
    edit("Dense(8)", "Dense(9)")
    with pytest.raises(UserError, match="something else in initialization and evaluation and training"):
        run_experiment(make_config(epochs=2.0), str(folder), Launch())
    # A rerun in a new directory isn't begun.
    monkeypatch.setattr(sys, "argv", ["rerun", str(folder), f"--workdir={tmp_path / 'again'}"])
    with pytest.raises(SystemExit) as exit_with:
        rerun.main()
    assert exit_with.value.code == EXIT_MISTAKE and not (tmp_path / "again").exists()
    assert capsys.readouterr().err.endswith("has changed: bring back what it was; only what it was can be rerun.\n")
    assert read_all(folder) == before
    # Another text of the same.
    edit("import flax.linen as nn", "# mine\nimport flax.linen as nn\n\n")
    assert run_experiment(make_config(), str(folder), Launch()) == 0
    assert "Nothing to do" in capsys.readouterr().out


def test_a_network_for_two_images_alone_is_refused_before_a_run(edit):
    edit(
        "(self.num_classes)(x)",
        "(self.num_classes)(x) + jnp.zeros((2, 1))",
        "import",
        "import jax.numpy as jnp\nimport",
    )
    with pytest.raises(UserError, match="fails in evaluation on 360 images"):
        make_run_spec(make_config())


def test_a_sweep_skips_no_run_of_a_changed_network(manifest, edit, tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    task = Task("run", make_config(), tmp_path)
    edit("x = nn.relu(", "# the hidden layer\n        x = jax.nn.relu(", "import flax", "import jax\nimport flax")
    assert [event.exit_code for event in split_finished([task])[0]] == [0]
    edit("relu", "tanh")
    assert split_finished([task]) == ([], [task])


def test_new_runs_do_not_stand_beside_those_of_another_network(manifest, edit, tmp_path):
    config = make_config()
    config.seeds, config.axes = 2, "optimizer.momentum=0.9"
    first = grid.expand_grid(config)[0]
    folder = tmp_path / first.folder
    folder.mkdir()
    manifest["config"] = json.loads(validation.to_json(first.config))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    edit("relu", "tanh")
    suite = base.get_config()
    suite.experiments = {tmp_path.name: config}
    for executor, momentum in zip(EXECUTORS, (0.9, 0.8, 0.8), strict=True):  # 0.8: that run is not of this sweep
        config.executor = suite.executor = executor
        config.axes = f"optimizer.momentum={momentum}"
        for whole, workdir in ((config, tmp_path), (suite, tmp_path.parent)):
            before = set(tmp_path.parent.iterdir())
            with pytest.raises(UserError, match=f"The network {CHANGED.format(folder)} .* to have both, choose"):
                run_sweep_or_suite(whole, (), str(workdir), RunFunctions(None))
            assert list(tmp_path.iterdir()) == [folder] and set(tmp_path.parent.iterdir()) == before


def test_with_another_jax_the_file_decides(manifest, edit, monkeypatch):
    lines = []
    monkeypatch.setattr(network, "_warn_once", lines.append)
    manifest["launches"][-1]["versions"]["jax"] = "0.1"
    network.check_program(manifest, FOLDER)  # the same program, whichever traced it
    assert not lines
    manifest["program"]["training"] = "of another JAX"
    network.check_program(manifest, FOLDER)
    unknown = f"With another jax (0.1 -> {launches.versions()['jax']}) it can't be known whether the network my_edited_"
    line = lines.pop()
    assert line.startswith(unknown) and line.endswith("in earlier launches; the file of its class is the same.")
    edit("relu", "tanh")
    with pytest.raises(UserError, match=f"^{re.escape(unknown)}.* the run in a/run was .* has changed: go back"):
        network.check_program(manifest, FOLDER)
    network.check_program(manifest, FOLDER, is_rerun=True)
    assert lines.pop().endswith("the file of its class has changed.")


def test_a_manifest_that_does_not_say_what_its_network_was_is_refused(manifest):
    for value in (None, {}, "text", {"training": "a"}):
        manifest["program"] = value
        with pytest.raises(UserError, match="or no program, which say .*: choose another --workdir"):
            network.check_program(manifest, FOLDER)
        network.check_program(manifest, FOLDER, is_rerun=True)


def test_what_has_no_network_is_not_checked():
    network.check_program({"config": {"kind": "linear"}}, FOLDER)


def test_the_same_network_is_made_once(edit):
    edit()
    config = make_config()
    first = network.make_network(config, (8, 8, 1), 10)
    config.seed, config.corruption.labels = 3, "none"
    assert network.make_network(config, (8, 8, 1), 10) is first
    assert network.make_network(config, (8, 8, 1), 11) is not first
    config.model.name = "mlp_tiny"
    assert network.make_network(config, (8, 8, 1), 10).program["training"] != first.program["training"]
