"""What can befall a run: a signal, a full or read-only disk, a damaged checkpoint, numbers that are not finite.

Each makes one line for the user and leaves what was there; a run that resumes ends with the bits of an undisturbed one.
"""

import errno
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rethink.configs import digits_random
from rethink.experiment.run import Launch, _train_for_analysis, run_experiment
from rethink.figures import learning_curve
from rethink.results import files
from rethink.results.progress import StageProgress
from rethink.schema.errors import SurroundingsError, UserError
from rethink.training import checkpoints, optimizer, preemption

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def without_figure():
    """Leaves out the figures of runs, which take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning_curve, "draw_learning_curve", lambda *_, **__: [])
        yield


def make_config(model="mlp_tiny", **fields):
    """A run of 24 steps that saves every 6."""
    config = digits_random.get_config(model)
    config.train.total_epochs = 2.0
    config.checkpoint.every_epochs = 0.5
    config.train.steps_per_call = 1
    config.log.every_steps = 5
    config.update_from_flattened_dict({field.replace("__", "."): value for field, value in fields.items()})
    return config


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """whole(fields) -> the directory of a run that nothing befell, made once; tests leave it as it is."""

    @functools.cache
    def run(**fields):
        folder = tmp_path_factory.mktemp("whole")
        assert launch(make_config(**fields), folder) == 0
        return folder

    return run


def launch(config, workdir):
    return run_experiment(config, str(workdir), Launch())


def manifest(workdir):
    return json.loads((workdir / "manifest.json").read_text())


def state(workdir, step=None):
    """Returns leaf -> SHA-256 of a checkpoint's state, by default of the newest."""
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(workdir / "checkpoints") as manager:
        content = ocp.args.Composite(state=ocp.args.StandardRestore())
        restored = manager.restore(manager.latest_step() if step is None else step, args=content)["state"]
    leaves = jax.tree_util.tree_leaves_with_path(restored)
    return {jax.tree_util.keystr(path): hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest() for path, leaf in leaves}


def saved(workdir):
    """Returns the steps of the checkpoints."""
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal())


def content(workdir):
    """Returns the bytes of every file."""
    return {path.relative_to(workdir): path.read_bytes() for path in workdir.rglob("*") if path.is_file()}


def assert_equal_runs(one, other):
    for name in ("metrics.jsonl", "corruption.npz", "examples_train.bin", "presentations.npz"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert state(one) == state(other)
    assert manifest(one)["status"] == manifest(other)["status"]
    assert manifest(one)["fingerprints"] == manifest(other)["fingerprints"]


# A disk that is full or can't be written


@pytest.fixture
def full_disk(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 100, 0))


@pytest.mark.parametrize(
    "write, number",
    [("replace", 1), ("replace", 2), ("replace", 5), ("replace", 7), ("append_line", 1), ("append_line", 9)],
)
def test_a_disk_that_is_full_at_any_write_is_one_line_and_the_run_resumes_when_there_is_room(
    tmp_path, monkeypatch, full_disk, whole, write, number
):
    parts = tmp_path / "parts"
    plain, calls = getattr(files, write), []

    def full(path, *args):
        calls.append(path)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(path, *args)

    with monkeypatch.context() as patched:
        patched.setattr(files, write, full)
        with pytest.raises(
            UserError, match=r"can't be written any more \(No space left on device\): make room"
        ) as error:
            launch(make_config(), parts)
    assert "\n" not in str(error.value) and str(parts) in str(error.value)
    for path in parts.glob("*.json*"):
        assert path.read_bytes().endswith(b"\n") or path.name.endswith("jsonl") and not path.stat().st_size
    assert launch(make_config(), parts) == 0
    assert_equal_runs(parts, whole())


IN_A_DISK_OF_ITS_OWN = """
set -e
disk=$1 size=$2; shift 2
mount -t tmpfs -o size=$size tmpfs $disk
status=0; "$@" 2> $disk.err > $disk.out || status=$?
echo $status; cp -r $disk $disk.first
mount -o remount,size=100m $disk
status=0; "$@" > $disk.out 2>&1 || status=$?
echo $status; cp -r $disk $disk.last
"""
READ_ONLY_FOR_A_WHILE = """
set -e
disk=$1; shift
mount -t tmpfs -o size=100m tmpfs $disk
"$@" --config.train.total_epochs=1.5 > $disk.out 2>&1
cp -r $disk $disk.before
mount -o remount,ro $disk
status=0; "$@" > $disk.out 2> $disk.err || status=$?
echo $status; cp -r $disk $disk.first
mount -o remount,rw $disk
status=0; "$@" > $disk.out 2>&1 || status=$?
echo $status; cp -r $disk $disk.last
"""


