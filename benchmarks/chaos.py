"""Owns one question: does a run that is killed at any moment, again and again, end with the bits of an undisturbed one?

    python -m benchmarks.chaos --data_dir=DIR --kills=30 > docs/chaos.json

Each case is run once in peace. Then it is killed with SIGKILL, sometimes when a clock says so, sometimes as soon as a
save, an evaluation or the last row is seen, and launched again until it ends. Both must leave the same bits, every
launch must go on from the newest whole checkpoint, and what a killed launch started must be gone soon after it. Without
--data_dir the cases train on the embedded digits, else on CIFAR10. Exit status 1 where any of it fails.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psutil

ROOT = pathlib.Path(__file__).parents[1]
SHARED_MEMORY = pathlib.Path("/dev/shm")  # of Linux; elsewhere there is nothing to see
MARK = "RETHINK_CHAOS"  # the environment variable that tells a launch's processes
POLL_SECONDS = 0.005
LEFT_SECONDS = 10.0  # so long after a kill, what the killed launch started is looked for
HUNG_SECONDS = 1800.0

COMMON = {
    "train.total_epochs": 10.0,
    "stop.train_accuracy": 0.0,
    "evaluate.every_epochs": 1.0,
    "checkpoint.every_epochs": 0.25,
    "log.every_steps": 1,
}
CASES: dict[str, dict[str, Any]] = {
    "mlp_1x512, resident": {"model.name": "mlp_1x512", "data.feed": "resident"},
    "mlp_1x512, streamed by 2 workers": {"model.name": "mlp_1x512", "data.feed": "streamed", "data.workers": 2},
    "conv_tiny, 2 devices, all regularizers": {
        "model.name": "conv_tiny",
        "hardware.cpu_devices": 2,
        "batch_norm.kind": "across_devices",
        "augmentation.crop": "random",
        "augmentation.flip": True,
        "augmentation.rotation": 15.0,
        "dropout.rate": 0.2,
        "weight_decay.kind": "l2",
        "data.validation_fraction": 0.1,
        "early_stopping.monitor": "validation",
        "early_stopping.patience": 8,
        "optimizer.learning_rate": 0.1,
    },
}
DATA = {  # config -> what makes it small, and leaves a crop something to do
    "digits_random": {"preprocess.crop": 6},
    "cifar_random": {"data.train_examples": 2000},
}
AIMS = {  # what is waited for -> a random time up to so many seconds passes before the kill
    "anywhere": None,  # of the whole time of the undisturbed run
    "save": 0.02,
    "step": 0.5,
    "evaluation": 0.05,
    "start": None,  # of the time until the first row
    "end": 1.5,  # of the run; its figures are drawn then
}
TURNS = ("anywhere", "save", "step", "save", "start", "evaluation")  # shuffled; the last kill of a run is at its "end"


@dataclasses.dataclass
class Kill:
    """One SIGKILL.

    Attributes:
      case: what ran; aim: what was waited for; seconds: since the launch.
      phase: what it hit, as far as the files tell; step: of the last row, -1 where there is none.
      saved: the step of the newest whole checkpoint, 0 before the first.
      went_on_at: the step that the next launch went on at; None where that one was killed before it said so.
      alive: processes of the launch that were alive LEFT_SECONDS later.
    """

    case: str
    aim: str
    seconds: float
    phase: str
    step: int
    saved: int
    went_on_at: int | None = None
    alive: int = 0


def main() -> int:
    """Prints JSON; returns the exit status."""
    parser = argparse.ArgumentParser(description="Do runs that are killed end with the bits of undisturbed ones?")
    parser.add_argument("--data_dir", default="", help="directory of prepared TFDS sets; without it, embedded digits")
    parser.add_argument("--kills", type=int, default=30, help="over all cases")
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills")
    arguments = parser.parse_args()
    began = time.monotonic()
    config = "cifar_random" if arguments.data_dir else "digits_random"
    shared = {**COMMON, **DATA[config]}
    if arguments.data_dir:
        shared["data.dir"] = os.path.abspath(arguments.data_dir)
    cases: dict[str, dict[str, Any]] = {}
    kills: list[Kill] = []
    with tempfile.TemporaryDirectory() as folder:
        for i, (name, fields) in enumerate(CASES.items()):
            case = Case(name, config, {**shared, **fields}, pathlib.Path(folder) / str(i))
            cases[name] = case.try_out((arguments.kills + i) // len(CASES), random.Random(f"{arguments.seed} {name}"))
            kills += case.kills
            print(f"{name}: {len(case.kills)} kills, failures: {case.failures or 'none'}", file=sys.stderr)
    result = {
        "data": config.partition("_")[0] + ("" if arguments.data_dir else ", embedded: no --data_dir was given"),
        "seed": arguments.seed,
        "cores": os.cpu_count(),
        "kills": len(kills),
        "hit": dict(Counter(kill.phase for kill in kills).most_common()),
        "seen to go on where saved": sum(kill.went_on_at == kill.saved for kill in kills),
        f"processes alive {LEFT_SECONDS:g} s after": sum(kill.alive for kill in kills),
        "equal": all(case["equal"] for case in cases.values()),
        "failures": [f"{name}: {failure}" for name, case in cases.items() for failure in case["failures"]],
        "seconds": round(time.monotonic() - began),
        "cases": cases,
        "each kill": [vars(kill) for kill in kills],
    }
    print(json.dumps(result, indent=2))
    return 1 if result["failures"] else 0


class Case:
    """One way to train: a run in peace, and runs that are killed."""

    def __init__(self, name: str, config: str, fields: Mapping[str, Any], folder: pathlib.Path):
        """Takes the name of a config file and the fields that it changes."""
        self.kills: list[Kill] = []
        self.failures: list[str] = []
        self._name, self._folder = name, folder
        words = [f"--config.{field}={value}" for field, value in fields.items()]
        self._words = [f"--config=configs/{config}.py", f"--config.data.cache_dir={folder.parent / 'images'}", *words]
        self._watchers: list[threading.Timer] = []

    def try_out(self, quota: int, rng: random.Random) -> dict[str, Any]:
        """Returns what came of `quota` kills; a run that ends before it had its share is followed by another."""
        memory = shared_memory()
        quiet = Workdir(self._folder / "quiet")
        launch = Launch(self._words, quiet)
        if launch.wait(None) != 0:
            raise SystemExit(f"{self._name}: the undisturbed run failed.\n{launch.log()}")
        seconds, expected = launch.age(), digests(quiet.folder)
        rounds = 0
        while len(self.kills) < quota and not self.failures:
            rounds += 1
            run = Workdir(self._folder / f"killed-{rounds}")
            self._disturb(run, Peace(quiet, seconds), quota - len(self.kills), rng)
            self.failures += [] if self.failures else differences(expected, digests(run.folder))
        equal = not self.failures
        for watcher in self._watchers:
            watcher.join()
        self.failures += [f"{kill.alive} processes outlived {kill}" for kill in self.kills if kill.alive]
        self.failures += [f"{SHARED_MEMORY / name} was left behind" for name in left_behind(memory)]
        return {
            "kills": len(self.kills),
            "runs that were killed": rounds,
            "steps": quiet.row()["step"],
            "seconds in peace": round(seconds, 1),
            "equal": equal,
            "sha256": expected,
            "failures": self.failures,
        }

    def _disturb(self, run: "Workdir", peace: "Peace", quota: int, rng: random.Random) -> None:
        """Launches a run until it ends, and kills it up to `quota` times on the way, spread over its steps."""
        aims = list(TURNS) * (quota // len(TURNS) + 1)
        rng.shuffle(aims)
        before: Kill | None = None
        for i, aim in enumerate([*aims[: quota - 1], "end", None]):
            launch = Launch(self._words, run)
            target = int((i + rng.random()) / quota * peace.last_step)
            status = launch.wait(make_trigger(aim, launch, peace, target, rng) if aim else None)
            if status is None:
                launch.kill()
            self._check(launch, status, before)
            if status is not None or self.failures:
                return
            before = Kill(
                case=self._name,
                aim=aim,
                seconds=round(launch.age(), 2),
                phase=launch.phase(peace),
                step=run.row()["step"],
                saved=run.saved(),
            )
            self.kills.append(before)
            self._watchers.append(threading.Timer(LEFT_SECONDS, count_alive, (before, launch.mark)))
            self._watchers[-1].start()

    def _check(self, launch: "Launch", status: int | None, before: Kill | None) -> None:
        """Notes where a launch went on after the kill before it, and what is wrong with it."""
        log = launch.log()
        if before:
            before.went_on_at = before.saved if "Nothing to do" in log else went_on_at(log)
            if before.went_on_at not in (None, before.saved):
                self.failures.append(f"a launch went on at step {before.went_on_at} after {before}")
        if status or "is damaged" in log:
            self.failures.append(f"exit status {status}, and the last words: {log[-1000:]}")


class Workdir:
    """What the files of a run tell."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.launches = 0

    def row(self) -> dict[str, Any]:
        """Returns the last whole row."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        return json.loads(lines[-2]) if len(lines) > 1 else {"kind": "", "step": -1}

    def saved(self) -> int:
        """Returns the step of the newest whole checkpoint, 0 before the first."""
        return max((int(path.name) for path in self.folder.glob("checkpoints/*") if path.name.isdigit()), default=0)

    def drafts(self) -> set[tuple[str, int]]:
        """Returns (name, time of change) of the saves that did not end, those of earlier launches as well."""
        found = set()
        for path in self.folder.glob("checkpoints/*.orbax-checkpoint-tmp*"):
            with contextlib.suppress(FileNotFoundError):
                found.add((path.name, path.stat().st_mtime_ns))
        return found

    def begun(self) -> int:
        """Returns when the manifest was written last, 0 where it was not."""
        path = self.folder / "manifest.json"
        return path.stat().st_mtime_ns if path.exists() else 0


class Peace:
    """What the undisturbed run was like."""

    def __init__(self, run: Workdir, seconds: float):
        """Takes the seconds of the whole run."""
        self.seconds, self.last_step = seconds, run.row()["step"]
        self.evaluate_every = json.loads((run.folder / "manifest.json").read_text())["plan"]["evaluate_every"]
        timings = [json.loads(line)["seconds"] for line in (run.folder / "timings.jsonl").read_text().splitlines()]
        self.start_seconds = seconds - (timings[-1] - timings[0])


class Launch:
    """A process of main.py, and what the directory of its run held when it was started."""

    def __init__(self, words: Sequence[str], run: Workdir):
        run.folder.parent.mkdir(exist_ok=True)
        run.launches += 1
        self.mark = f"{run.folder} {run.launches}"
        self._run, self._log = run, run.folder.with_name(f"{run.folder.name}-{run.launches}.txt")
        self._begun_before, self._drafts_before = run.begun(), run.drafts()
        self._saved_before = run.saved() or -1
        self._end: float | None = None
        self._start = time.monotonic()
        places = [f"--config.hardware.compilation_cache={run.folder}-compiled", f"--workdir={run.folder}"]
        with open(self._log, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "main.py", *words, *places],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", MARK: self.mark},
            )

    def wait(self, trigger: Callable[[], bool] | None) -> int | None:
        """Returns the exit status, None where the trigger came before the end."""
        try:
            while not (trigger and trigger()):
                if (status := self._process.poll()) is not None:
                    return status
                if self.age() > HUNG_SECONDS:
                    raise SystemExit(f"A launch did not end in {HUNG_SECONDS:g} s.\n{self.log()}")
                time.sleep(POLL_SECONDS)
        except BaseException:
            self.kill()
            raise
        return None

    def kill(self) -> None:
        """Sends SIGKILL to the process, not to those that it started."""
        self._process.kill()
        self._process.wait()
        self._end = time.monotonic()

    def age(self) -> float:
        """Returns the seconds since the start, up to the kill."""
        return (self._end or time.monotonic()) - self._start

    def log(self) -> str:
        """Returns what it printed."""
        return self._log.read_text(errors="replace")

    def step(self) -> int:
        """Returns the step of its last row, -1 before its first."""
        row = self._run.row()["step"]
        return row if self._begun() and row > self._saved_before else -1

    def phase(self, peace: Peace) -> str:
        """Returns what it is at, as far as the files tell."""
        row = self._run.row()
        evaluates = row["step"] % peace.evaluate_every == 0 or row["step"] == peace.last_step
        if not self._begun():
            return "start"
        if not self._run.drafts() <= self._drafts_before:
            return "save"
        if row["kind"] == "evaluation" and row["step"] == peace.last_step:
            return "end"
        if self.step() < 0:
            return "before the first row"
        return "evaluation" if row["kind"] == "train" and evaluates else "step"

    def _begun(self) -> bool:
        """Returns whether it has come to write records."""
        return self._run.begun() != self._begun_before


def make_trigger(aim: str, launch: Launch, peace: Peace, target: int, rng: random.Random) -> Callable[[], bool]:
    """Returns the function that says when to kill a launch; an `aim` at files is taken from step `target` on."""
    whole = {"anywhere": peace.seconds, "start": peace.start_seconds}
    seconds = rng.uniform(0, whole.get(aim) or AIMS[aim])
    seen: list[float] = []  # the age at which the aim was met

    def now() -> bool:
        if aim in whole:
            return launch.age() >= seconds
        if not seen and launch.step() >= target and (aim == "step" or launch.phase(peace) == aim):
            seen.append(launch.age())
        return bool(seen) and launch.age() >= seen[0] + seconds

    return now


def went_on_at(log: str) -> int | None:
    """Returns the step at which a launch went on, 0 where it started anew, None where it does not say so."""
    resumed = re.search(r"^Resumed at step ([\d,]+)\.", log, re.MULTILINE)
    if resumed:
        return int(resumed[1].replace(",", ""))
    return 0 if re.search(r"^step 0/", log, re.MULTILINE) else None


def count_alive(kill: Kill, mark: str) -> None:
    """Counts the processes of a killed launch that are alive, and ends them."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                kill.alive += 1
                process.kill()


