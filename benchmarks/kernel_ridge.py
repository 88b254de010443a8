"""How do time and memory of exact kernel interpolation compare with scikit-learn's KernelRidge?

    python -m benchmarks.kernel_ridge --data_dir=DIR > docs/results/kernel_ridge.json

The same work on MNIST's pixels: fit `examples` of train, one-hot targets, Gaussian kernel, no ridge, and predict test.
Each turn is a process of its own, in turns, so that peaks of memory do not add up. KernelRidge gets float64, as its
documentation's examples do, and float32, with which its solution is one of float32 throughout; ours has float64's
accuracy by refinement. Ours leaves the estimate of the condition out, which KernelRidge has none of.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import psutil

GAMMA = 0.02  # of the authors' demo, for pixels in 0..1
Values = Callable[[], np.ndarray]
SOLVERS = ("rethink", "KernelRidge float64", "KernelRidge float32")


def main() -> None:
    """Measures and prints JSON."""
    parser = argparse.ArgumentParser(description="How does kernel interpolation compare with scikit-learn's?")
    parser.add_argument("--data_dir", required=True, help="directory with mnist")
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--solver", choices=SOLVERS, help=argparse.SUPPRESS)  # one turn, in a process of its own
    parser.add_argument("--save", help=argparse.SUPPRESS)  # where its predictions go
    arguments = parser.parse_args()
    if arguments.solver:
        print(json.dumps(one_turn(arguments)))
        return
    turns: dict[str, list[dict[str, float]]] = {solver: [] for solver in SOLVERS}
    predictions = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.turns):
            for solver, found in turns.items():
                file = pathlib.Path(folder) / f"{solver}.npy"
                words = [sys.executable, "-m", "benchmarks.kernel_ridge", *sys.argv[1:]]
                words += [f"--solver={solver}", f"--save={file}"]
                found.append(json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout))
                predictions[solver] = np.load(file)
    print(json.dumps(summary(arguments, turns, predictions), indent=2))


def one_turn(arguments: argparse.Namespace) -> dict[str, float]:
    """Returns seconds of fit and prediction, and MiB that the process held before, and at most."""
    from rethink.configs.paper import table3
    from rethink.data.registry import open_dataset

    config = table3.get_config().data
    config.name, config.dir = "mnist", arguments.data_dir
    data = open_dataset(config)
    train, test = data.train.load(), data.test.load()
    ours = arguments.solver == "rethink"
    dtype = np.dtype("float32" if ours else arguments.solver.split()[1])
    rows, others = (
        images.reshape(len(images), -1).astype(dtype) / dtype.type(255)
        for images in (train.images[: arguments.examples], test.images)
    )
    targets = np.eye(10)[train.labels[: arguments.examples]]
    solve = with_rethink if ours else with_scikit_learn
    solve(rows[:200], targets[:200], others[:1])  # what is imported and compiled is no part of the work
    before = psutil.Process().memory_info().rss / 2**20
    began = time.perf_counter()
    values, fitted = solve(rows, targets, others)
    seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    np.save(arguments.save, values)
    return {
        "seconds": seconds,
        "MiB before": before,
        "peak MiB": peak,
        "train residual": float(np.abs(fitted() - targets).max()),
        "test error %": float(100 * (values.argmax(axis=1) != test.labels).mean()),
    }


def with_rethink(rows: np.ndarray, targets: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, Values]:
    """Returns (predictions at `others`, () -> values at `rows`)."""
    from rethink.theory.kernels import interpolation, kernel_matrix

    kernel = kernel_matrix.Kernel("gaussian", GAMMA)
    solved = interpolation.fit_matrix(kernel_matrix.make_matrix(kernel, rows), targets, ridge=0.0, condition=False)
    predictions = interpolation.predict_matrix(solved, kernel_matrix.make_matrix(kernel, others, rows))
    return predictions, lambda: solved.fitted


def with_scikit_learn(rows: np.ndarray, targets: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, Values]:
    """Returns as `with_rethink`."""
    from sklearn.kernel_ridge import KernelRidge

    model = KernelRidge(alpha=0.0, kernel="rbf", gamma=GAMMA).fit(rows, targets)
    return model.predict(others), lambda: model.predict(rows)


def summary(arguments: argparse.Namespace, turns: dict, predictions: dict) -> dict:
    """Returns medians and extremes, the ratios of ours to theirs in each turn, and how far predictions differ."""
    ours = turns["rethink"]
    report = {"cores": os.cpu_count(), "examples": arguments.examples, "n": arguments.turns, "solvers": {}}
    for solver, found in turns.items():
        row = {name: float(f"{statistics.median(turn[name] for turn in found):.4g}") for name in found[0]}
        row["seconds, least and most"] = [round(pick(turn["seconds"] for turn in found), 2) for pick in (min, max)]
        if solver != "rethink":
            row["time of rethink / its"] = ratio(ours, found, lambda turn: turn["seconds"])
            row["memory of rethink / its"] = ratio(ours, found, lambda turn: turn["peak MiB"] - turn["MiB before"])
            row["largest difference of predictions"] = float(np.abs(predictions[solver] - predictions["rethink"]).max())
            same = predictions[solver].argmax(axis=1) == predictions["rethink"].argmax(axis=1)
            row["same class %"] = float(100 * same.mean())
        report["solvers"][solver] = row
    return report


def ratio(ours: list, theirs: list, measure) -> dict[str, float]:
    """Returns the ratios turn by turn: median and extremes."""
    found = [measure(own) / measure(other) for own, other in zip(ours, theirs, strict=True)]
    return {name: round(pick(found), 3) for name, pick in (("median", statistics.median), ("min", min), ("max", max))}


if __name__ == "__main__":
    main()