def on_a_disk_of_its_own(script, disk, *arguments):
    """Runs a script that may mount; returns the exit codes that it prints."""
    mounting = ["unshare", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*mounting, f"mount -t tmpfs tmpfs {ROOT}"]).returncode:
        pytest.skip("no right to mount")
    disk.mkdir()
    command = [*mounting, script, "sh", str(disk), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    return [int(status) for status in ended.stdout.split()]


def main_words(workdir):
    """Returns the command line of a run of 24 steps that keeps all of its checkpoints, 0.4 MB each."""
    words = [sys.executable, "main.py", "--config.train.total_epochs=2.0", "--config.evaluate.every_epochs=0.5"]
    words += ["--config.checkpoint.every_epochs=0.25", "--config.checkpoint.keep=99", f"--workdir={workdir}"]
    return [*words, "--config.train.steps_per_call=1"]  # a checkpoint falls on the end of a call


@pytest.mark.slow
@pytest.mark.parametrize("size", ["4k", "40k", "600k", "2000k"])
def test_a_disk_that_is_really_full_loses_nothing(tmp_path, size):
    disk = tmp_path / "disk"
    statuses = on_a_disk_of_its_own(IN_A_DISK_OF_ITS_OWN, disk, size, *main_words(disk / "run"))
    stderr = pathlib.Path(f"{disk}.err").read_text()
    assert statuses == [1, 0], stderr
    assert re.fullmatch(r"Error: --workdir=\S+ can't be written[^\n]*No space left on device[^\n]*\n", stderr)
    assert subprocess.run(main_words(tmp_path / "whole"), cwd=ROOT).returncode == 0
    assert_equal_runs(pathlib.Path(f"{disk}.last/run"), tmp_path / "whole")


@pytest.mark.slow
def test_a_directory_that_became_read_only_is_one_line_and_stays_as_it_was(tmp_path):
    disk = tmp_path / "disk"
    statuses = on_a_disk_of_its_own(READ_ONLY_FOR_A_WHILE, disk, *main_words(disk / "run"))
    stderr = pathlib.Path(f"{disk}.err").read_text()
    assert statuses == [2, 0], stderr
    assert re.fullmatch(r"Error: --workdir=\S+ can't be written \(Read-only file system\): choose [^\n]+\n", stderr)
    assert content(pathlib.Path(f"{disk}.first")) == content(pathlib.Path(f"{disk}.before"))
    assert subprocess.run(main_words(tmp_path / "whole"), cwd=ROOT).returncode == 0
    assert_equal_runs(pathlib.Path(f"{disk}.last/run"), tmp_path / "whole")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_directory_that_can_not_be_written_is_left_as_it_was(tmp_path, monkeypatch, number):
    launch(make_config(train__total_epochs=1.0), tmp_path)
    before = content(tmp_path)

    def refused(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "open", refused, raising=False)
    with pytest.raises(UserError, match=rf"can't be written \({os.strerror(number)}\): choose another"):
        launch(make_config(), tmp_path)
    assert content(tmp_path) == before


# A directory that goes away


@pytest.mark.parametrize("in_its_place", [(), ("lock", "manifest.json", "metrics.jsonl")])
def test_a_directory_that_goes_away_in_a_save_is_one_line_and_what_takes_its_place_stays(
    tmp_path, monkeypatch, in_its_place
):
    workdir, save = tmp_path / "run", checkpoints.Checkpoints.save

    def saving(self, values, history):
        save(self, values, history)
        if not (tmp_path / "moved").exists():
            workdir.rename(tmp_path / "moved")
            for name in in_its_place:
                workdir.mkdir(exist_ok=True)
                (workdir / name).write_text("of another run")

    monkeypatch.setattr(checkpoints.Checkpoints, "save", saving)
    with pytest.raises(SurroundingsError, match=r"was removed, moved or replaced during the run: bring it") as error:
        launch(make_config(), workdir)
    assert "\n" not in str(error.value) and str(workdir) in str(error.value) and error.value.exit_code == 1
    assert {path.name: path.read_text() for path in workdir.glob("[lm]*")} == dict.fromkeys(
        in_its_place, "of another run"
    )


def test_a_file_that_may_grow_no_further_is_one_line(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr(files, "append_line", refused)
    with pytest.raises(SurroundingsError, match=r"can't be written any more \(File too large\)"):
        launch(make_config(), tmp_path)


@pytest.mark.parametrize("make", [pathlib.Path.touch, lambda path: path.symlink_to("nowhere")])
def test_a_directory_that_is_none_is_one_line(tmp_path, make):
    make(tmp_path / "run")
    with pytest.raises(UserError, match="--workdir=.*run can't be written .it is no directory.: choose another"):
        launch(make_config(), tmp_path / "run")


def test_a_directory_whose_name_is_no_text_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"can't be written .its name is no text in UTF-8.: choose another"):
        launch(make_config(), tmp_path / os.fsdecode(b"\xff"))


# SIGTERM


@pytest.mark.parametrize("when", ["as it begins", "under way", "twice"])
def test_a_signal_in_a_save_leaves_it_whole_and_saves_the_next_step_too(tmp_path, monkeypatch, whole, when):
    parts, config = tmp_path / "parts", make_config(checkpoint__every_epochs=1.0)
    save, signalled = checkpoints.Checkpoints.save, []

    def kill(times=1):
        signalled.append(when)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGTERM)

    def saving(self, values, history):
        first = not signalled
        if first and when != "under way":
            kill(times=2 if when == "twice" else 1)
        save(self, values, history)
        if first and when == "under way":
            ends = time.monotonic() + 10
            while not list((parts / "checkpoints").glob("12.*")) and not saved(parts) and time.monotonic() < ends:
                pass
            assert list((parts / "checkpoints").glob("12.*"))  # the draft
            kill()

    monkeypatch.setattr(checkpoints.Checkpoints, "save", saving)
    with pytest.raises(preemption.Interrupted) as ended:
        launch(config, parts)
    assert ended.value.exit_code == 143 and signalled and manifest(parts)["status"] == "interrupted"
    assert saved(parts) == ([] if when == "twice" else [12, 13])  # a second signal does not wait
    for step in saved(parts):
        assert state(parts, step)
    assert launch(config, parts) == 0
    assert_equal_runs(parts, whole())


