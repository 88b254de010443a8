"""Owns launches of main.py that can be killed: when, what each was at, where the next goes on, what it leaves behind.

Refuses to judge: chaos.py does.
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
SHARED_MEMORY = pathlib.Path("/dev/shm")  # of Linux; elsewhere there is nothing to see
MARK = "RETHINK_CHAOS"  # the environment variable that tells a launch's processes
POLL_SECONDS = 0.005
LEFT_SECONDS = 10.0  # so long after a kill, what the killed launch started is looked for
HUNG_SECONDS = 1800.0


AIMS = {  # what is waited for -> a random time up to so many seconds passes before the kill
    "anywhere": None,  # of the whole time of the undisturbed run
    "save": 0.02,
    "step": 0.02,
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
        self._begun_before, self._drafts_before = run.started(), run.drafts()
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
        return self._run.started() != self._begun_before


def make_trigger(aim: str, launch: Launch, peace: Peace, target: int, rng: random.Random) -> Callable[[], bool]:
    """Returns the function that says when to kill a launch; an `aim` at files is taken from step `target` on."""
    whole = {"anywhere": peace.seconds, "start": peace.start_seconds}
    seconds = rng.uniform(0, whole.get(aim) or AIMS[aim])
    seen: list[float] = []  # the age at which the aim was met

    def now() -> bool:
        if aim in whole:
            return launch.age() >= seconds
        if not seen and launch.step() >= target and launch.phase(peace) == aim:
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
