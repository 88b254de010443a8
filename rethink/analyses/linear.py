"""The analysis of linear models (section 5): SGD finds the interpolant of least norm, on features of a data set.

It joins theory/linear to a data set and to records, and has no theory of its own.
"""

import functools
import math
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from rethink.analyses.analysis import Analysis, one_hot
from rethink.figures import theory
from rethink.schema.errors import pick
from rethink.theory import blas_threads, memory
from rethink.theory.linear import gradient_descent, least_norm, random_features

PENALTIES = np.geomspace(1e2, 1e-6, 9)  # of ridge, on the way to none
STOPS = 9  # steps of gradient descent at which early stopping is evaluated, evenly spaced in their logarithm

Splits = dict[str, np.ndarray]  # "train" and "test", float64 [n, d]


def analyze_linear_models(analysis: Analysis) -> dict[str, Any]:
    """Returns the summary of the run: the least-norm solution, and descent from zero and from a random start.

    Raises:
      UserError: too little memory, and as theory/linear.
    """
    config, settings, report = analysis.config, analysis.config.linear, analysis.stages.report
    _require_memory(analysis)

    # Read.
    pixels = {name: analysis.read_rows(name).astype(np.float64) for name in ("train", "test")}
    features = pick(FEATURES, settings.features, "linear.features")(pixels, settings, config.seed)
    targets = one_hot(analysis.splits["train"].labels, analysis.num_classes) - 1 / analysis.num_classes

    # Solve, in closed form and by descent.
    report("singular values", 0, 1)
    basis = least_norm.decompose_features(features["train"])
    report("singular values", 1, 1)
    solution = least_norm.solve_least_norm(basis, targets)
    runs = _run_descents(analysis, basis, targets, solution.weights.shape)

    # Certify: against NumPy's solver, and along the paths of regularizers.
    with blas_threads.for_product(features["train"].size * basis.rank):
        library = np.linalg.lstsq(features["train"], targets, rcond=None)[0]
    difference = least_norm.measure_relative(solution.weights - library, library)
    paths = _trace_regularizers(basis, targets, settings.gradient_steps)
    evaluation = {
        f"{name}_accuracy": float((np.argmax(rows @ solution.weights, axis=1) == analysis.splits[name].labels).mean())
        for name, rows in features.items()
    }

    # Record.
    stem = analysis.record.subfolder("figures") / "least_norm"
    theory.draw_least_norm_paths(runs, stem, title=config.name)

    # Summary.
    return {
        "evaluation": evaluation,
        "least_norm": {
            "norm": solution.norm,
            "residual": solution.residual,
            "condition": solution.condition,
            "rank": solution.rank,
            "from_lstsq": difference,
        },
        "runs": runs,
        "shrinkage": paths,
        "rows": _make_closing_rows(solution, difference, evaluation, runs),
    }


def _require_memory(analysis: Analysis) -> None:
    settings, (train, test) = analysis.config.linear, (len(analysis.splits[name].ids) for name in ("train", "test"))
    pixels = math.prod(analysis.splits["train"].images.shape[1:])
    dimensions = pixels if settings.features == "pixels" else settings.count
    needed = least_norm.predict_solve_bytes(train, dimensions) + 8 * test * dimensions + 12 * (train + test) * pixels
    memory.require_memory("A linear model", needed, train, power=2 if train < dimensions else 1)


def _keep_pixels(pixels: Splits, settings: ConfigDict, seed: int) -> Splits:
    return pixels


def _draw_fourier_features(pixels: Splits, settings: ConfigDict, seed: int) -> Splits:
    bandwidth = settings.bandwidth * random_features.measure_median_distance(pixels["train"][:1000])
    return {
        name: random_features.draw_fourier_features(rows, bandwidth=bandwidth, count=settings.count, seed=seed)
        for name, rows in pixels.items()
    }


def _draw_relu_features(pixels: Splits, settings: ConfigDict, seed: int) -> Splits:
    return {
        name: random_features.draw_relu_features(rows, count=settings.count, seed=seed) for name, rows in pixels.items()
    }


# name -> (pixels of both splits, section `linear` of the config, seed) -> features; what data fixes is fixed on train.
FEATURES = {"pixels": _keep_pixels, "fourier": _draw_fourier_features, "relu": _draw_relu_features}


