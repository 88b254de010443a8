"""Owns the study of section 2.2: what capacity measures say of networks that were trained, and that they say nothing.

Refuses theory and training: it joins theory/capacity.py and promises.py to runs, which it has trained for it.
"""

from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from rethink import randomness
from rethink.analyses.analysis import Analysis, TrainedRun
from rethink.figures import theory
from rethink.schema import validation
from rethink.schema.errors import UserError
from rethink.theory.capacity import bound_values, rademacher, weight_matrices
from rethink.theory.linear import least_norm


def run(study: Analysis) -> dict[str, Any]:
    """Trains on random signs, then on true and on random labels, and evaluates the bounds; returns the summary.

    Raises:
      UserError: as theory/capacity.py and promises.py.
    """
    config, asked = study.config, study.config.capacity
    check(config)
    signs = [study.train(_signs(config, draw), f"signs-{draw}") for draw in range(asked.draws)]
    correlations = np.array([2 * found.summary["evaluation"]["train_accuracy"] - 1 for found in signs])
    network = rademacher.summarize_correlations(correlations, len(study.splits["train"].ids))
    features = np.hstack([study.rows("train"), np.ones((len(study.splits["train"].ids), 1), np.float32)])
    study.stages.report("linear classifiers on random signs", 0, 1)
    basis = least_norm.decompose_features(features)
    linear_class = rademacher.measure_rademacher(
        rademacher.make_linear_fit(basis), study.splits["train"].ids, draws=asked.draws, seed=config.seed
    )
    study.stages.report("linear classifiers on random signs", 1, 1)
    kinds = {"true": "none", "random": config.corruption.labels}
    ceiling = rademacher.bound_linear_class(len(features), basis.rank)
    runs = {name: study.train(_labels(config, kind), f"labels-{name}") for name, kind in kinds.items()}
    known = network.mean if network.fitted == network.draws else None  # else it is less than the complexity
    bounds = {name: _bounds(study, found, name, known) for name, found in runs.items()}
    gaps = {name: _gap(found) for name, found in runs.items()}
    stability = rademacher.bound_stability(gaps, classes=study.num_classes, test_examples=len(study.splits["test"].ids))
    stem = study.record.subfolder("figures") / "bounds"
    theory.draw_bounds(bounds, stem, title=f"{config.name}: {config.model.name}")
    return {
        "evaluation": {},
        "rademacher": {config.model.name: _complexity(network), "linear": _complexity(linear_class)},
        "linear_ceiling": ceiling,
        "bounds": {name: [row._asdict() for row in rows] for name, rows in bounds.items()},
        "stability": stability._asdict(),
        "rows": _rows(config, network, linear_class, ceiling, bounds, gaps, stability),
    }


def _signs(config: ConfigDict, draw: int) -> ConfigDict:
    """Returns the run that learns one draw of random signs: two classes, all labels resampled."""
    member = _labels(config, "uniform")
    member.corruption.label_probability = 1.0
    member.data.classes = 2
    member.seed = int(jax.random.bits(randomness.key_for(config.seed, "signs", str(draw)), (), np.uint32))
    return member


def _labels(config: ConfigDict, kind: str) -> ConfigDict:
    """Returns an ordinary training run of the study's network."""
    member = config.copy_and_resolve_references()
    member.kind = "train"
    member.corruption.labels = kind
    return member


def _gap(found: TrainedRun) -> float:
    """Returns error on test minus error on train, a fraction."""
    return found.summary["evaluation"]["train_accuracy"] - found.summary["evaluation"]["test_accuracy"]


def _bounds(study: Analysis, found: TrainedRun, labels: str, rademacher: float | None) -> list[bound_values.BoundValue]:
    """Returns the bounds on a trained run, beside the gap that was measured."""
    asked, network = study.config.capacity, weight_matrices.read_params(found.params)
    rows = study.rows("train")
    split = study.splits["train"]
    given = split.true_labels if labels == "true" else split.labels
    margin, margin_error = bound_values.measure_margins(_logits(network, rows), given, quantile=asked.margin_quantile)
    evaluation = found.summary["evaluation"]
    sample = bound_values.Sample(
        examples=len(rows),
        input_norm=float(np.linalg.norm(rows, axis=1).max()),
        input_entry=float(np.abs(rows).max()),
        margin=margin,
        margin_error=margin_error,
        train_error=1 - evaluation["train_accuracy"],
        test_error=1 - evaluation["test_accuracy"],
    )
    initial = weight_matrices.read_params(found.initial)
    return bound_values.evaluate_bounds(network, sample, delta=asked.delta, initial=initial, rademacher=rademacher)


def _logits(network: weight_matrices.WeightMatrices, rows: np.ndarray) -> np.ndarray:
    """Returns float64 [n, classes] of rows [n, inputs]."""
    values = rows.astype(np.float64)
    for weights, biases in zip(network.weights[:-1], network.biases[:-1], strict=True):
        values = np.maximum(values @ weights + biases, 0)
    return values @ network.weights[-1] + network.biases[-1]


def _complexity(found: rademacher.Rademacher) -> dict[str, Any]:
    """Returns a complexity as JSON has it."""
    return {**found._asdict(), "correlations": found.correlations.tolist()}


def _rows(
    config: ConfigDict,
    network: rademacher.Rademacher,
    linear_class: rademacher.Rademacher,
    ceiling: float,
    bounds: dict[str, list[bound_values.BoundValue]],
    gaps: dict[str, float],
    stability: rademacher.Stability,
) -> list[tuple[str, str]]:
    """Returns the closing table."""
    rows = []
    for name, found in ((config.model.name, network), ("linear classifiers", linear_class)):
        spread = f" +- {found.deviation:.4f}" if found.draws > 1 else ""
        text = f"at least {found.mean:.4f}{spread} (n={found.draws} draws, {found.fitted} of them fitted)"
        rows.append((f"Rademacher complexity of {name}", text))
    rows.append(("  of linear classifiers at most (Cover, Massart)", f"{ceiling:.4f}"))
    for labels, promised_rows in bounds.items():
        rows.append((f"{labels} labels: test error - train error", f"{gaps[labels]:.3f} measured"))
        for row in promised_rows:
            promised = f"at most {row.value:.3g}{', vacuous' if row.vacuous else ''}"
            rows.append((f"  {row.name}", promised))
    promised = f"beta >= {stability.beta:.3f}, shown by the {stability.set_by} labels"
    rows.append(("uniform stability", f"{promised}{': vacuous' if stability.vacuous else ''}"))
    return rows


def check(config: ConfigDict) -> None:
    """Checks that the network is one that the bounds are stated for, and that there are random labels to learn.

    Raises:
      UserError: it is no MLP without batch norm, or the labels are the true ones.
    """
    if config.corruption.labels == "none":
        raise UserError(
            "corruption.labels='none' leaves this study no random labels: set --config.corruption.labels=uniform."
        )
    alone = {"corruption.label_probability": 1.0, "corruption.test_labels": False, "early_stopping.monitor": "none"}
    fields = dict(validation.flatten(config))
    for field, value in alone.items():
        if fields[field] != value:
            raise UserError(f"{field}={fields[field]!r} has no meaning in this study: leave it at {value!r}.")
    if not config.model.name.startswith("mlp_") or config.batch_norm.kind != "none":
        raise UserError(
            f"model.name='{config.model.name}' has no bounds in this study, which are for fully connected networks: "
            "set --config.model.name=mlp_1x512 and --config.batch_norm.kind=none."
        )
