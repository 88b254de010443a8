"""Launches of main.py that can be killed: when, in which phase, where the next one resumes, what it leaves behind.

Whether a run survives its kills as it should is decided in chaos.py.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil

ROOT = pathlib.Path(__file__).parents[1]
SHARED_MEMORY = pathlib.Path("/dev/shm")  # of Linux; elsewhere nothing is found
MARK = "RETHINK_CHAOS"  # the environment variable that marks a launch's processes
POLL_SECONDS = 0.005
LEFT_SECONDS = 10.0  # so long after a kill, processes of the killed launch are looked for
HUNG_SECONDS = 1800.0


AIMS = {  # phase to hit -> seconds: once it is seen, a random time up to so many passes before the kill
    "anywhere": None,  # the whole time of the undisturbed run
    "save": 0.02,
    "step": 0.02,
    "evaluation": 0.05,
    "start": None,  # the time until the first row
    "end": 1.5,  # of the run; its figures are drawn then
}
TURNS = ("anywhere", "save", "step", "save", "start", "evaluation")  # shuffled; the last kill of a run is at its "end"


@dataclasses.dataclass
class Kill:
    """One SIGKILL.

    Attributes:
      case: what ran; aim: the phase to hit; seconds: since the launch.
      phase: that which was hit, as far as the files show; step: of the last row, -1 where there is none.
      saved: the step of the newest whole checkpoint, 0 before the first.
      resumed_at: the step at which the next launch resumed; None where that one was killed before it printed it.
      alive: processes of the launch that were alive LEFT_SECONDS later.
    """

    case: str
    aim: str
    seconds: float
    phase: str
    step: int
    saved: int
    resumed_at: int | None = None
    alive: int = 0


class Workdir:
    """The directory of a run, as its files show it."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.launches = 0

    def last_row(self) -> dict[str, Any]:
        """Returns the last whole row."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        return json.loads(lines[-2]) if len(lines) > 1 else {"kind": "", "step": -1}

    def saved_step(self) -> int:
        """Returns the step of the newest whole checkpoint, 0 before the first."""
        return max((int(path.name) for path in self.folder.glob("checkpoints/*") if path.name.isdigit()), default=0)

    def unfinished_saves(self) -> set[tuple[str, int]]:
        """Returns (name, time of change) of the saves that did not end, those of earlier launches as well."""
        saves = set()
        for path in self.folder.glob("checkpoints/*.orbax-checkpoint-tmp*"):
            with contextlib.suppress(FileNotFoundError):
                saves.add((path.name, path.stat().st_mtime_ns))
        return saves

    def manifest_time(self) -> int:
        """Returns when the manifest was last written, in ns; 0 where it was not."""
        path = self.folder / "manifest.json"
        return path.stat().st_mtime_ns if path.exists() else 0


class UndisturbedRun:
    """The length of the undisturbed run, and its steps."""

    def __init__(self, run: Workdir, seconds: float):
        """Takes the seconds of the whole run."""
        self.seconds, self.last_step = seconds, run.last_row()["step"]
        self.evaluate_every = json.loads((run.folder / "manifest.json").read_text())["plan"]["evaluate_every"]
        timings = [json.loads(line)["seconds"] for line in (run.folder / "timings.jsonl").read_text().splitlines()]
        self.start_seconds = seconds - (timings[-1] - timings[0])


class Launch:
    """A process of main.py, and what was in the directory of its run when it was started."""

    def __init__(self, words: Sequence[str], run: Workdir):
        run.folder.parent.mkdir(exist_ok=True)
        run.launches += 1
        self.mark = f"{run.folder} {run.launches}"
        self._run, self._log = run, run.folder.with_name(f"{run.folder.name}-{run.launches}.txt")
        self._manifest_time_before, self._saves_before = run.manifest_time(), run.unfinished_saves()
        self._saved_before = run.saved_step() or -1
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
        """Returns the exit code, None where the trigger came before the end."""
        try:
            while not (trigger and trigger()):
                if (exit_code := self._process.poll()) is not None:
                    return exit_code
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
        step = self._run.last_row()["step"]
        return step if self._has_records() and step > self._saved_before else -1

    def phase(self, undisturbed: UndisturbedRun) -> str:
        """Returns the phase that it is in, as far as the files show."""
        row = self._run.last_row()
        evaluates = row["step"] % undisturbed.evaluate_every == 0 or row["step"] == undisturbed.last_step
        if not self._has_records():
            return "start"
        if not self._run.unfinished_saves() <= self._saves_before:
            return "save"
        if row["kind"] == "evaluation" and row["step"] == undisturbed.last_step:
            return "end"
        if self.step() < 0:
            return "before the first row"
        return "evaluation" if row["kind"] == "train" and evaluates else "step"

    def _has_records(self) -> bool:
        """Returns whether it has begun to write records."""
        return self._run.manifest_time() != self._manifest_time_before


def make_trigger(
    aim: str, launch: Launch, undisturbed: UndisturbedRun, target: int, rng: random.Random
) -> Callable[[], bool]:
    """Returns the function that is true when it is time to kill; a phase seen in files counts from step `target` on."""
    whole = {"anywhere": undisturbed.seconds, "start": undisturbed.start_seconds}
    seconds = rng.uniform(0, whole.get(aim) or AIMS[aim])
    hits: list[float] = []  # the age at which the phase was seen first

    def is_time() -> bool:
        if aim in whole:
            return launch.age() >= seconds
        if not hits and launch.step() >= target and launch.phase(undisturbed) == aim:
            hits.append(launch.age())
        return bool(hits) and launch.age() >= hits[0] + seconds

    return is_time


def read_resumed_step(log: str) -> int | None:
    """Returns the step at which a launch resumed, 0 where it started anew, None where its log has neither."""
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


def list_shared_memory() -> set[str]:
    """Returns the names of all shared memory and semaphores of Python's."""
    return {path.name for path in SHARED_MEMORY.glob("*") if path.name.startswith(("psm_", "sem.mp-"))}


def find_left_behind(before: set[str]) -> list[str]:
    """Returns what is new in the shared memory, stays there, and belongs to no living process."""
    new = list_shared_memory() - before
    time.sleep(2)  # what other programs hand over just now is gone by then
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            new -= {pathlib.Path(part.path).name for part in process.memory_maps()}
    return sorted(new & list_shared_memory())
