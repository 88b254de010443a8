"""Runs that are killed: the script that kills them, and that it would see a difference of one bit."""

import json
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from benchmarks import chaos, launches
from rethink.configs import digits_random
from rethink.experiment.run import Launch, run_experiment

pytest.importorskip("psutil", reason="the extra `bench`")

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The directory of a run that has ended."""
    config = digits_random.get_config("mlp_tiny")
    config.train.total_epochs = 1.0
    folder = tmp_path_factory.mktemp("chaos") / "run"
    assert run_experiment(config, str(folder), Launch()) == 0
    return folder


@pytest.fixture
def copied(ended, tmp_path):
    """A copy of it, to be altered."""
    return pathlib.Path(shutil.copytree(ended, tmp_path / "copy"))


def test_a_copy_of_a_run_is_equal_to_it(ended, copied):
    expected = chaos.digests(ended)
    assert {"state", "history", "metrics.jsonl", "corruption.npz", "figures/learning_curve.png"} <= set(expected)
    assert chaos.differences(expected, chaos.digests(copied)) == []


FILES = ["metrics.jsonl", "corruption.npz", "predictions.npz", "examples_train.bin", "presentations.npz"]


@pytest.mark.parametrize("name", [*FILES, "figures/learning_curve.png"])
def test_one_other_bit_in_a_file_is_seen(ended, copied, name):
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    assert chaos.differences(chaos.digests(ended), chaos.digests(copied)) == [f"{name} differs"]


@pytest.mark.parametrize("item, part", [("state", "params"), ("state", "opt_state"), ("presentations", "sums")])
def test_one_other_bit_in_the_last_state_is_seen(ended, copied, item, part):
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(copied / "checkpoints") as manager:
        step = manager.latest_step()
        parts = dict.fromkeys(("state", "presentations"), ocp.args.StandardRestore())
        restored = manager.restore(step, args=ocp.args.Composite(history=ocp.args.JsonRestore(), **parts))
        leaves, tree = jax.tree.flatten(restored[item][part])
        leaves = [np.array(leaf) for leaf in leaves]
        leaves[-1].reshape(-1).view(np.uint8)[0] ^= 1
        restored[item][part] = jax.tree.unflatten(tree, leaves)
        manager.delete(step)
        items = {name: ocp.args.StandardSave(restored[name]) for name in parts}
        content = ocp.args.Composite(history=ocp.args.JsonSave(restored["history"]), **items)
        manager.save(step, args=content, force=True)
    assert chaos.differences(chaos.digests(ended), chaos.digests(copied)) == ["state differs"]


def test_a_file_that_is_missing_or_left_over_is_seen(ended, copied):
    (copied / "figures" / "learning_curve.png").unlink()
    (copied / "checkpoints" / "7.orbax-checkpoint-tmp").mkdir()
    failures = chaos.differences(chaos.digests(ended), chaos.digests(copied))
    assert failures == ["figures/learning_curve.png differs", "names of files differs"]


@pytest.mark.parametrize(
    "log, step",
    [("Run: ...\nResumed at step 1,234.\nstep 1240/", 1234), ("Run: ...\nstep 0/100  epoch", 0), ("Run: ...\n", None)],
)
def test_where_a_launch_resumed_stands_in_its_log(log, step):
    assert launches.read_resumed_step(log) == step


@pytest.mark.slow
def test_runs_that_are_killed_end_with_the_bits_of_undisturbed_ones():
    words = [sys.executable, "-m", "benchmarks.chaos", "--kills=6", "--seed=1"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    result = json.loads(ended.stdout)
    assert ended.returncode == 0 and result["equal"] and not result["failures"], result["failures"]
    assert result["kills"] == 6 == sum(result["hit"].values()) and len(result["cases"]) == 3
    assert result["seen to go on where saved"] >= 1
