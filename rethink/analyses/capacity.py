"""The analysis of section 2.2: Rademacher complexity and bounds of networks that were trained, and what is vacuous.

It joins theory/capacity to training runs. It trains none itself: it is handed the function that does.
"""

from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from rethink import randomness
from rethink.analyses.analysis import Analysis, TrainedRun, require_values
from rethink.figures import theory
from rethink.schema.errors import UserError
from rethink.theory.capacity import rademacher, weight_matrices
from rethink.theory.capacity.bounds import (
    BoundValue,
    Measures,
    evaluate_bounds,
    find_vacuous_from,
    measure_margins,
)
from rethink.theory.linear import least_norm

# For each dimension of the linear classifiers, the control: their complexity is then at most 0.63, so that a measure
# that gives 1 for everything would be seen. With two examples a dimension that ceiling is 1, and it could not fail.
CONTROL_EXAMPLES = 20


def analyze_capacity(analysis: Analysis) -> dict[str, Any]:
    """Returns the summary of the run: Rademacher complexity on random signs, bounds for true and for random labels.

    Raises:
      UserError: a config that `check_capacity_config` refuses, and as theory/capacity.
    """
    config, settings, train = analysis.config, analysis.config.capacity, analysis.splits["train"]
    check_capacity_config(config)

    # Train on random signs, and solve for them, for the complexity of networks and of linear classifiers.
    sign_runs = [analysis.train(_make_sign_config(config, draw), f"signs-{draw}") for draw in range(settings.draws)]
    correlations = np.array([2 * run.summary["evaluation"]["train_accuracy"] - 1 for run in sign_runs])
    network = rademacher.summarize_correlations(correlations, len(train.ids))
    features = np.hstack([analysis.read_rows("train"), np.ones((len(train.ids), 1), np.float32)])
    analysis.stages.report("linear classifiers on random signs", 0, 1)
    control = _keep_principal_directions(features)
    linear_class = rademacher.measure_rademacher(
        rademacher.make_linear_fit(control), train.ids, draws=settings.draws, seed=config.seed
    )
    analysis.stages.report("linear classifiers on random signs", 1, 1)
    ceiling = rademacher.bound_linear_class(len(features), control.rank)

    # Train on true and on random labels, and evaluate the bounds and stability.
    kinds = {"true": "none", "random": config.corruption.labels}
    runs = {name: analysis.train(_make_label_config(config, kind), f"labels-{name}") for name, kind in kinds.items()}
    complexity = network.mean if network.fitted == network.draws else None  # else training may have missed it
    bounds = {name: _evaluate_bounds(analysis, run, name, complexity) for name, run in runs.items()}
    gaps = {name: _measure_gap(run) for name, run in runs.items()}
    test_examples = len(analysis.splits["test"].ids)
    stability = rademacher.bound_stability(gaps, classes=analysis.num_classes, test_examples=test_examples)
    vacuous_from = find_vacuous_from(analysis.num_classes, test_examples)

    # Record.
    stem = analysis.record.subfolder("figures") / "bounds"
    theory.draw_bounds(bounds, stem, title=f"{config.name}: {config.model.name}", vacuous_from=vacuous_from)

    # Summary.
    classes = {config.model.name: network, f"linear classifiers in {control.rank} dimensions": linear_class}
    return {
        "evaluation": {},
        "rademacher": {config.model.name: _complexity_json(network), "linear": _complexity_json(linear_class)},
        "linear_dimensions": control.rank,
        "linear_ceiling": ceiling,
        "vacuous_from": vacuous_from,
        "bounds": {name: [row._asdict() for row in rows] for name, rows in bounds.items()},
        "stability": stability._asdict(),
        "rows": _make_closing_rows(classes, ceiling, bounds, gaps, stability, vacuous_from),
    }


def check_capacity_config(config: ConfigDict) -> None:
    """Checks that the network is one that the bounds are stated for, and that there are random labels to learn.

    Raises:
      UserError: it is no MLP without batch norm, or the labels are the true ones.
    """
    if config.corruption.labels == "none":
        raise UserError(
            "corruption.labels='none' leaves this analysis no random labels: set --config.corruption.labels=uniform."
        )
    fixed = {
        "corruption.label_probability": 1.0,
        "corruption.pixels": "none",
        "corruption.test_labels": False,
        "early_stopping.monitor": "none",
    }
    require_values(config, fixed)
    if not config.model.name.startswith("mlp_") or config.batch_norm.kind != "none":
        raise UserError(
            f"model.name='{config.model.name}' has no bounds in this analysis, which are for fully connected networks: "
            "set --config.model.name=mlp_1x512 and --config.batch_norm.kind=none."
        )


