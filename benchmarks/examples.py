"""What do the records of single examples cost?

    python -m benchmarks.examples --data_dir=DIR > docs/results/examples.json

Two runs of mlp_1x512 on all of CIFAR10 in one process, with log.examples=all and =none, make a call of steps each in
turns, which swap their order; then an evaluation of the training examples each, of which "all" writes the row. An epoch
is its calls and one evaluation. Compared are medians of the differences of neighbours: in processor time, which other
programs on the machine change little, and in real time.
"""

import argparse
import json
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rethink.configs import cifar_random
from rethink.experiment.setup import set_up_run
from rethink.results import example_history
from rethink.training import presentations

WAYS = ("all", "none")  # of log.examples
CLOCKS = {"processor": time.process_time, "real": time.perf_counter}


def main() -> None:
    """Measures and prints JSON."""
    parser = argparse.ArgumentParser(description="What do the records of single examples cost?")
    parser.add_argument("--data_dir", required=True, help="directory with cifar10")
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--evaluations", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = {way: _Run(arguments.data_dir, way, pathlib.Path(folder)) for way in WAYS}
        call = compare({way: run.train for way, run in runs.items()}, arguments.calls)
        evaluation = compare({way: run.evaluate for way, run in runs.items()}, arguments.evaluations)
        began = time.perf_counter()
        runs["all"].finish()
        at_end = time.perf_counter() - began
    plan = runs["all"].setup.plan
    calls = plan.steps_per_epoch / plan.steps_per_call
    epoch = {clock: calls * call[clock]["none"] + evaluation[clock]["none"] for clock in CLOCKS}
    cost = {clock: calls * call[clock]["more"] + evaluation[clock]["more"] for clock in CLOCKS}
    result = {
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "seconds of a call": {"n": arguments.calls, "steps": plan.steps_per_call, **call},
        "seconds of an evaluation": {"n": arguments.evaluations, **evaluation},
        "seconds of an epoch": epoch,
        "cost, % of an epoch": {clock: 100 * cost[clock] / epoch[clock] for clock in CLOCKS},
        "seconds to write presentations.npz, once": at_end,
    }
    print(json.dumps(result, indent=2))


def compare(functions: dict[str, Callable[[], None]], turns: int) -> dict[str, dict[str, Any]]:
    """Returns clock -> medians over turns: seconds of "none", and how many "all" takes more, with the middle half."""
    seconds: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for turn in range(-1, turns):  # the first compiles
        for way in WAYS if turn % 2 else reversed(WAYS):
            began = {clock: read() for clock, read in CLOCKS.items()}
            functions[way]()
            if turn >= 0:
                seconds[way].append({clock: read() - began[clock] for clock, read in CLOCKS.items()})
    compared = {}
    for clock in CLOCKS:
        of = {way: [turn[clock] for turn in seconds[way]] for way in WAYS}
        more = [one - other for one, other in zip(*of.values(), strict=True)]
        first, median, third = statistics.quantiles(more, n=4)
        compared[clock] = {"none": statistics.median(of["none"]), "more": median, "middle half": [first, third]}
    return compared


class _Run:
    """One of the two runs."""

    def __init__(self, data_dir: str, way: str, folder: pathlib.Path):
        config = cifar_random.get_config("mlp_1x512")
        config.data.dir, config.log.examples = data_dir, way
        self.setup, self._folder, self._step = set_up_run(config), folder, 0
        self._state = self.setup.compiled.place(self.setup.start)

    def train(self) -> None:
        """Makes a call, and waits for it."""
        compiled, steps = self.setup.compiled, self.setup.plan.steps_per_call
        self._state, sums = compiled.train_call(self._state, self._step, steps)
        compiled.fetch(sums)
        self._step += steps

    def evaluate(self) -> None:
        """Evaluates the training examples, and writes what is kept of them."""
        _, examples = self.setup.compiled.evaluate(self._state, "train")
        if examples is not None:
            row = example_history.make_row(self._step, 10, examples)
            example_history.append_row(self._folder / "examples_train.bin", 10, row)

    def finish(self) -> None:
        """Writes what is written at the end."""
        found = presentations.to_record(self.setup.compiled.fetch(self._state.presentations))
        np.savez_compressed(self._folder / "presentations.npz", **found._asdict())


if __name__ == "__main__":
    main()
