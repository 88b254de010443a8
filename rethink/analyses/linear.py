"""Owns the study of section 5: SGD on a linear model finds the interpolant of least norm, on a data set's features.

Refuses theory: it joins theory/linear.py, descent.py, shrinkage.py and random_features.py to data and records.
"""

import math
from typing import Any

import numpy as np

from rethink.analyses.analysis import Analysis, one_hot
from rethink.figures import theory
from rethink.theory import memory
from rethink.theory.linear import gradient_descent, least_norm, random_features, regularization_paths

FEATURES = ("pixels", "fourier", "relu")
PENALTIES = np.geomspace(1e2, 1e-6, 9)  # of ridge, on the way to none
STOPS = 9  # steps of gradient descent that are looked at, evenly spaced in their logarithm


def run(study: Analysis) -> dict[str, Any]:
    """Solves, descends from zero and from a random start, and compares; returns the summary of the run.

    Raises:
      UserError: too little memory, and as theory/linear.py and descent.py.
    """
    asked, seed, report = study.config.linear, study.config.seed, study.stages.report
    _check_memory(study)
    features = _features(study)
    targets = one_hot(study.splits["train"].labels, study.num_classes) - 1 / study.num_classes
    report("singular values", 0, 1)
    basis = least_norm.decompose_features(features["train"])
    report("singular values", 1, 1)
    solved = least_norm.solve_least_norm(basis, targets)
    library = np.linalg.lstsq(features["train"], targets, rcond=None)[0]
    starts: dict[str, np.ndarray | float] = {
        "zero": 0.0,
        "a random start": gradient_descent.draw_start(solved.weights.shape, scale=asked.start_scale, seed=seed),
    }
    rate, momentum = gradient_descent.tune_heavy_ball(basis)
    runs = {}
    for number, (name, start) in enumerate(starts.items()):
        report("SGD", number, len(starts))
        runs[f"SGD from {name}"] = gradient_descent.run_sgd(
            basis,
            targets,
            start=start,
            learning_rate=gradient_descent.tune_sgd_rate(basis, batch_size=asked.batch_size),
            batch_size=asked.batch_size,
            momentum=0.0,
            steps=asked.sgd_steps,
            order="shuffled",
            seed=seed,
        )
        report("SGD", number + 1, len(starts))
        report("gradient descent", number, len(starts))
        runs[f"GD from {name}, momentum {momentum:.3f}"] = gradient_descent.run_gradient_descent(
            basis, targets, start=start, learning_rate=rate, momentum=momentum, steps=asked.gradient_steps
        )
        report("gradient descent", number + 1, len(starts))
    paths = {name: _path(found) for name, found in runs.items()}
    stem = study.record.subfolder("figures") / "least_norm"
    theory.draw_least_norm_paths(paths, stem, title=study.config.name)
    evaluation = {f"{name}_accuracy": _accuracy(study, features, solved.weights, name) for name in ("train", "test")}
    agreement = least_norm.measure_relative(solved.weights - library, library)
    return {
        "evaluation": evaluation,
        "least_norm": {
            "norm": solved.norm,
            "residual": solved.residual,
            "condition": solved.condition,
            "rank": solved.rank,
            "from_lstsq": agreement,
        },
        "runs": paths,
        "shrinkage": _shrinkage(basis, targets, asked.gradient_steps),
        "rows": _rows(solved, agreement, evaluation, runs),
    }


def _check_memory(study: Analysis) -> None:
    asked, (train, test) = study.config.linear, (len(study.splits[name].ids) for name in ("train", "test"))
    pixels = math.prod(study.splits["train"].images.shape[1:])
    dimensions = pixels if asked.features == "pixels" else asked.count
    needed = least_norm.predict_solve_bytes(train, dimensions) + 8 * test * dimensions + 12 * (train + test) * pixels
    memory.require_memory("A linear model", needed, train, power=2 if train < dimensions else 1)


def _features(study: Analysis) -> dict[str, np.ndarray]:
    """Returns float64 [n, d] of each split: the pixels, or random features of them; the map is fixed on train."""
    asked, pixels = study.config.linear, {name: study.rows(name).astype(np.float64) for name in ("train", "test")}
    shared = {"count": asked.count, "seed": study.config.seed}
    if asked.features == "fourier":
        bandwidth = asked.bandwidth * random_features.measure_median_distance(pixels["train"][:1000])
        return {
            name: random_features.draw_fourier_features(rows, bandwidth=bandwidth, **shared)
            for name, rows in pixels.items()
        }
    if asked.features == "relu":
        return {name: random_features.draw_relu_features(rows, **shared) for name, rows in pixels.items()}
    return pixels


def _path(found: gradient_descent.Trajectory) -> dict[str, Any]:
    """Returns a run of descent as JSON has it; NaN, which it has not, as None."""
    numbers = {
        name: None if math.isnan(value) else value
        for name, value in (("predicted_rate", found.predicted_rate), ("measured_rate", found.measured_rate))
    }
    lists = ("steps", "distances", "from_least_norm", "residuals", "outside")
    return {**{name: getattr(found, name).tolist() for name in lists}, **numbers}


def _accuracy(study: Analysis, features: dict[str, np.ndarray], weights: np.ndarray, split: str) -> float:
    return float((np.argmax(features[split] @ weights, axis=1) == study.splits[split].labels).mean())


def _shrinkage(basis: least_norm.Basis, targets: np.ndarray, steps: int) -> dict[str, Any]:
    """Returns norms and distances to the least-norm interpolant along weight decay and along early stopping."""
    rate = 1 / least_norm.compute_curvature(basis).eigenvalues[0]
    stops = np.unique(np.geomspace(1, steps, STOPS).astype(np.int64))
    found = {
        "weight_decay": regularization_paths.trace_ridge(basis, targets, PENALTIES),
        "early_stopping": regularization_paths.trace_early_stopping(basis, targets, learning_rate=rate, steps=stops),
    }
    return {name: {field: values.tolist() for field, values in path._asdict().items()} for name, path in found.items()}


def _rows(
    solved: least_norm.LeastNorm,
    agreement: float,
    evaluation: dict[str, float],
    runs: dict[str, gradient_descent.Trajectory],
) -> list[tuple[str, str]]:
    """Returns the closing table."""
    rows = [
        ("condition of the features", f"{solved.condition:.4g} (rank {solved.rank:,})"),
        ("norm of the least-norm solution", f"{solved.norm:.6g}"),
        ("residual", f"{solved.residual:.1e}"),
        ("from numpy.linalg.lstsq, relative", f"{agreement:.1e}"),
        ("train accuracy", f"{100 * evaluation['train_accuracy']:.2f}%"),
        ("test accuracy", f"{100 * evaluation['test_accuracy']:.2f}%"),
    ]
    if not solved.interpolates:
        rows.insert(0, ("no interpolant", "more examples than the features' rank: the rates below do not apply"))
    for name, found in runs.items():
        text = f"{found.distances[-1]:.1e} from its limit after {found.steps[-1]:,} steps"
        rows.append((name, f"{text}; {found.from_least_norm[-1]:.1e} from least norm"))
        rows.append(
            (
                "  rate a step, measured (predicted or bounded)",
                f"{found.measured_rate:.6f} ({found.predicted_rate:.6f})",
            )
        )
        rows.append(("  steps outside of the span, largest", f"{found.outside.max():.1e}"))
    return rows
