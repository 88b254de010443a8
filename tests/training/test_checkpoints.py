"""Checkpoints: what is restored is what was saved, bit for bit, and only the newest are kept."""

import dataclasses
import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rethink.schema.errors import UserError
from rethink.training import checkpoints, loop
from rethink.training.state import TrainState

TX = optax.chain(optax.scale_by_adam(), optax.trace(0.9), optax.scale_by_schedule(optax.constant_schedule(0.1)))


def make_state(step):
    """Returns host arrays of several types; the floats have bits that text or a wider type would lose."""
    draw = np.random.default_rng(step)
    odd = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, 0.1, 1 / 3], np.float32)
    params = {"Dense_0": {"kernel": draw.standard_normal((5, 3), np.float32), "bias": odd}}
    opt_state = jax.tree.map(np.asarray, TX.init(jax.tree.map(jnp.asarray, params)))
    opt_state = jax.tree.map(lambda leaf: np.asarray(9 * draw.random(leaf.shape), leaf.dtype), opt_state)
    return TrainState(
        step=np.asarray(step, np.int32),
        params=params,
        collections={"BatchNorm_0": {"mean": draw.standard_normal(3, np.float32).astype(jnp.bfloat16)}},
        opt_state=opt_state,
    )


def make_history(step):
    history = loop.History(step=step, window={"loss": 0.1 + 0.2, "correct": 1 / 3, "count": 7.0})
    history.evaluation = {"kind": "evaluation", "step": step, "train_accuracy": 0.1, "train_accuracy_clean": None}
    history.steps_to_train_accuracy["0.9"] = step
    return history


def assert_same_bits(restored, expected):
    assert jax.tree.structure(restored) == jax.tree.structure(expected)
    for got, wanted in zip(jax.tree.leaves(restored), jax.tree.leaves(expected), strict=True):
        got, wanted = np.asarray(got), np.asarray(wanted)
        assert (got.dtype, got.shape, got.tobytes()) == (wanted.dtype, wanted.shape, wanted.tobytes())


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return folder


def test_a_folder_without_a_checkpoint_restores_none(folder):
    with checkpoints.Checkpoints(folder, keep=2) as saved:
        assert saved.restore(make_state(0)) is None


@pytest.mark.parametrize("has_collections", [True, False])
def test_a_restored_state_has_the_same_bits_types_and_history(folder, has_collections):
    expected = make_state(7) if has_collections else make_state(7).replace(collections={})
    like = jax.tree.map(np.zeros_like, expected)
    with checkpoints.Checkpoints(folder, keep=2) as saved:
        saved.save(expected, make_history(7))
    with checkpoints.Checkpoints(folder, keep=2) as saved:
        restored, history = saved.restore(like)
    assert_same_bits(restored, expected)
    assert history == make_history(7)
    assert isinstance(history, loop.History) and isinstance(history.step, int)


def test_only_the_newest_checkpoints_are_kept_and_the_newest_is_restored(folder):
    with checkpoints.Checkpoints(folder, keep=2) as saved:
        for step in (1, 2, 9, 10):
            saved.save(make_state(step), make_history(step))
    assert sorted(int(path.name) for path in folder.iterdir()) == [9, 10]
    with checkpoints.Checkpoints(folder, keep=2) as saved:
        restored, history = saved.restore(make_state(0))
    assert history.step == 10
    assert_same_bits(restored, make_state(10))


def test_a_checkpoint_does_not_follow_the_history_that_goes_on(folder):
    history = make_history(1)
    with checkpoints.Checkpoints(folder, keep=1) as saved:
        saved.save(make_state(1), history)
        before = dataclasses.asdict(history)
        history.step, history.window["loss"] = 2, 99.0
        history.steps_to_train_accuracy["1.0"] = 2
    with checkpoints.Checkpoints(folder, keep=1) as saved:
        assert dataclasses.asdict(saved.restore(make_state(0))[1]) == before


