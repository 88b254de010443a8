"""What the paper says of its figures, put to the runs of a figure.

Reads no number off a picture: a claim is of what is said in words or numbers, with the certainty of paper/numbers.py.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rethink.figures import best_so_far, label_corruption, loss_curves
from rethink.figures.loss_curves import LossCurve
from rethink.paper import claims, protocol
from rethink.paper.claims import Claim
from rethink.paper.numbers import CORRUPTED_NETWORKS, STEPS_TO_LOSS, TABLES
from rethink.report import inference, outcomes, terminal, verdicts
from rethink.report.inference import Estimate, Estimates
from rethink.report.outcomes import Outcome
from rethink.report.verdicts import ClaimCheck, Row
from rethink.results.runs import LoadedRun, RunsByCell

if TYPE_CHECKING:
    import pandas

LEAST_TAIL = 8  # evaluations in the last half of a curve whose noise about a line is measured


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


def describe_claims(name: str, runs: RunsByCell) -> tuple[str, str]:
    """Returns what the paper says of a figure beside what runs show, for the terminal, and the finding; "" of others.

    Arguments and errors are those of `check_figure_claims`.
    """
    claims = check_figure_claims(name, runs)
    return terminal.describe_comparison("", [], claims), terminal.describe_finding([], claims)


def _changes_claims(config: Mapping[str, Any], labels: str) -> bool:
    """Returns whether a run of a CIFAR10 figure has other labels, regularizers or batch norm than it stands for.

    Args:
      labels: "none", or "random".
    """
    network = "inception" if str(config.get("model.name")).startswith("inception") else "inception_no_bn"
    return protocol.changes_claims("table1", f"{network}-{labels}", config)  # of another network, but for its norm


# Figure 1a: the cells of a claim are conditions.


def _check_figure1a(runs: RunsByCell) -> Iterator[ClaimCheck]:
    outcomes.check_seeds(runs)
    loaded = {name: runs.get(name, ()) for name in STEPS_TO_LOSS}
    curves = loss_curves.read_losses(runs)
    diverged = {name for name, some in loaded.items() if any(run.status == "diverged" for run in some)}
    # A mean or median of the runs that are left where others diverged would mislead.
    compared = {name: losses for name, losses in curves.items() if name not in diverged}
    with_guessing = {
        name: losses for name, losses in compared.items() if all(curve.started is not None for curve in losses)
    }
    measures: dict[str, Estimates] = {
        "training loss": _estimate_curves(compared, lambda curve: (_final_loss(curve),) * 2),
        "steps to start": _estimate_curves(with_guessing, lambda curve: curve.between_rows(curve.started or 0.0)),
        f"steps to loss {claims.CONVERGED}": _estimate_curves(
            compared, lambda curve: curve.between_rows(claims.CONVERGED)
        ),
    }
    fitted = {name for name, loss in measures["training loss"].items() if max(loss.highs) <= claims.CONVERGED}
    unconverged = {
        name
        for name, some in loaded.items()
        if name not in fitted and not all(run.has_result and outcomes.has_converged(run) for run in some)
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
            # Steps that were not enough are a bound, whatever would have come after them.
            unconverged=unconverged if claim.measure == "training loss" else (),
            is_comparable=not changed and not differences,
        )


def _final_loss(curve: LossCurve) -> float:
    """Returns the loss on the train set at a run's end, or that of the last steps where it was not evaluated."""
    return curve.run.evaluation.get("train_loss") or curve.losses[-1]


def _estimate_curves(
    curves: Mapping[str, Sequence[LossCurve]], ends: Callable[[LossCurve], tuple[float, float]]
) -> dict[str, Estimate]:
    """Returns condition -> the estimate from the ends between which the value of each run lies."""
    return {name: inference.seen_between([ends(curve) for curve in losses]) for name, losses in curves.items()}


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

    by_level: dict[str, list[LoadedRun]] = {}
    for run, x in zip(runs, points["x"], strict=True):
        by_level.setdefault(f"{x:g}", []).append(run)
    # A mean of the runs that are left where others diverged would mislead: such a level has no error.
    diverged = [level for level, some in by_level.items() if not all(run.has_result for run in some)]
    ours = outcomes.read_outcomes({level: some for level, some in by_level.items() if level not in diverged}, "table1")
    fit = label_corruption.STEPS[label_corruption.FIT]
    measures: dict[str, Estimates] = {
        "test error": {level: _to_error(one) for level, one in outcomes.estimate_cells(ours, "test_accuracy").items()},
        fit: {level: _estimate_fit(some) for level, some in by_level.items()},
    }

    # Notes on all claims.
    networks = {str(run.config.get("model.name")) for run in runs} - set(CORRUPTED_NETWORKS)
    differences = outcomes.find_differences([runs])
    notes = [f"network: {network}" for network in sorted(networks)]
    notes += [note for some in points["notes"] for note in some]
    notes += [*differences, *(f"{status} at p = {p:g}" for p, status in started)]
    notes += [f"runs diverged at p = {', '.join(diverged)}"] if diverged else []

    is_comparable = not differences and not any(_changes_levels(run.config) for run in runs)
    sizes = outcomes.least_sizes([run for run, x in zip(runs, points["x"], strict=True) if x == 1])
    for claim in claims.figure1bc_claims(f"{series}: " if series else "", levels, sizes):
        # Steps that were not enough are a bound, whatever would have come after them.
        unconverged = outcomes.find_unconverged(ours) if claim.measure == "test error" else ()
        yield ClaimCheck(claim, measures[claim.measure], notes, levels, unconverged, is_comparable=is_comparable)


