"""Does a run that is killed at any moment, again and again, end with the bits of an undisturbed one?

    python -m benchmarks.chaos --data_dir=DIR --kills=30 > docs/results/chaos.json

Each case is run once undisturbed. Then it is killed with SIGKILL, at a random time or as soon as a save, an evaluation
or the last row is seen, and launched again until it ends. Both must leave the same bits, every launch must resume from
the newest whole checkpoint, and what a killed launch started must be gone soon after it. Without --data_dir the cases
train on the embedded digits, else on CIFAR10. Exit code 1 where any of it fails.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from benchmarks import launches
from benchmarks.launches import Kill, Launch, UndisturbedRun, Workdir

COMMON = {
    "train.total_epochs": 10.0,
    "stop.train_accuracy": 0.0,
    "evaluate.every_epochs": 1.0,
    "checkpoint.every_epochs": 0.5,
    "log.every_steps": 1,
}
CASES: dict[str, dict[str, Any]] = {
    "mlp_1x512, resident": {"model.name": "mlp_1x512", "data.feed": "resident"},
    "mlp_1x512, streamed by 2 workers": {
        "model.name": "mlp_1x512",
        "data.feed": "streamed",
        "data.workers": 2,
        "evaluate.every_epochs": 5.0,  # it decodes all images of both splits
    },
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


def main() -> int:
    """Prints JSON; returns the exit code."""
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
        if arguments.data_dir:  # images are decoded now, so that all starts take the same time
            first = Case("first", config, {**shared, "train.total_epochs": 0.1}, pathlib.Path(folder) / "first")
            first.try_out(0, random.Random(0))
        for i, (name, fields) in enumerate(CASES.items()):
            case = Case(name, config, {**shared, **fields}, pathlib.Path(folder) / str(i))
            cases[name] = case.try_out((arguments.kills + i) // len(CASES), random.Random(f"{arguments.seed} {name}"))
            kills += case.kills
            print(f"{name}: {len(case.kills)} kills, failures: {case.failures or 'none'}", file=sys.stderr)
    result = {
        "data": "CIFAR10" if arguments.data_dir else "embedded digits, as no --data_dir was given",
        "seed": arguments.seed,
        "cores": os.cpu_count(),
        "kills": len(kills),
        "hit": dict(Counter(kill.phase for kill in kills).most_common()),
        "seen to go on where saved": sum(kill.resumed_at == kill.saved for kill in kills),
        f"processes alive {launches.LEFT_SECONDS:g} s after": sum(kill.alive for kill in kills),
        "equal": all(case["equal"] for case in cases.values()),
        "failures": [f"{name}: {failure}" for name, case in cases.items() for failure in case["failures"]],
        "seconds": round(time.monotonic() - began),
        "cases": cases,
        "each kill": [vars(kill) for kill in kills],
    }
    print(json.dumps(result, indent=2))
    return 1 if result["failures"] else 0


class Case:
    """One way to train: an undisturbed run, and runs that are killed."""

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
        memory = launches.list_shared_memory()
        quiet = Workdir(self._folder / "quiet")
        launch = Launch(self._words, quiet)
        if launch.wait(None) != 0:
            raise SystemExit(f"{self._name}: the undisturbed run failed.\n{launch.log()}")
        seconds, expected = launch.age(), digests(quiet.folder)
        rounds = 0
        while len(self.kills) < quota and not self.failures:
            rounds += 1
            run = Workdir(self._folder / f"killed-{rounds}")
            self._disturb(run, UndisturbedRun(quiet, seconds), quota - len(self.kills), rng)
            self.failures += [] if self.failures else differences(expected, digests(run.folder))
        equal = not self.failures
        for watcher in self._watchers:
            watcher.join()
        self.failures += [f"{kill.alive} processes outlived {kill}" for kill in self.kills if kill.alive]
        if left := launches.find_left_behind(memory):
            self.failures.append(f"left behind in {launches.SHARED_MEMORY}: {', '.join(left)}")
        return {
            "kills": len(self.kills),
            "runs that were killed": rounds,
            "steps": quiet.last_row()["step"],
            "seconds in peace": round(seconds, 1),
            "equal": equal,
            "sha256": expected,
            "failures": self.failures,
        }

    def _disturb(self, run: Workdir, undisturbed: UndisturbedRun, quota: int, rng: random.Random) -> None:
        """Launches a run until it ends, and kills it up to `quota` times on the way, spread over its steps."""
        aims = list(launches.TURNS) * (quota // len(launches.TURNS) + 1)
        rng.shuffle(aims)
        before: Kill | None = None
        for i, aim in enumerate([*aims[: quota - 1], "end", None]):
            launch = Launch(self._words, run)
            target = int((i + rng.random()) / quota * undisturbed.last_step)
            exit_code = launch.wait(launches.make_trigger(aim, launch, undisturbed, target, rng) if aim else None)
            if exit_code is None:
                launch.kill()
            self._check(launch, exit_code, before)
            if exit_code is not None or self.failures:
                return
            before = Kill(
                case=self._name,
                aim=aim,
                seconds=round(launch.age(), 2),
                phase=launch.phase(undisturbed),
                step=run.last_row()["step"],
                saved=run.saved_step(),
            )
            self.kills.append(before)
            self._watchers.append(threading.Timer(launches.LEFT_SECONDS, launches.count_alive, (before, launch.mark)))
            self._watchers[-1].start()

    def _check(self, launch: Launch, exit_code: int | None, before: Kill | None) -> None:
        """Notes where a launch went on after the kill before it, and what is wrong with it."""
        log = launch.log()
        if before:
            before.resumed_at = before.saved if "Nothing to do" in log else launches.read_resumed_step(log)
            if before.resumed_at not in (None, before.saved):
                self.failures.append(f"a launch went on at step {before.resumed_at} after {before}")
        if exit_code or "is damaged" in log:
            self.failures.append(f"exit code {exit_code}, and the last words: {log[-1000:]}")


def digests(folder: pathlib.Path) -> dict[str, str]:
    """Returns the SHA-256 of what a run left, clocks apart: its last state, its rows, its data, its figure, ..."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    jax.config.update("jax_platforms", "cpu")  # accelerators are for the runs
    manager = ocp.CheckpointManager(folder / "checkpoints")
    parts = {name: ocp.args.StandardRestore() for name in ("state", "presentations")}
    content = ocp.args.Composite(history=ocp.args.JsonRestore(), **parts)
    found = manager.restore(manager.latest_step(), args=content)
    manager.close()
    state = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path([found[name] for name in parts]):
        leaf = np.asarray(leaf, order="C")
        state.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
        state.update(leaf.tobytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["summary"]["seconds"]
    compared = {name: manifest[name] for name in ("status", "fingerprints", "plan", "summary")}
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    names = [name for name in files if not name.startswith(("checkpoints/", "tensorboard/"))]
    names += [path.name for path in (folder / "checkpoints").iterdir()]
    texts = {"history": found["history"]["history"], "manifest.json": compared, "names of files": sorted(names)}
    whole = ["metrics.jsonl", "figures/learning_curve.png", "predictions.npz"]
    whole += ["presentations.npz", *(path.name for path in folder.glob("corruption*.npz"))]
    whole += [path.name for path in folder.glob("examples_*.bin")]
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
