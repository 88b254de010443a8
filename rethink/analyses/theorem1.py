"""The analysis of theorem 1: builds a network of 2n + d weights that takes every label of a data set, and certifies it.

It joins theory/theorem1 to a data set and to records, and has no theory of its own.
"""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rethink import randomness
from rethink.analyses.analysis import Analysis, one_hot
from rethink.figures import theory
from rethink.results import screen
from rethink.schema.errors import pick
from rethink.theory import memory
from rethink.theory.theorem1 import certificates, depth, expressivity

# name -> (labels int [n], number of classes) -> what the network is to take, float64 [n] or [n, classes].
TARGETS = {
    "labels": lambda labels, num_classes: labels.astype(np.float64),
    "one_hot": one_hot,
}
BYTES_PER_COORDINATE, BYTES_PER_POINT = 21, 100  # of synthetic points at the peak, as measured for 1 to 4 million
SHOWN_POINTS, STEPS_PER_GAP = 12, 64  # of the figure


def analyze_theorem1(analysis: Analysis) -> dict[str, Any]:
    """Returns the summary of the run: certificates of the network and of those made of it (paper, section 4).

    Raises:
      UserError: too little memory, and as `expressivity.interpolate_points` and `depth.deepen_network`.
    """
    settings, report = analysis.config.theorem1, analysis.stages.report
    analysis.require_raw_pixels("theorem 1's network")
    for size in settings.sizes:
        needed = size * (settings.synthetic_dimensions * BYTES_PER_COORDINATE + BYTES_PER_POINT)
        memory.require_memory("A network", needed, size, power=1, field="theorem1.sizes")

    # Read.
    (points, targets), (test_points, test_targets) = (_read_sample(analysis, split) for split in ("train", "test"))

    # Solve, and record the network at once: what follows may take long.
    report("construction", 0, 1)
    network, construction_seconds = _time_construction(analysis, points, targets)
    report("construction", 1, 1)
    analysis.record.save_arrays(
        "network", projection=network.projection, thresholds=network.thresholds, weights=network.weights
    )

    # Certify: the network, and what becomes of it deeper, in float32, and for more points.
    report("evaluation at every point", 0, 1)
    certificate = certificates.certify_network(network, points, targets)
    fit, test_fit = certificate.fit, certificates.measure_fit(network(test_points), test_targets)
    report("evaluation at every point", 1, 1)
    depths = [_certify_depth(analysis, network, count, points, targets) for count in settings.depths]
    precisions = _measure_precisions(analysis, points, targets)
    growth = [
        analysis.record.keep_part(f"growth {size}", functools.partial(_measure_growth, analysis, size))
        for size in settings.sizes
    ]

    # Record the figure.
    middle = len(network.thresholds) // 2
    curve = certificates.trace_curve(
        network, points, targets, first=middle, count=min(SHOWN_POINTS, middle or 1), per_gap=STEPS_PER_GAP
    )
    stem = analysis.record.subfolder("figures") / "theorem1"
    theory.draw_theorem1(theory.Curve(*curve), growth, stem, title=analysis.config.name)

    # Summary.
    assert fit.labels_right is not None and test_fit.labels_right is not None  # targets are labels
    return {
        "evaluation": {
            "train_accuracy": fit.labels_right / fit.points,
            "test_accuracy": test_fit.labels_right / test_fit.points,
        },
        "certificate": {**certificate._asdict(), "fit": fit._asdict()},
        "construction_seconds": construction_seconds,
        "depths": depths,
        "float32": precisions,
        "growth": growth,
        "rows": _make_closing_rows(certificate, construction_seconds, test_fit, depths, precisions, growth),
    }