# Sends the signal when XLA is at a program: the `number`th that is compiled under this `name`.
SIGNALLED_IN_COMPILATION = """
import os, signal, sys, threading, time
import jax
sys.path.insert(0, ".")
import main

name, number = sys.argv.pop(1), int(sys.argv.pop(1))
compiled, sent = [], []

def send():
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGTERM)

def listen(event, seconds, fun_name="", **_):
    if name not in fun_name:
        return
    if event.endswith("jaxpr_to_mlir_module_duration"):
        compiled.append(fun_name)
        if len(compiled) == number:
            threading.Timer(0.05, send).start()
    if event.endswith("backend_compile_duration") and len(compiled) == number:
        at = sent[0] - time.monotonic() + seconds
        assert 0 < at < seconds, (at, seconds)
        print("signalled in compilation", flush=True)

jax.monitoring.register_event_duration_secs_listener(listen)
try:
    main.launch()
finally:
    print("ended after", time.monotonic() - sent[0], flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, number, line", [("_fun", 1, "Interrupted before the first step"), ("_fun", 3, "Interrupted at step 1, and")]
)
def test_a_signal_in_compilation_ends_the_run_in_seconds_and_it_resumes(tmp_path, monkeypatch, name, number, line):
    words = ["--config.train.total_epochs=3.0", "--config.hardware.compilation_cache="]
    words += ["--config.train.steps_per_call=1"]  # a signal is taken at the end of a call
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")  # of the tests
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    command = [sys.executable, "-c", SIGNALLED_IN_COMPILATION, name, str(number), *words, f"--workdir={parts}"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 143 and "signalled in compilation" in ended.stdout, ended
    assert line in ended.stdout and "Traceback" not in ended.stderr
    assert float(re.search(r"ended after (\S+)", ended.stdout)[1]) < 10
    assert manifest(parts)["status"] == "interrupted" and saved(parts) == ([1] if number == 3 else [])
    for workdir in (parts, whole):
        assert subprocess.run([sys.executable, "main.py", *words, f"--workdir={workdir}"], cwd=ROOT).returncode == 0
    assert_equal_runs(parts, whole)


# Checkpoints that are damaged or gone


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    middle = path.stat().st_size // 2
    changed = bytearray(path.read_bytes())
    changed[middle] ^= 0x10
    path.write_bytes(changed)


@pytest.mark.parametrize("damage", [cut, flip, pathlib.Path.unlink])
def test_a_run_whose_newest_checkpoint_is_damaged_goes_on_from_the_one_before(tmp_path, caplog, capsys, whole, damage):
    parts = shutil.copytree(whole(evaluate__every_epochs=0.5, train__total_epochs=1.5), tmp_path / "parts")
    assert saved(parts) == [12, 18]
    damage(max((parts / "checkpoints" / "18" / "state" / "d").iterdir(), key=lambda path: path.stat().st_size))
    assert launch(make_config(evaluate__every_epochs=0.5), parts) == 0
    assert "Resumed at step 12." in capsys.readouterr().out
    assert f"The checkpoint {parts / 'checkpoints' / '18'} is damaged" in caplog.text
    assert_equal_runs(parts, whole(evaluate__every_epochs=0.5))


def test_a_run_without_a_whole_checkpoint_is_refused_and_stays_as_it_was(tmp_path, whole):
    shutil.copytree(whole(), tmp_path, dirs_exist_ok=True)
    for step in saved(tmp_path):
        flip(tmp_path / "checkpoints" / str(step) / "state" / "manifest.ocdbt")
    before = content(tmp_path)
    with pytest.raises(UserError, match="None of the checkpoints can be read in .*, or move .* away to start"):
        launch(make_config(train__total_epochs=3.0), tmp_path)
    assert content(tmp_path) == before


def test_an_ended_run_whose_checkpoints_are_gone_is_not_started_anew(tmp_path, whole):
    shutil.copytree(whole(), tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints")
    before = content(tmp_path)
    with pytest.raises(UserError, match="There is no checkpoint any more in .*bring one back from a copy, or move"):
        launch(make_config(train__total_epochs=3.0), tmp_path)
    assert content(tmp_path) == before


def test_a_run_that_ended_before_its_first_step_has_its_start_as_result_and_is_continued(tmp_path, capsys):
    analysis, ends_at_once = types.SimpleNamespace(folder=tmp_path, update=dict), make_config(stop__train_accuracy=0.01)
    analysis.manifest = {"fingerprints": {}}
    trained = _train_for_analysis(analysis, Launch(), StageProgress({}), ends_at_once, "run")
    jax.tree.map(np.testing.assert_array_equal, trained.params, trained.initial)
    assert trained.summary["steps"] == 0 and saved(tmp_path / "run") == []
    analysis.manifest = {"fingerprints": {"images": "of other images"}}
    with pytest.raises(UserError, match="/run was trained on other images than there are now: bring them back"):
        _train_for_analysis(analysis, Launch(), StageProgress({}), ends_at_once, "run")
    assert launch(make_config(), tmp_path / "run") == 0
    assert "begins anew, at step 0" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "evaluation"] == [0, 12, 24]


def test_a_run_that_begins_anew_says_so(tmp_path, capsys):
    assert launch(make_config(), tmp_path) == 0
    assert "begins anew" not in capsys.readouterr().out
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace(f'"status": "{manifest(tmp_path)["status"]}"', '"status": "interrupted"'))
    shutil.rmtree(tmp_path / "checkpoints")
    assert launch(make_config(), tmp_path) == 0
    assert "An earlier launch left no checkpoint: the run begins anew, at step 0." in capsys.readouterr().out


# Numbers that are not finite


def test_a_run_that_diverges_late_keeps_its_last_good_checkpoint(tmp_path, monkeypatch, capsys):
    good, bad = tmp_path / "good", tmp_path / "bad"
    assert launch(make_config(train__total_epochs=1.0), good) == 0

    def falls_off(*_, **__):
        return lambda count: jnp.where(jnp.asarray(count) < 14, jnp.float32(0.1), jnp.float32(1e30))

    monkeypatch.setattr(optimizer, "make_schedule", falls_off)
    assert launch(make_config(optimizer__learning_rate=0.1, optimizer__schedule="constant"), bad) == 3
    end = manifest(bad)["end"]
    assert manifest(bad)["status"] == "diverged" and end["step"] == 15
    assert end["learning_rate"] == pytest.approx(1e30)
    assert f"at step {end['step']}, learning rate 1e+30" in capsys.readouterr().out
    assert saved(bad) == [6, 12] and state(bad, 12) == state(good, 12)
    assert not re.search("NaN|Infinity", (bad / "metrics.jsonl").read_text())


NAN_IN_THE_GRADIENT = """
import flax.linen as nn
import jax.numpy as jnp

class Net(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images, *, train):
        zero = self.param("zero", nn.initializers.zeros, ())
        return nn.Dense(self.num_classes)(images.reshape(len(images), -1)) + jnp.sqrt(zero * zero)
"""


@pytest.mark.parametrize("epochs", [1 / 12, 1.0])  # of a single step, which no other one follows, and of more
def test_a_gradient_that_is_not_finite_ends_the_run_though_its_loss_is(tmp_path, monkeypatch, epochs):
    (tmp_path / "bad_gradients.py").write_text(NAN_IN_THE_GRADIENT)
    monkeypatch.syspath_prepend(tmp_path)
    config = make_config("bad_gradients:Net", train__total_epochs=epochs, log__every_steps=1)
    assert launch(config, tmp_path / "run") == 3
    recorded = manifest(tmp_path / "run")
    assert (recorded["status"], recorded["end"]["step"]) == ("diverged", 1)
    assert recorded["end"]["learning_rate"] == pytest.approx(config.optimizer.learning_rate)
    assert saved(tmp_path / "run") == []
