"""Owns the study of theorem 1: a network of 2n + d weights that takes every label of a data set, certified.

Refuses theory: it joins theory/expressivity.py, certificates.py and depth.py to a data set and to records.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rethink import randomness
from rethink.analyses.analysis import Analysis, one_hot
from rethink.figures import theory
from rethink.results import progress
from rethink.theory import memory
from rethink.theory.theorem1 import certificates, depth, expressivity

TARGETS = ("labels", "one_hot")
BYTES_A_COORDINATE, BYTES_A_POINT = 21, 100  # of synthetic points at the peak, as measured for 1 to 4 million


def run(study: Analysis) -> dict[str, Any]:
    """Builds the network and certifies it; returns the summary of the run.

    Raises:
      UserError: too little memory, and as `expressivity.interpolate_points` and `depth.deepen_network`.
    """
    asked, report = study.config.theorem1, study.stages.report
    study.require_raw_pixels("theorem 1's network")
    for size in asked.sizes:
        needed = size * (asked.synthetic_dimensions * BYTES_A_COORDINATE + BYTES_A_POINT)
        memory.require_memory("A network", needed, size, power=1, field="theorem1.sizes")
    split, test = study.splits["train"], study.splits["test"]
    points, targets = _flat(split.images), _targets(asked, split.labels, study.num_classes)
    report("construction", 0, 1)
    begun = time.monotonic()
    network = expressivity.interpolate_points(
        points, targets, seed=study.config.seed, threshold_position=asked.threshold_position
    )
    construction = time.monotonic() - begun
    report("construction", 1, 1)
    study.record.save_arrays(
        "network", projection=network.projection, thresholds=network.thresholds, weights=network.weights
    )
    report("evaluation at every point", 0, 1)
    certified = certificates.certify_network(network, points, targets)
    test_fit = certificates.measure_fit(network(_flat(test.images)), _targets(asked, test.labels, study.num_classes))
    report("evaluation at every point", 1, 1)
    deep = [_certify_depth(study, network, count, points, targets) for count in asked.depths]
    single = _precision(study, points, targets)
    growth = [_measure_growth(study, size) for size in asked.sizes]
    curve = certificates.trace_curve(
        network,
        points,
        targets,
        first=len(network.thresholds) // 2,
        count=min(12, len(network.thresholds) // 2 or 1),
        per_gap=64,
    )
    stem = study.record.subfolder("figures") / "theorem1"
    theory.draw_theorem1(theory.Curve(*curve), growth, stem, title=study.config.name)
    fit = certified.fit
    assert fit.labels_right is not None and test_fit.labels_right is not None  # targets are labels
    return {
        "evaluation": {
            "train_accuracy": fit.labels_right / fit.points,
            "test_accuracy": test_fit.labels_right / test_fit.points,
        },
        "certificate": {**certified._asdict(), "fit": fit._asdict()},
        "construction_seconds": construction,
        "depths": deep,
        "float32": single,
        "growth": growth,
        "rows": _rows(certified, construction, test_fit, deep, single, growth),
    }


def _flat(images: np.ndarray) -> np.ndarray:
    """Returns uint8 [n, d]: pixels as stored project without rounding."""
    return images.reshape(len(images), -1)


def _targets(asked: ConfigDict, labels: np.ndarray, num_classes: int) -> np.ndarray:
    return one_hot(labels, num_classes) if asked.targets == "one_hot" else labels.astype(np.float64)


def _certify_depth(
    study: Analysis, network: expressivity.TwoLayerNetwork, count: int, points: np.ndarray, targets: np.ndarray
) -> dict[str, Any]:
    """Returns the certificate of the network made `count` affine maps deep (corollary 1)."""
    study.stages.report(f"depth {count}", 0, 1)
    found = depth.certify_depth(depth.deepen_network(network, count), points, targets)
    study.stages.report(f"depth {count}", 1, 1)
    return {**found._asdict(), "fit": found.fit._asdict()}


def _precision(study: Analysis, points: np.ndarray, targets: np.ndarray) -> list[dict[str, Any]]:
    """Returns, for each of the sizes asked for, what float32 leaves of the fit."""
    found = []
    sizes = [size for size in study.config.theorem1.float32_sizes if size <= len(points)]
    for number, size in enumerate(sizes, start=1):
        (precision,) = certificates.measure_precision(
            points,
            targets,
            [size],
            seed=study.config.seed,
            threshold_position=study.config.theorem1.threshold_position,
        )
        study.stages.report("float32", number, len(sizes))
        found.append({"points": size, "float32": precision.float32._asdict(), "float64": precision.float64._asdict()})
    return found


def _measure_growth(study: Analysis, size: int) -> dict[str, Any]:
    """Returns points, seconds of the construction and residual on a sample, for so many synthetic points."""
    asked = study.config.theorem1
    key = randomness.key_for(study.config.seed, "synthetic", str(size))
    points_key, label_key = jax.random.split(key)
    points = np.asarray(jax.random.bits(points_key, (size, asked.synthetic_dimensions), jnp.uint8))
    targets = np.asarray(jax.random.randint(label_key, (size,), 0, 10, jnp.int32), np.float64)
    begun = time.monotonic()
    network = expressivity.interpolate_points(
        points, targets, seed=study.config.seed, threshold_position=asked.threshold_position
    )
    seconds = time.monotonic() - begun
    found = certificates.certify_network(
        network, points, targets, sample=min(size, asked.sampled), seed=study.config.seed
    )
    study.stages.report(f"{size:,} synthetic points", 1, 1)
    return {
        "points": size,
        "seconds": seconds,
        "sampled": found.fit.points,
        "residual": found.fit.residual,
        "labels_right": found.fit.labels_right,
        "weights": network.weight_count,
    }


def _rows(
    certified: certificates.Certificate,
    construction: float,
    test_fit: certificates.Fit,
    deep: list[dict[str, Any]],
    single: list[dict[str, Any]],
    growth: list[dict[str, Any]],
) -> list[tuple[str, str]]:
    """Returns the closing table."""
    fit = certified.fit
    rows = [
        ("labels reproduced, each by the direct sum", f"{fit.labels_right:,} of {fit.points:,}"),
        ("largest residual", f"{fit.residual:.2e} ({certified.relative_residual:.1e} of sum |w|)"),
        ("weights", f"{certified.weight_count:,}"),
        ("largest |w|", f"{certified.largest_weight:.3g}"),
        ("smallest eigenvalue (lemma 1)", f"{certified.smallest_eigenvalue:.3g}"),
    ]
    if certified.smallest_singular_value is not None:
        rows.append(("smallest singular value", f"{certified.smallest_singular_value:.3g}"))
    rows += [
        ("projections drawn", str(certified.attempts)),
        ("construction", progress.format_duration(construction)),
        ("test labels right", f"{test_fit.labels_right:,} of {test_fit.points:,}"),
    ]
    for found in deep:
        text = f"width {found['width']:,}, {found['weight_count']:,} weights, residual {found['fit']['residual']:.1e}"
        rows.append((f"depth {found['depth']} (corollary 1)", text))
    serves = [found["points"] for found in single if found["float32"]["labels_right"] == found["points"]]
    if single:
        rows.append(
            (
                "largest size tried whose labels float32 reproduces",
                f"n = {max(serves):,}" if serves else "none of the sizes",
            )
        )
    for found in growth:
        text = f"{progress.format_duration(found['seconds'])}, residual {found['residual']:.1e} on {found['sampled']:,} of them"
        rows.append((f"{found['points']:,} synthetic points", text))
    return rows
