"""What the paper says of its figures, put to the runs of a figure.

Reads no number off a picture: a claim is of what is said in words or numbers, with the certainty of paper/numbers.py.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rethink.figures import best_so_far, label_corruption, loss_curves, metric_vs_field
from rethink.figures.loss_curves import LossCurve
from rethink.paper import claims, protocol
from rethink.paper.claims import FITTED, LAST_AND_BEST, Claim
from rethink.paper.numbers import BEST, CORRUPTED_NETWORKS, STEPS_TO_LOSS, TABLES
from rethink.report import outcomes, verdicts
from rethink.report.outcomes import Outcome
from rethink.report.verdicts import ClaimCheck, Estimate, Row
from rethink.results import tables
from rethink.results.runs import LoadedRun, RunsByCell

if TYPE_CHECKING:
    import pandas


def check_figure_claims(name: str, runs: RunsByCell) -> list[Row]:
    """Returns a row for each claim of the paper about a figure; the columns are verdicts.CLAIM_COLUMNS.

    Runs of a subset or of other data are judged too; ones with another corruption, regularizer or batch norm than the
    figure's are "not comparable".

    Args:
      name: of the figure: figure1a, figure1bc, figure2a or figure2b, whatever follows; others have no claims.

    Raises:
      UserError: the metrics of a run are damaged.
    """
    makers = [make for prefix, make in _FIGURES.items() if name.startswith(prefix)]
    return [verdicts.judge_claim(check) for make in makers for check in make(runs)]


def describe_claims(name: str, runs: RunsByCell) -> str:
    """Returns what the paper says of a figure beside what runs show, for the terminal; "" of others.

    Arguments and errors are those of `check_figure_claims`.
    """
    rows = check_figure_claims(name, runs)
    return f"\n\nWhat the paper says of it\n\n{tables.to_text(rows, verdicts.CLAIM_COLUMNS)}" if rows else ""


def _changes_claims(config: Mapping[str, Any], labels: str) -> bool:
    """Returns whether a run of a CIFAR10 figure has other labels, regularizers or batch norm than it stands for.

    Args:
      labels: "none", or "random".
    """
    network = "inception" if str(config.get("model.name")).startswith("inception") else "inception_no_bn"
    return protocol.changes_claims("table1", f"{network}-{labels}", config)  # of another network, but for its norm


# Figure 1a: the cells of a claim are conditions.


def _check_figure1a(runs: RunsByCell) -> Iterator[ClaimCheck]:
    loaded = {name: runs.get(name, ()) for name in STEPS_TO_LOSS}
    curves = loss_curves.read_losses(runs)
    diverged = {name for name, some in loaded.items() if any(run.status == "diverged" for run in some)}
    # A mean or median of the runs that are left where others diverged would mislead.
    compared = {name: losses for name, losses in curves.items() if name not in diverged}
    lowest = {name: max(min(curve.losses) for curve in losses) for name, losses in compared.items()}
    with_guessing = {
        name: losses for name, losses in compared.items() if all(curve.guessing is not None for curve in losses)
    }
    measures = {
        "training loss": {name: Estimate(loss, len(compared[name])) for name, loss in lowest.items()},
        "steps to start": _estimate_steps(with_guessing, LossCurve.first_started),
        f"steps to loss {claims.CONVERGED}": _estimate_steps(
            compared, lambda curve: curve.first_below(claims.CONVERGED)
        ),
    }
    # Each claim is put to the runs of its own conditions alone.
    for claim in claims.figure1a_claims():
        cells = {cell: loaded[cell] for cell in claim.cells}
        differences = outcomes.find_differences([[run for some in cells.values() for run in some]])
        changed = any(_changes_condition(cell, run.config) for cell, some in cells.items() for run in some)
        yield ClaimCheck(
            claim,
            measures[claim.measure],
            [*differences, *(note for cell in cells for curve in curves.get(cell, ()) for note in curve.notes)],
            started=[name for name, some in loaded.items() if some],
            unfinished=[name for name, some in loaded.items() if not all(run.has_result for run in some)],
            is_comparable=not changed and not differences,
        )


def _estimate_steps(
    curves: Mapping[str, Sequence[LossCurve]], first: Callable[[LossCurve], int | None]
) -> dict[str, Estimate]:
    """Returns the median steps of each condition; a run that has not come there makes it a bound."""
    estimates = {}
    for name, losses in curves.items():
        steps = [first(curve) for curve in losses]
        made = [curve.steps[-1] if step is None else step for step, curve in zip(steps, losses, strict=True)]
        estimates[name] = Estimate(statistics.median(made), len(made), None, None in steps)
    return estimates


def _changes_condition(condition: str, config: Mapping[str, Any]) -> bool:
    """Returns whether a run is not of the condition of figure 1a that its name gives."""
    labels = "random" if condition == "random" else "none"
    pixels = "none" if condition in ("true", "random") else condition
    others = {**config, "corruption.pixels": "none"}
    return config.get("corruption.pixels") != pixels or _changes_claims(others, labels)


# Figures 1b and 1c: the cells of a claim are probabilities p, as text.


def _check_figure1bc(runs: RunsByCell) -> Iterator[ClaimCheck]:
    points = label_corruption.read_points(runs)
    loaded = {run.folder.name: run for some in runs.values() for run in some}
    unfinished = [run for name, run in loaded.items() if name not in set(points["run"])]
    for series, rows in points.groupby("series"):
        words = set(filter(None, series.split("-")))
        others = [run for run in unfinished if words <= set(run.cell.split("-"))]
        yield from _check_network(series, rows, [loaded[name] for name in rows["run"]], others)


def _check_network(
    series: str, points: "pandas.DataFrame", runs: Sequence[LoadedRun], unfinished: Sequence[LoadedRun]
) -> Iterator[ClaimCheck]:
    """Yields the claims about one network: by its points and their runs, and its runs without a result."""
    started = [(label_corruption.resampled_fraction(run.config), run.status) for run in unfinished]
    started = [(p, status) for p, status in started if isinstance(p, int | float)]
    levels = [f"{x:g}" for x in sorted({*points["x"], *(p for p, _ in started)})]
    if len(levels) < 2:
        return  # no level to compare with

    # A mean of the runs that are left where others diverged would mislead: such a level has no error.
    diverged = set(points["x"][~points["has_result"].astype(bool)])
    left = points[~points["x"].isin(diverged)]
    error, train_error = (_estimate_levels(left, column) for column in metric_vs_field.ERRORS)
    fit = label_corruption.FIT
    steps = _estimate_levels(points, label_corruption.RELATIVE[fit])
    measures = {"test error": error, f"{label_corruption.STEPS[fit]} / at p = 0": steps}

    # Notes on all claims, and on those about errors.
    networks = {str(run.config.get("model.name")) for run in runs} - set(CORRUPTED_NETWORKS)
    differences = outcomes.find_differences([runs])
    notes = [f"network: {network}" for network in sorted(networks)]
    notes += [note for some in points["notes"] for note in some]
    notes += [*differences, *(f"{status} at p = {p:g}" for p, status in started)]
    notes += [f"runs diverged at p = {', '.join(f'{x:g}' for x in sorted(diverged))}"] if diverged else []
    unfitted = [p for p, estimate in train_error.items() if 100 - estimate.value < FITTED]
    error_notes = [f"not fitted at p = {', '.join(unfitted)}"] if unfitted else []

    is_comparable = not differences and not any(_changes_levels(run.config) for run in runs)
    sizes = outcomes.least_sizes([run for run, x in zip(runs, points["x"], strict=True) if x == 1])
    for claim in claims.figure1bc_claims(f"{series}: " if series else "", levels, sizes):
        own_notes = [*notes, *(error_notes if claim.measure == "test error" else [])]
        yield ClaimCheck(claim, measures[claim.measure], own_notes, levels, is_comparable=is_comparable)


def _estimate_levels(points: "pandas.DataFrame", column: str) -> dict[str, Estimate]:
    """Returns p -> the mean over seeds, of points of one series."""
    means = metric_vs_field.estimate_means(points, column)
    return {
        f"{mean.x:g}": Estimate(
            mean.value, mean.n, mean.deviation / math.sqrt(mean.n) if mean.n > 1 else None, mean.is_bound
        )
        for mean in means.itertuples()
    }


def _changes_levels(config: Mapping[str, Any]) -> bool:
    """Returns whether a run differs from the paper's in more than how many labels are resampled."""
    others = {**config, "corruption.labels": "none"}
    return config.get("corruption.labels") not in ("none", "uniform") or _changes_claims(others, "none")