def shared_memory() -> set[str]:
    """Returns the names of all shared memory and semaphores of Python's."""
    return {path.name for path in SHARED_MEMORY.glob("*") if path.name.startswith(("psm_", "sem.mp-"))}


def left_behind(before: set[str]) -> list[str]:
    """Returns what is new in the shared memory, stays there, and belongs to no living process."""
    new = shared_memory() - before
    time.sleep(2)  # what other programs hand over just now is gone by then
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            new -= {pathlib.Path(part.path).name for part in process.memory_maps()}
    return sorted(new & shared_memory())


def digests(folder: pathlib.Path) -> dict[str, str]:
    """Returns the SHA-256 of what a run left, clocks apart: its last state, its rows, its data, its figure, ..."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    jax.config.update("jax_platforms", "cpu")  # accelerators are for the runs
    manager = ocp.CheckpointManager(folder / "checkpoints")
    content = ocp.args.Composite(state=ocp.args.StandardRestore(), history=ocp.args.JsonRestore())
    found = manager.restore(manager.latest_step(), args=content)
    manager.close()
    state = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(found["state"]):
        leaf = np.asarray(leaf, order="C")
        state.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
        state.update(leaf.tobytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["summary"]["seconds"]
    told = {name: manifest[name] for name in ("fate", "fingerprints", "plan", "summary")}
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    names = [name for name in files if not name.startswith(("checkpoints/", "tensorboard/"))]
    names += [path.name for path in (folder / "checkpoints").iterdir()]
    texts = {"history": found["history"]["history"], "manifest.json": told, "names of files": sorted(names)}
    whole = ["metrics.jsonl", "figures/learning_curve.png", *(path.name for path in folder.glob("corruption*.npz"))]
    return {
        "state": state.hexdigest(),
        **{name: _sha256(json.dumps(value, sort_keys=True).encode()) for name, value in texts.items()},
        **{name: _sha256((folder / name).read_bytes()) for name in whole if (folder / name).exists()},
    }


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Returns a failure for each file whose digest is another one, or that one side lacks."""
    names = sorted({*expected, *found})
    return [f"{name} differs" for name in names if expected.get(name) != found.get(name)]


if __name__ == "__main__":
    sys.exit(main())
