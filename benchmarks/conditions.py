"""Measures what each randomization costs, once and in every epoch.

    python -m benchmarks.conditions --data_dir=DIR > docs/results/conditions.json

Corrupts the training set once for each condition, then trains parts of an epoch in turn, condition after condition, so
that noise of the machine falls on all alike.
"""

import argparse
import json
import os
import statistics
import time

import jax

from rethink.configs import cifar_random
from rethink.data.corruption.moments import measure_moments, no_moments, tally_values
from rethink.data.corruption.noise import DataFacts
from rethink.data.corruption.spec import corrupt_split, make_corruption_spec, resolve_seed
from rethink.data.registry import open_dataset
from rethink.experiment.setup import Setup, set_up_run
from rethink.training import devices

CONDITIONS = {
    "true labels": ("none", 1.0, "none"),
    "random labels": ("uniform", 1.0, "none"),
    "partial labels": ("uniform", 0.5, "none"),
    "shuffled pixels": ("none", 1.0, "shuffled_pixels"),
    "random pixels": ("none", 1.0, "random_pixels"),
    "gaussian": ("none", 1.0, "gaussian"),
}


def main() -> None:
    """Measures and prints JSON."""
    parser = argparse.ArgumentParser(description="What each randomization costs.")
    parser.add_argument("--data_dir", default="", help="directory of prepared TFDS sets")
    parser.add_argument("--model", default="mlp_1x512")
    parser.add_argument("--steps", type=int, default=100, help="steps in one turn")
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()

    results, setups, states = {}, {}, {}
    for name, (labels, probability, pixels) in CONDITIONS.items():
        config = cifar_random.get_config(arguments.model)
        config.data.dir = arguments.data_dir
        config.corruption.labels, config.corruption.label_probability = labels, probability
        config.corruption.pixels = pixels
        results[name] = {"corrupt_seconds": corrupt_seconds(config)}
        setups[name] = set_up_run(config)
        states[name] = advance(setups[name], devices.replicate(setups[name].start), 1)

    times: dict[str, list[float]] = {name: [] for name in CONDITIONS}
    for _ in range(arguments.turns):
        for name, setup in setups.items():
            began = time.perf_counter()
            states[name] = advance(setup, states[name], arguments.steps)
            times[name].append(1000 * (time.perf_counter() - began) / arguments.steps)
    for name, milliseconds in times.items():
        results[name]["step_milliseconds"] = {
            "median": statistics.median(milliseconds),
            "min": min(milliseconds),
            "max": max(milliseconds),
        }
    print(json.dumps({"model": arguments.model, "cores": os.cpu_count(), "n": arguments.turns, **results}, indent=2))


def corrupt_seconds(config) -> float:
    """Returns the seconds of corrupting the training set once, moments and compilation included."""
    data = open_dataset(config.data)
    split = data.train.load()
    spec = make_corruption_spec(config.corruption, DataFacts(data.num_classes, resolve_seed(config)), train=True)
    began = time.perf_counter()
    if config.corruption.pixels == "gaussian":
        moments = measure_moments(tally_values(split.images))
    else:
        moments = no_moments(split.images.shape[-1])
    corrupt_split(split, spec, moments)
    return round(time.perf_counter() - began, 2)


def advance(setup: Setup, state, steps: int):
    """Returns the state after `steps` more steps, waited for."""
    for step in range(steps):
        state, _ = setup.compiled.train_call(state, step, 1)
    return jax.block_until_ready(state)


if __name__ == "__main__":
    main()