def _run_descents(
    analysis: Analysis, basis: least_norm.Basis, targets: np.ndarray, shape: tuple[int, ...]
) -> dict[str, dict[str, Any]]:
    """Returns name -> run: SGD and gradient descent with the fastest momentum, from zero and from a random start.

    Each is kept as soon as it is computed.
    """
    settings, seed = analysis.config.linear, analysis.config.seed
    starts: dict[str, np.ndarray | float] = {
        "zero": 0.0,
        "a random start": gradient_descent.draw_start(shape, scale=settings.start_scale, seed=seed),
    }
    rate, momentum = gradient_descent.tune_heavy_ball(basis)
    stochastic = {
        "learning_rate": gradient_descent.tune_sgd_rate(basis, batch_size=settings.batch_size),
        "batch_size": settings.batch_size,
        "momentum": 0.0,
        "steps": settings.sgd_steps,
        "order": settings.order,
        "seed": seed,
    }
    full = {"learning_rate": rate, "momentum": momentum, "steps": settings.gradient_steps}
    runs = {}
    for start_name, start in starts.items():
        methods = {
            f"SGD from {start_name}, {settings.order.replace('_', ' ')}": stochastic,
            f"GD from {start_name}, momentum {momentum:.3f}": full,
        }
        for name, method in methods.items():
            stage = functools.partial(analysis.stages.report, name.partition(",")[0])
            compute = functools.partial(_run_descent, basis, targets, start=start, progress=stage, **method)
            runs[name] = analysis.record.keep_part(name, compute)
            stage(method["steps"], method["steps"])
    return runs


def _run_descent(*arguments: Any, **settings: Any) -> dict[str, Any]:
    """Returns a run of descent as JSON has it; NaN, which it has not, as None."""
    trajectory = gradient_descent.run_descent(*arguments, **settings)
    lists = ("steps", "distances", "from_least_norm", "residuals", "outside")
    rates = {name: getattr(trajectory, name) for name in ("predicted_rate", "measured_rate")}
    return {
        **{name: getattr(trajectory, name).tolist() for name in lists},
        **{name: None if math.isnan(rate) else rate for name, rate in rates.items()},
    }


def _trace_regularizers(basis: least_norm.Basis, targets: np.ndarray, steps: int) -> dict[str, Any]:
    """Returns norms and distances to the least-norm interpolant along weight decay and along early stopping."""
    rate = 1 / basis.curvatures[0]
    stops = np.unique(np.geomspace(1, steps, STOPS).astype(np.int64))
    factors = {
        "weight_decay": (PENALTIES, least_norm.find_ridge_factors(basis, PENALTIES)),
        "early_stopping": (stops, least_norm.find_stopping_factors(basis, stops, learning_rate=rate)),
    }
    paths = {name: least_norm.trace_path(basis, targets, *pair) for name, pair in factors.items()}
    return {name: {field: values.tolist() for field, values in path._asdict().items()} for name, path in paths.items()}


def _make_closing_rows(
    solution: least_norm.LeastNorm,
    difference: float,
    evaluation: dict[str, float],
    runs: dict[str, dict[str, Any]],
) -> list[tuple[str, str]]:
    """Returns the closing table, (label, value) pairs."""
    rows = [
        ("condition of the features", f"{solution.condition:.4g} (rank {solution.rank:,})"),
        ("norm of the least-norm solution", f"{solution.norm:.6g}"),
        ("residual", f"{solution.residual:.1e}"),
        ("from numpy.linalg.lstsq, relative", f"{difference:.1e}"),
        ("train accuracy", f"{100 * evaluation['train_accuracy']:.2f}%"),
        ("test accuracy", f"{100 * evaluation['test_accuracy']:.2f}%"),
    ]
    if not solution.interpolates:
        rows.insert(0, ("no interpolant", "more examples than the features' rank: the rates below do not apply"))
    for name, run in runs.items():
        text = f"{run['distances'][-1]:.1e} from its limit after {run['steps'][-1]:,} steps"
        rows.append((name, f"{text}; {run['from_least_norm'][-1]:.1e} from least norm"))
        theory = "root mean square at most" if name.startswith("SGD") else "predicted"
        known = "" if run["predicted_rate"] is None else f" ({theory} {run['predicted_rate']:.6f})"
        measured = math.nan if run["measured_rate"] is None else run["measured_rate"]
        rows.append(("  factor of the distance a step, measured", f"{measured:.6f}{known}"))
        rows.append(("  steps outside of the span, largest", f"{max(run['outside']):.1e}"))
    return rows