# Figure 2: the cells of a claim are the last and the best accuracy of a network (2a), or networks (2b).


def _check_figure2a(runs: RunsByCell) -> Iterator[ClaimCheck]:
    """Yields what stopping early could gain on ImageNet, by table 2's best accuracies so far; of no other networks."""
    names = {cell: cell.removeprefix("true-") for cell in TABLES["table2"].cells}
    for cell, claim in claims.figure2a_claims() if set(runs) & set(names.values()) else ():
        ours = outcomes.read_outcomes({cell: runs.get(names[cell], ())}, "table2")[cell]
        measures = dict(zip(LAST_AND_BEST, ("test_accuracy", f"{BEST}test_accuracy"), strict=True))
        estimates = {column: _estimate_accuracy(ours, measure) for column, measure in measures.items()}
        # Both are of the same runs, so that the error of their difference is not that of two independent means.
        paired = {column: estimate and estimate._replace(error=None) for column, estimate in estimates.items()}
        yield _check_outcomes(claim, paired, {names[cell]: ours}, LAST_AND_BEST if ours else ())


def _check_figure2b(runs: RunsByCell) -> Iterator[ClaimCheck]:
    norm_claim, *gain_claims = claims.figure2b_claims()
    by_name = {
        name: outcomes.read_outcomes({f"{name}-none": runs.get(name, ())}, "table1")[f"{name}-none"]
        for name in norm_claim.cells
    }
    started = [name for name, ours in by_name.items() if ours]
    accuracies = {name: _estimate_accuracy(ours, "test_accuracy") for name, ours in by_name.items()}
    yield _check_outcomes(norm_claim, accuracies, by_name, started)
    for claim in gain_claims:
        (name,) = claim.cells
        gains = [best_so_far.measure_gain(ours.run.rows()) for ours in by_name[name] if ours.fractions]
        estimate = verdicts.estimate_mean([gain[0] for gain in gains if gain])
        yield _check_outcomes(claim, {name: estimate}, {name: by_name[name]}, started)