def _read_sample(analysis: Analysis, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns points uint8 [n, d], as pixels as stored project without rounding, and targets float64 [n] or [n, k]."""
    images, labels = analysis.splits[split].images, analysis.splits[split].labels
    make_targets = pick(TARGETS, analysis.config.theorem1.targets, "theorem1.targets")
    return images.reshape(len(images), -1), make_targets(labels, analysis.num_classes)


def _time_construction(
    analysis: Analysis, points: np.ndarray, targets: np.ndarray
) -> tuple[expressivity.TwoLayerNetwork, float]:
    """Returns the network and how many seconds it took to build."""
    config, start = analysis.config, time.monotonic()
    network = expressivity.interpolate_points(
        points, targets, seed=config.seed, threshold_position=config.theorem1.threshold_position
    )
    return network, time.monotonic() - start


def _certify_depth(
    analysis: Analysis, network: expressivity.TwoLayerNetwork, count: int, points: np.ndarray, targets: np.ndarray
) -> dict[str, Any]:
    """Returns the certificate of the network made `count` affine maps deep (corollary 1)."""
    analysis.stages.report(f"depth {count}", 0, 1)
    certificate = depth.certify_depth(depth.deepen_network(network, count), points, targets)
    analysis.stages.report(f"depth {count}", 1, 1)
    return {**certificate._asdict(), "fit": certificate.fit._asdict()}


def _measure_precisions(analysis: Analysis, points: np.ndarray, targets: np.ndarray) -> list[dict[str, Any]]:
    """Returns, for each of `theorem1.float32_sizes` that there are points for, what float32 leaves of the fit."""
    config, precisions = analysis.config, []
    sizes = [size for size in config.theorem1.float32_sizes if size <= len(points)]
    for number, size in enumerate(sizes, start=1):
        precision = certificates.measure_precision(
            points, targets, size, seed=config.seed, threshold_position=config.theorem1.threshold_position
        )
        analysis.stages.report("float32", number, len(sizes))
        fits = {"float32": precision.float32._asdict(), "float64": precision.float64._asdict()}
        precisions.append({"points": size, **fits})
    return precisions


def _measure_growth(analysis: Analysis, size: int) -> dict[str, Any]:
    """Returns points, seconds of the construction and residual on a sample, for so many synthetic points."""
    config, settings = analysis.config, analysis.config.theorem1
    points_key, label_key = jax.random.split(randomness.key_for(config.seed, "synthetic", str(size)))
    points = np.asarray(jax.random.bits(points_key, (size, settings.synthetic_dimensions), jnp.uint8))
    targets = np.asarray(jax.random.randint(label_key, (size,), 0, 10, jnp.int32), np.float64)
    network, seconds = _time_construction(analysis, points, targets)
    sample = min(size, settings.sampled)
    fit = certificates.certify_network(network, points, targets, sample=sample, seed=config.seed).fit
    analysis.stages.report(f"{size:,} synthetic points", 1, 1)
    return {
        "points": size,
        "seconds": seconds,
        "sampled": fit.points,
        "residual": fit.residual,
        "labels_right": fit.labels_right,
        "weights": network.weight_count,
    }


def _make_closing_rows(
    certificate: certificates.Certificate,
    construction_seconds: float,
    test_fit: certificates.Fit,
    depths: list[dict[str, Any]],
    precisions: list[dict[str, Any]],
    growth: list[dict[str, Any]],
) -> list[tuple[str, str]]:
    """Returns the closing table, (label, value) pairs."""
    fit = certificate.fit
    rows = [
        ("labels reproduced, each by the direct sum", f"{fit.labels_right:,} of {fit.points:,}"),
        ("largest residual", f"{fit.residual:.2e} ({certificate.relative_residual:.1e} of sum |w|)"),
        ("weights", f"{certificate.weight_count:,}"),
        ("largest |w|", f"{certificate.largest_weight:.3g}"),
        ("smallest eigenvalue (lemma 1)", f"{certificate.smallest_eigenvalue:.3g}"),
    ]
    if certificate.smallest_singular_value is not None:
        rows.append(("smallest singular value", f"{certificate.smallest_singular_value:.3g}"))
    rows += [
        ("projections drawn", str(certificate.attempts)),
        ("construction", screen.format_duration(construction_seconds)),
        ("test labels right", f"{test_fit.labels_right:,} of {test_fit.points:,}"),
    ]
    for deep in depths:
        text = f"width {deep['width']:,}, {deep['weight_count']:,} weights, residual {deep['fit']['residual']:.1e}"
        rows.append((f"depth {deep['depth']} (corollary 1)", text))
    if precisions:
        right = [row["points"] for row in precisions if row["float32"]["labels_right"] == row["points"]]
        text = f"n = {max(right):,}" if right else "none of the sizes"
        rows.append(("largest size tried whose labels float32 reproduces", text))
    for row in growth:
        sampled = f"residual {row['residual']:.1e} on {row['sampled']:,} of them"
        rows.append((f"{row['points']:,} synthetic points", f"{screen.format_duration(row['seconds'])}, {sampled}"))
    return rows