def damaged(content, how):
    """Returns the bytes of a file after it was cut off or emptied, or one of its bits was turned in the middle."""
    if how in ("truncated", "emptied"):
        return content[: len(content) // 2 if how == "truncated" else 0]
    return content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 0x10]) + content[len(content) // 2 + 1 :]


@pytest.mark.parametrize("how", ["truncated", "emptied", "flipped"])
def test_damage_in_any_file_is_seen_and_the_newest_whole_checkpoint_is_used(folder, tmp_path, caplog, how):
    with checkpoints.Checkpoints(folder, keep=2) as saved:
        for step in (1, 2):
            saved.save(make_state(step), make_history(step))
    files = [path.relative_to(folder) for path in (folder / "2").rglob("*") if path.is_file() and path.stat().st_size]
    assert len(files) > 5
    damaged_files = 0
    for number, file in enumerate(files):
        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        (copy / file).write_bytes(damaged((copy / file).read_bytes(), how))
        caplog.clear()
        with checkpoints.Checkpoints(copy, keep=2) as saved:
            restored, history = saved.restore(make_state(0))
            assert_same_bits(restored, make_state(history.step))  # what comes back is what was saved, whichever it is
            assert history == make_history(history.step)
            if history.step == 1:
                damaged_files += 1
                assert str(copy / "2") in caplog.text and "damaged" in caplog.text
                saved.save(make_state(2), make_history(2))  # the step comes again
        with checkpoints.Checkpoints(copy, keep=2) as saved:
            assert_same_bits(saved.restore(make_state(0))[0], make_state(2))
    assert damaged_files >= 4  # the arrays, their tree and the history; the others say nothing that is needed


def test_with_no_whole_checkpoint_left_the_run_does_not_start_anew(folder):
    with checkpoints.Checkpoints(folder, keep=2) as saved:
        for step in (1, 2):
            saved.save(make_state(step), make_history(step))
    for step in ("1", "2"):
        shutil.rmtree(folder / step / "state")
    with checkpoints.Checkpoints(folder, keep=2) as saved, pytest.raises(UserError, match="None of the checkpoints"):
        saved.restore(make_state(0))
    assert {path.name for path in folder.iterdir()} == {"1", "2"}


def test_other_values_under_a_whole_file_are_seen(folder):
    with checkpoints.Checkpoints(folder, keep=2) as saved:
        saved.save(make_state(1), make_history(1))
    (file,) = [path for path in (folder / "1" / "history").rglob("*") if b'"step": 1' in path.read_bytes()]
    file.write_bytes(file.read_bytes().replace(b'"step": 1', b'"step": 7', 1))
    with checkpoints.Checkpoints(folder, keep=2) as saved, pytest.raises(UserError):
        saved.restore(make_state(0))


def test_the_whole_state_of_another_step_is_seen(folder, caplog):
    with checkpoints.Checkpoints(folder, keep=2) as saved:
        for step in (1, 2):
            saved.save(make_state(step), make_history(step))
    shutil.rmtree(folder / "2" / "state")
    shutil.copytree(folder / "1" / "state", folder / "2" / "state")
    with checkpoints.Checkpoints(folder, keep=2) as saved:
        assert saved.restore(make_state(0))[1].step == 1
    assert "the SHA-256 of its state is not that of what was saved" in caplog.text


READ = """
import pathlib, sys, time
sys.path[:0] = [{root!r}, {root!r} + "/tests/training"]
from test_checkpoints import checkpoints, make_state, UserError

try:
    with checkpoints.Checkpoints(pathlib.Path({folder!r}), keep=2) as saved:
        saved.restore(make_state(0))
except UserError as error:
    time.sleep(1)  # callbacks come late
    print(error)
"""


@pytest.mark.slow
def test_a_read_that_fails_says_nothing_beside_its_error(folder):
    with checkpoints.Checkpoints(folder, keep=2) as saved:
        saved.save(make_state(1), make_history(1))
    for file in (folder / "1" / "state" / "d").iterdir():
        file.write_bytes(b"")
    program = READ.format(root=str(pathlib.Path(__file__).parents[2]), folder=str(folder))
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("None of the checkpoints can be read")
    (line,) = ended.stderr.splitlines()
    assert "is damaged" in line


def test_there_must_be_a_checkpoint_where_one_was_saved(folder):
    with checkpoints.Checkpoints(folder, keep=2) as saved:
        assert saved.restore(make_state(0), there_must_be_one=False) is None
        with pytest.raises(UserError, match="There is no checkpoint any more"):
            saved.restore(make_state(0), there_must_be_one=True)


def test_the_best_checkpoint_is_kept_beside_the_newest(folder):
    with checkpoints.Checkpoints(folder, keep=1) as saved:
        for step, best in ((1, 1), (2, 2), (3, 2), (4, 2), (5, 5), (6, 5)):
            history = make_history(step)
            history.best = {"step": best}
            saved.save(make_state(step), history)
    assert sorted(int(path.name) for path in folder.iterdir()) == [5, 6]


def test_a_save_that_was_cut_off_is_no_checkpoint(folder):
    with checkpoints.Checkpoints(folder, keep=2) as saved:
        saved.save(make_state(1), make_history(1))
    (folder / "2.orbax-checkpoint-tmp").mkdir()
    with checkpoints.Checkpoints(folder, keep=2) as saved:
        assert saved.restore(make_state(0))[1].step == 1