def _estimate_accuracy(ours: Sequence[Outcome], measure: str) -> Estimate | None:
    """Returns the mean over runs, percent."""
    return verdicts.estimate_mean(outcomes.measure_values(ours, measure), 100)


def _check_outcomes(
    claim: Claim,
    estimates: Mapping[str, Estimate | None],
    by_name: Mapping[str, Sequence[Outcome]],
    started: Sequence[str],
) -> ClaimCheck:
    """Returns the check of a claim about outcomes: `by_name` are those of all the runs that it is about."""
    differences = outcomes.find_differences([[outcome.run for outcome in ours] for ours in by_name.values()])
    caveats = [caveat for ours in by_name.values() for caveat in outcomes.collect_caveats(ours)]
    statuses = [
        f"{name}: {outcomes.describe_statuses(ours)}"
        for name, ours in by_name.items()
        if not all(outcome.fractions for outcome in ours)
    ]
    changed = any(outcome.changes_claims for ours in by_name.values() for outcome in ours)
    return ClaimCheck(
        claim,
        {cell: estimate for cell, estimate in estimates.items() if estimate},
        [*caveats, *statuses, *differences],
        started,
        is_comparable=not changed and not differences and not any(map(outcomes.count_diverged, by_name.values())),
    )


_FIGURES: Mapping[str, Callable[[RunsByCell], Iterator[ClaimCheck]]] = {
    "figure1a": _check_figure1a,
    "figure1bc": _check_figure1bc,
    "figure2a": _check_figure2a,
    "figure2b": _check_figure2b,
}
