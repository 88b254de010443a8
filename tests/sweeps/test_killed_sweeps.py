"""A sweep whose processes are killed, its own or those of its runs, and that is started again: no run is lost, none is
run twice, and each ends with the rows of an undisturbed one."""

import contextlib
import importlib.util
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
RATES = [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
EPOCHS = 20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not pathlib.Path("/proc/self/cmdline").exists(), reason="no /proc to find processes in"),
]
needs_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed: .[cluster]")


LAUNCHES = []


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Ends the launches of a test that failed."""
    yield
    while LAUNCHES:
        with LAUNCHES.pop() as launch:
            launch.kill()


class Sweep:
    """Launches of one sweep in one folder."""

    def __init__(self, folder, executor, count):
        self.folder = folder
        rates = ",".join(map(str, RATES[:count]))
        fields = {
            "axes": f"optimizer.learning_rate={rates}",
            "executor": executor,
            "jobs": 0 if executor == "sequential" else 2,
            "stop.train_accuracy": 0.0,
            "train.total_epochs": float(EPOCHS),
            "evaluate.every_epochs": 2.0,
            "checkpoint.every_epochs": 2.0,
            "log.every_steps": 1,
            "log.tensorboard": False,
        }
        words = [f"--config.{field}={value}" for field, value in fields.items()]
        self._command = [sys.executable, "main.py", "--config=configs/digits_random.py:mlp_tiny", *words]
        self._output = folder.with_name(f"{folder.name}.txt")

    def start(self):
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        environment.pop("RAY_ADDRESS", None)
        with open(self._output, "ab") as output:
            launch = subprocess.Popen(
                [*self._command, f"--workdir={self.folder}"], cwd=ROOT, env=environment, stdout=output, stderr=output
            )
        LAUNCHES.append(launch)
        return launch

    def shown(self):
        return self._output.read_text()

    def workers(self):
        """Returns run -> its process, of those under way."""
        workers = {}
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().decode().split("\0")
                runs = [pathlib.Path(word) for word in words if word.startswith(f"{self.folder}/")]
                if "rethink.sweeps.worker" in words and runs:
                    workers[runs[-1].name] = int(path.parent.name)
        return workers

    def saved(self, run):
        return [path for path in self.folder.glob(f"{run}/checkpoints/*") if path.name.isdecimal()]

    def wait_for_checkpoint(self):
        """Returns a run under way that has a checkpoint."""

        def find():
            return [name for name in self.workers() if self.saved(name)]

        names = wait_until(find)
        assert names, self.shown()
        return names[0]

    def runs(self):
        return sorted(path.parent for path in self.folder.glob("*/manifest.json"))

    def ended(self):
        """Returns what must not change any more: when each file of an ended run was written, and its launches."""
        state = {}
        for run in self.runs():
            if json.loads((run / "manifest.json").read_text())["status"] == "done":
                state |= {path: path.stat().st_mtime_ns for path in run.iterdir() if path.is_file()}
                log = self.folder / "logs" / f"{run.name}.log"
                state[log] = log.read_text().count("=== ")
        return state


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    sweep = Sweep(tmp_path_factory.mktemp("whole") / "sweep", "sequential", 8)
    assert sweep.start().wait() == 0, sweep.shown()
    return sweep


def assert_same_runs(sweep, undisturbed, count):
    assert len(sweep.runs()) == count
    for run in sweep.runs():
        assert json.loads((run / "manifest.json").read_text())["status"] == "done"
        rows = (run / "metrics.jsonl").read_bytes()
        assert rows == (undisturbed.folder / run.name / "metrics.jsonl").read_bytes()
        assert rows.count(b'"kind": "train"') == EPOCHS * 12


def wait_until(condition, seconds=300.0):
    ends = time.monotonic() + seconds
    while not (result := condition()) and time.monotonic() < ends:
        time.sleep(0.05)
    return result


def test_a_sweep_that_is_killed_again_and_again_loses_no_run_and_runs_none_twice(undisturbed, tmp_path):
    rng = random.Random(1)
    sweep = Sweep(tmp_path / "sweep", "processes", 4)
    kills = ["parent", "child", "parent", "both", "parent", "child", "parent"]
    kill_count = 0
    for kill in kills:
        before = sweep.ended()
        launch = sweep.start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            launch.wait(rng.uniform(1, 8))
        workers = wait_until(lambda launch=launch: list(sweep.workers().values()) or launch.poll() is not None)
        if launch.poll() is not None:  # all runs have ended: nothing is left to be killed
            break
        kill_count += 1
        if kill != "parent":
            os.kill(rng.choice(workers), signal.SIGKILL)
        if kill == "child":  # the launch itself starts it again
            with contextlib.suppress(subprocess.TimeoutExpired):
                launch.wait(rng.uniform(1, 5))
        launch.kill()
        launch.wait()
        assert before.items() <= sweep.ended().items()
        assert wait_until(lambda: not sweep.workers(), 60), "a run outlived its sweep"
    assert kill_count >= 3
    before = sweep.ended()
    assert sweep.start().wait() == 0, sweep.shown()
    assert before.items() <= sweep.ended().items()
    assert_same_runs(sweep, undisturbed, 4)


def test_a_run_whose_process_is_killed_resumes_in_another(undisturbed, tmp_path):
    sweep = Sweep(tmp_path / "sweep", "processes", 2)
    launch = sweep.start()
    name = sweep.wait_for_checkpoint()
    os.kill(sweep.workers()[name], signal.SIGKILL)
    assert launch.wait() == 0, sweep.shown()
    assert "its process was killed (SIGKILL), and is started again" in sweep.shown()
    assert "Resumed at step" in (sweep.folder / "logs" / f"{name}.log").read_text()
    assert_same_runs(sweep, undisturbed, 2)


@needs_ray
@pytest.mark.parametrize("victim", ["the run's process", "Ray's worker"])
def test_on_ray_a_sweep_ends_complete_though_a_process_is_killed(undisturbed, tmp_path, victim):
    sweep = Sweep(tmp_path / "sweep", "ray", 8)
    launch = sweep.start()
    name = sweep.wait_for_checkpoint()
    killed = sweep.workers()[name]
    if victim == "Ray's worker":
        killed = int(pathlib.Path(f"/proc/{killed}/stat").read_text().rpartition(") ")[2].split()[1])
    os.kill(killed, signal.SIGKILL)
    assert launch.wait() == 0, sweep.shown()
    launches = sum(path.read_text().count("=== ") for path in (sweep.folder / "logs").glob("*.log"))
    assert launches == 9
    assert_same_runs(sweep, undisturbed, 8)


@needs_ray
def test_on_ray_a_signal_lets_the_runs_save(undisturbed, tmp_path):
    sweep = Sweep(tmp_path / "sweep", "ray", 2)
    launch = sweep.start()
    sweep.wait_for_checkpoint()
    launch.terminate()
    assert launch.wait() == 143, sweep.shown()
    statuses = {json.loads((run / "manifest.json").read_text())["status"] for run in sweep.runs()}
    assert "interrupted" in statuses and statuses <= {"interrupted", "done"}
    assert sweep.start().wait() == 0, sweep.shown()
    assert_same_runs(sweep, undisturbed, 2)
