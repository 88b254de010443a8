"""Measures how long a start takes and how much memory a run, of main.py as users start it.

A start is that of the digits with random labels, a run one epoch of CIFAR10.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from benchmarks import rows, workers
from benchmarks.parts.settings import Settings

POLL_SECONDS = 0.002
IMPORT = "import time; t = time.perf_counter(); import rethink.experiment.run; print(time.perf_counter() - t)"


def starts(settings: Settings) -> list[rows.Row]:
    """Returns the seconds from launch to the first step's row, with a cold and a warm cache of compiled functions, and
    those of importing this package."""
    cold, warm, imports = [], [], []
    for _ in range(settings.repeats):
        with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
            cold.append(_first_step(pathlib.Path(folder)))
            warm.append(_first_step(pathlib.Path(folder)))
        ended = subprocess.run([sys.executable, "-c", IMPORT], cwd=workers.ROOT, stdout=subprocess.PIPE, check=True)
        imports.append(float(ended.stdout))
    what = "digits_random: launch to first step"
    return [
        rows.row(f"{what}, compile cache cold", "ours", "s", cold, seconds=cold),
        rows.row(f"{what}, compile cache warm", "ours", "s", warm, seconds=warm),
        rows.row("import of rethink.experiment", "ours", "s", imports, seconds=imports),
    ]


def _first_step(folder: pathlib.Path) -> float:
    """Returns the seconds to the row of the first step of a launch, which then runs to its end."""
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    words = ["log.every_steps=1", "train.total_epochs=1.0", f"hardware.compilation_cache={folder / 'compiled'}"]
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "main.py", *(f"--config.{word}" for word in words), f"--workdir={run}"],
            cwd=workers.ROOT,
            stdout=said,
            stderr=said,
        )
        metrics, seconds = run / "metrics.jsonl", 0.0
        while not seconds and process.poll() is None:
            time.sleep(POLL_SECONDS)
            if metrics.exists() and any(json.loads(line)["step"] for line in metrics.read_text().split("\n")[:-1]):
                seconds = time.perf_counter() - began
        if process.wait() or not seconds:
            said.seek(0)
            raise RuntimeError(f"A launch of main.py failed.\n{said.read().decode(errors='replace')[-3000:]}")
    return seconds


def memory(settings: Settings) -> list[rows.Row]:
    """Returns the peak memory of an epoch of mlp_1x512 on resident CIFAR10, and the seconds of opening the data set,
    and of reading it decoded for the first time and from the cache."""
    peaks, first, second, opening = [], [], [], []
    for _ in range(settings.repeats):
        with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
            cache = str(pathlib.Path(folder, "cache"))
            options = {"data_dir": settings.data_dir, "examples": settings.examples, "cache_dir": cache}
            first.append(workers.ask_once("benchmarks.ours.data", "read", **options)["seconds"])
            again = workers.ask_once("benchmarks.ours.data", "read", **options)
            second.append(again["seconds"])
            opening.append(again["opening"])
            peaks.append(_peak_mib(settings, folder, cache))
    return [
        rows.row("mlp_1x512: peak memory of a run, resident", "ours", "MiB", peaks),
        rows.row("CIFAR10: opened, TFDS imported", "ours", "s", opening, seconds=opening),
        rows.row("CIFAR10, both splits: decoded for the first time", "ours", "s", first, seconds=first),
        rows.row("CIFAR10, both splits: from the cache", "ours", "s", second, seconds=second),
    ]


def _peak_mib(settings: Settings, folder: str, cache: str) -> float:
    """Returns the most memory that an epoch's launch of main.py has."""
    words = [
        f"data.dir={settings.data_dir}",
        f"data.cache_dir={cache}",
        f"data.train_examples={settings.examples}",
        "data.feed=resident",
        "train.total_epochs=1.0",
    ]
    command = ["main.py", "--config=configs/cifar_random.py:mlp_1x512", f"--workdir={folder}/run"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, *command, *(f"--config.{word}" for word in words)],
            cwd=workers.ROOT,
            stdout=said,
            stderr=said,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"A launch of main.py failed.\n{said.read().decode(errors='replace')[-3000:]}")
    return usage.ru_maxrss / workers.MIB_OF_RSS
