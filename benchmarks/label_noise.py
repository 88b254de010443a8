"""Measures how far the labels of each kind of noise are from what it declares, on a training set.

    python -m benchmarks.label_noise --data_dir=DIR > docs/results/label_noise.json

`most_standard_errors` is that of the cell of P(given | true) that is farthest off, of those where `LEAST` labels or
more are expected; fewer have no normal distribution, and are `rare_cells`. Labels that are declared impossible are
counted. Of `instance` the diagonal alone is declared.
"""

import argparse
import json
import os
import pathlib
import tempfile
from typing import Any

import numpy as np

from rethink.configs import cifar_random
from rethink.data.corruption.rates import declare_labels
from rethink.data.registry import open_dataset
from rethink.experiment.input_pipeline import InputPipeline

LEAST = 20
KINDS = {
    **{kind: (0.2, 0.4) for kind in ("uniform", "symmetric", "pair_flip", "asymmetric")},
    "matrix": (1.0, 0.5),
    "file": (1.0, 0.5),
    "instance": (0.1, 0.2, 0.3, 0.4),
}


def main() -> None:
    """Measures and prints JSON."""
    parser = argparse.ArgumentParser(description="How far labels are from what their noise declares.")
    parser.add_argument("--data_dir", default="", help="directory of prepared TFDS sets")
    parser.add_argument("--data", default="cifar10", help="a data set of ten classes")
    arguments = parser.parse_args()

    config = cifar_random.get_config("mlp_1x512")
    config.data.dir, config.data.name = arguments.data_dir, arguments.data
    dataset = open_dataset(config.data)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(pathlib.Path(folder), dataset.num_classes, dataset.full_train_examples)
        for kind, probabilities in KINDS.items():
            for probability in probabilities:
                config.corruption.labels, config.corruption.label_probability = files.get(kind, kind), probability
                results.append({"kind": kind, "p": probability, **measure(InputPipeline(config, dataset))})
    examples = len(dataset.train.ids)
    facts = {"data": dataset.name, "examples": examples, "cores": os.cpu_count()}
    rows = ",\n".join(f"    {json.dumps(row)}" for row in results)  # a line for each
    print(f'{json.dumps(facts, indent=2)[:-2]},\n  "kinds": [\n{rows}\n  ]\n}}')


def write_files(folder: pathlib.Path, classes: int, examples: int) -> dict[str, str]:
    """Returns `corruption.labels` of a random matrix, and of a file with a random label for each example."""
    rng = np.random.default_rng(0)
    np.savetxt(folder / "matrix.csv", rng.dirichlet(np.full(classes, 0.5), classes), delimiter=",")
    np.savez(folder / "labels.npz", label=rng.integers(0, classes, examples))
    return {"matrix": f"matrix:{folder / 'matrix.csv'}", "file": f"file:{folder / 'labels.npz'}"}


def measure(pipeline: InputPipeline) -> dict[str, Any]:
    """Returns rates and distances of the labels of the training set."""
    train = pipeline.corrupt_splits()["train"]
    rates = pipeline.compare_rates()["train"]
    counts = np.array(rates.pop("label_counts"))
    _, declared = declare_labels(pipeline.corruption_spec("train"), train.ids, train.true_labels)
    of_class = counts.sum(axis=1, keepdims=True)
    error = np.sqrt(declared * (1 - declared) / of_class)
    off = np.divide(abs(counts / of_class - declared), error, where=error > 0, out=np.zeros_like(error))
    enough = of_class * np.minimum(declared, 1 - declared) >= LEAST
    rare = (error > 0) & ~enough
    return {
        **rates,
        "cells": int(enough.sum()),
        "most_standard_errors": round(float(off[enough].max()), 2),
        "rare_cells": int(rare.sum()),
        "rare_most_standard_errors": round(float(off[rare].max(initial=0)), 2),
        "impossible": int(counts[declared == 0].sum()),
    }


if __name__ == "__main__":
    main()