def _to_error(accuracy: Estimate) -> Estimate:
    """Returns the estimate of the error, percent, from that of the accuracy."""
    errors = [100 - value for value in accuracy.values]
    return inference.exact(errors, accuracy.test_examples, accuracy.correct)


def _estimate_fit(runs: Sequence[LoadedRun]) -> Estimate:
    """Returns the steps until an evaluation finds the labels fitted: after the one before it, which did not."""
    spans = []
    for run in runs:
        steps = (run.summary.get("steps_to_train_accuracy") or {}).get(label_corruption.FIT)
        if steps is None:
            spans.append((run.summary.get("steps") or 0, math.inf))
        else:
            before = [row["step"] for row in run.rows("evaluation") if row["step"] < steps]
            spans.append((max(before, default=0), steps))
    return inference.seen_between(spans)


def _changes_levels(config: Mapping[str, Any]) -> bool:
    """Returns whether a run differs from the paper's in more than how many labels are resampled."""
    others = {**config, "corruption.labels": "none"}
    return config.get("corruption.labels") not in ("none", "uniform") or _changes_claims(others, "none")


# Figure 2: the cells of a claim are networks.


def _check_figure2a(runs: RunsByCell) -> Iterator[ClaimCheck]:
    """Yields what stopping early could gain on ImageNet; of no other networks."""
    names = {cell: cell.removeprefix("true-") for cell in TABLES["table2"].cells}
    for cell, claim in claims.figure2a_claims() if set(runs) & set(names.values()) else ():
        (name,) = claim.cells
        ours = {name: _read(runs, name, "table2", cell)}
        yield _check_outcomes(claim, ours, _estimate_gains(ours))


def _check_figure2b(runs: RunsByCell) -> Iterator[ClaimCheck]:
    norm_claim, *gain_claims = claims.figure2b_claims()
    by_name = {name: _read(runs, name, "table1", f"{name}-none") for name in norm_claim.cells}
    yield _check_outcomes(norm_claim, by_name, outcomes.estimate_cells(by_name, norm_claim.measure))
    for claim in gain_claims:
        ours = {name: by_name[name] for name in claim.cells}
        yield _check_outcomes(claim, ours, _estimate_gains(ours))


def _read(runs: RunsByCell, name: str, table: str, cell: str) -> Sequence[Outcome]:
    """Returns what the runs of a network show of a cell of a table."""
    return outcomes.read_outcomes({cell: runs.get(name, ())}, table)[cell]


def _estimate_gains(ours: Mapping[str, Sequence[Outcome]]) -> dict[str, Estimate]:
    """Returns network -> what an oracle could gain by stopping early, points."""
    estimates = {}
    for name, some in ours.items():
        found = [measure_gain(outcome.run.rows()) for outcome in some if outcome.fractions]
        if known := [gain for gain in found if gain is not None]:
            values, lows, highs = zip(*known, strict=True)
            estimates[name] = Estimate(values, lows, highs)
    return estimates


def measure_gain(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float, float] | None:
    """Returns what an oracle would have gained by stopping early, points, and the ends between which the gain lies.

    The best of a noisy curve is above its last value even where nothing changes: by less than `inference.flat_gain`
    times the noise. The last value itself may be too high by the noise of one value.

    Returns:
      None where there are too few evaluations to know the noise.
    """
    gain, noise = best_so_far.measure_gain(rows), best_so_far.measure_noise(rows)
    if gain is None or noise is None:
        return None
    accuracies = best_so_far.select_tested(rows)[1]
    evaluations = len(accuracies)
    # The noise itself is estimated: of second differences each tells half as much as an independent value (18 / 35).
    noise *= inference.widen_normal(18 / 35 * (evaluations - 2))
    # They miss noise that lasts for several evaluations: the last half's about a straight line holds that too.
    tail = accuracies[evaluations // 2 :]
    if len(tail) >= LEAST_TAIL:
        rest = np.polynomial.Polynomial.fit(range(len(tail)), tail, 1, full=True)[1][0]
        noise = max(noise, math.sqrt(float(np.sum(rest)) / (len(tail) - 2)) * inference.widen_normal(len(tail) - 2))
    return gain[0], max(0.0, gain[0] - inference.flat_gain(evaluations) * noise), gain[0] + inference.NORMAL * noise


def _check_outcomes(claim: Claim, by_name: Mapping[str, Sequence[Outcome]], estimates: Estimates) -> ClaimCheck:
    """Returns the check of a claim about networks: `by_name` are the outcomes of all the runs that it is about."""
    differences = outcomes.find_differences([[outcome.run for outcome in ours] for ours in by_name.values()])
    changes = outcomes.name_changes(by_name)
    caveats = [caveat for ours in by_name.values() for caveat in outcomes.collect_caveats(ours)]
    statuses = [
        f"{name}: {outcomes.describe_statuses(ours)}"
        for name, ours in by_name.items()
        if not all(outcome.fractions for outcome in ours)
    ]
    changed = any(outcome.changes_claims for ours in by_name.values() for outcome in ours)
    return ClaimCheck(
        claim,
        estimates,
        [*caveats, *statuses, *differences, *changes],
        [name for name, ours in by_name.items() if ours],
        outcomes.find_unconverged(by_name),
        is_comparable=not changed and not differences and not any(map(outcomes.count_diverged, by_name.values())),
    )


_FIGURES: Mapping[str, Callable[[RunsByCell], Iterator[ClaimCheck]]] = {
    "figure1a": _check_figure1a,
    "figure1bc": _check_figure1bc,
    "figure2a": _check_figure2a,
    "figure2b": _check_figure2b,
}
