"""Measures whether the runs of a sweep are faster trained together than one after the other.

    python -m benchmarks.groups --data_dir=DIR > docs/results/groups_digits.json

A sweep over the rate of random labels on CIFAR10 (mlp_1x512), or without DIR on the embedded digits (mlp_tiny): all its
runs as a group, and each by itself, in turns; a first turn, which compiles, is left out. `whole` is the time of all
runs with what they read and draw; `steps` that between the first and the last training row of all runs, of a group that
of the run that ends first, before the others' figures are drawn.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

from ml_collections import ConfigDict

from rethink.configs import cifar_random, digits_random
from rethink.experiment.run import Launch, run_experiment, run_group
from rethink.results import records
from rethink.schema import grid

Seconds = dict[str, float]
Runs = list[tuple[ConfigDict, str]]
LAUNCH = Launch(quiet=True)


def main() -> None:
    """Measures and prints JSON."""
    parser = argparse.ArgumentParser(description="Are runs faster trained together than one after the other?")
    parser.add_argument("--data_dir", default="", help="directory of prepared TFDS sets; the embedded digits without")
    parser.add_argument("--model", default="", help="mlp_1x512, on digits mlp_tiny")
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--train_examples", type=int, default=0, help="a subset; 0 for all")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    config = table(arguments)
    sweep = grid.expand_grid(config)
    found: dict[str, list[Seconds]] = {"group": [], "alone": []}
    for turn in range(arguments.turns + 1):
        for name, seconds in found.items():
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
                runs = [(run.config, str(pathlib.Path(folder) / run.folder)) for run in sweep]
                measured = measure(name, runs)
            if turn:
                seconds.append(measured)
    what = {"data": config.data.name, "model": config.model.name, "runs": len(sweep), "cores": os.cpu_count()}
    how = {name: getattr(arguments, name) for name in ("train_examples", "epochs")}
    print(json.dumps({**what, **how, "n": arguments.turns, **summarize(found)}, indent=2))


def table(arguments: argparse.Namespace) -> ConfigDict:
    """Returns the sweep, all of whose runs may be one group; they are evaluated at the start and at the end."""
    if arguments.data_dir:
        config = cifar_random.get_config(arguments.model or "mlp_1x512")
        config.data.dir = arguments.data_dir
    else:
        config = digits_random.get_config(arguments.model or "mlp_tiny")
    rates = (str(number / max(arguments.runs - 1, 1)) for number in range(arguments.runs))
    config.axes = f"corruption.label_probability={','.join(rates)}"
    config.data.train_examples = arguments.train_examples
    config.train.total_epochs = config.evaluate.every_epochs = float(arguments.epochs)
    config.stop.train_accuracy = 0.0
    config.log.every_steps = 10
    return config


def measure(name: str, runs: Runs) -> Seconds:
    """Returns what all runs took, as a group or alone."""
    began = time.perf_counter()
    if name == "group":
        run_group(runs, LAUNCH)
    else:
        for config, folder in runs:
            run_experiment(config, folder, LAUNCH)
    whole = time.perf_counter() - began
    steps = [steps_seconds(pathlib.Path(folder)) for _, folder in runs]
    return {"whole": whole, "steps": min(steps) if name == "group" else sum(steps)}


def steps_seconds(folder: pathlib.Path) -> float:
    """Returns the seconds between a run's first and last training row."""
    rows = [row for row in records.read_rows(folder / "timings.jsonl") if row["kind"] == "train"]
    return rows[-1]["seconds"] - rows[0]["seconds"]


def summarize(found: dict[str, list[Seconds]]) -> dict[str, dict[str, dict[str, float]]]:
    """Returns the spread of the seconds of both, and of their ratio: above 1 the group is faster."""
    summary = {}
    for part in ("whole", "steps"):
        values = {f"{name} seconds": [one[part] for one in times] for name, times in found.items()}
        values["alone / group"] = [a[part] / g[part] for a, g in zip(found["alone"], found["group"], strict=True)]
        summary[part] = {name: spread(several) for name, several in values.items()}
    return summary


def spread(values: list[float]) -> dict[str, float]:
    """Returns median, least and greatest."""
    return {name: round(of(values), 2) for name, of in (("median", statistics.median), ("min", min), ("max", max))}


if __name__ == "__main__":
    main()