def _keep_principal_directions(features: np.ndarray) -> least_norm.Basis:
    """Returns the basis of features [n, d] on the first of their principal directions, `CONTROL_EXAMPLES` to each."""
    basis = least_norm.decompose_features(features)
    kept = max(1, len(features) // CONTROL_EXAMPLES)
    return least_norm.decompose_features(basis.features @ basis.right[:kept].T)


def _make_sign_config(config: ConfigDict, draw: int) -> ConfigDict:
    """Returns the run that learns one draw of random signs: two classes, all labels resampled."""
    run = _make_label_config(config, "uniform")
    run.corruption.label_probability = 1.0
    run.data.classes = 2
    run.corruption.seed = -1
    run.seed = int(jax.random.bits(randomness.key_for(config.seed, "signs", str(draw)), (), np.uint32))
    return run


def _make_label_config(config: ConfigDict, kind: str) -> ConfigDict:
    """Returns an ordinary training run of the analysis' network on labels of this kind."""
    run = config.copy_and_resolve_references()
    run.kind = "train"
    run.corruption.labels = kind
    return run


def _measure_gap(run: TrainedRun) -> float:
    """Returns error on test minus error on train, a fraction."""
    return run.summary["evaluation"]["train_accuracy"] - run.summary["evaluation"]["test_accuracy"]


def _evaluate_bounds(analysis: Analysis, run: TrainedRun, labels: str, complexity: float | None) -> list[BoundValue]:
    """Returns the bounds on a trained run, beside the gap that was measured."""
    settings, evaluation = analysis.config.capacity, run.summary["evaluation"]
    network, initial = weight_matrices.read_params(run.params), weight_matrices.read_params(run.initial)
    rows, split = analysis.read_rows("train"), analysis.splits["train"]
    given = split.true_labels if labels == "true" else split.labels
    logits = network.compute_logits(rows)
    weight_matrices.require_train_error(logits, given, 1 - evaluation["train_accuracy"])
    margin, margin_error = measure_margins(logits, given, quantile=settings.margin_quantile)
    measures = Measures(
        examples=len(rows),
        input_norm=float(np.linalg.norm(rows, axis=1).max()),
        input_entry=float(np.abs(rows).max()),
        margin=margin,
        margin_error=margin_error,
        train_error=1 - evaluation["train_accuracy"],
        test_error=1 - evaluation["test_accuracy"],
        test_examples=len(analysis.splits["test"].ids),
    )
    return evaluate_bounds(network, measures, delta=settings.delta, initial=initial, rademacher=complexity)


def _complexity_json(complexity: rademacher.Rademacher) -> dict[str, Any]:
    """Returns a complexity as JSON has it."""
    return {**complexity._asdict(), "correlations": complexity.correlations.tolist()}


def _make_closing_rows(
    classes: dict[str, rademacher.Rademacher],
    ceiling: float,
    bounds: dict[str, list[BoundValue]],
    gaps: dict[str, float],
    stability: rademacher.Stability,
    vacuous_from: float,
) -> list[tuple[str, str]]:
    """Returns the closing table, (label, value) pairs; `ceiling` is that of the last of the classes."""
    rows = []
    for name, complexity in classes.items():
        spread = f" +- {complexity.deviation:.4f}" if complexity.draws > 1 else ""
        draws = f"(n={complexity.draws} draws, {complexity.fitted} of them fitted)"
        rows.append((f"Rademacher complexity of {name}", f"at least {complexity.mean:.4f}{spread} {draws}"))
    rows.append(("  of these at most (Cover, Massart)", f"{ceiling:.4f}"))
    rows.append(("bounds are vacuous, no better than guessing, from", f"{vacuous_from:.3f}"))
    for labels, bound_rows in bounds.items():
        rows.append((f"{labels} labels: test error - train error", f"{gaps[labels]:.3f} measured"))
        rows += [
            (f"  {row.name}", f"at most {row.value:.3g}{', vacuous' if row.vacuous else ''}") for row in bound_rows
        ]
    text = f"beta >= {stability.beta:.3f}, shown by the {stability.set_by} labels"
    rows.append(("uniform stability", f"{text}{': vacuous' if stability.vacuous else ''}"))
    return rows
