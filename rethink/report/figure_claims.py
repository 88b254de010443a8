"""Owns what the paper says of its figures, as claims, and whether the runs of a figure show it.

Refuses to read a number off a picture: a claim is of what is said in words or numbers, and paper.py has its certainty.
"""

import math
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from rethink.figures import best_so_far, label_corruption, loss_curves, metric_vs_field
from rethink.figures.loss_curves import Loss
from rethink.figures.metric_vs_field import Point
from rethink.paper import protocol
from rethink.paper.claims import CIFAR10, FITTED, RangeClaim, at_chance, resized
from rethink.paper.numbers import (
    BATCH_NORM_GAIN,
    BEST,
    CORRUPTED_NETWORKS,
    EARLY_STOPPING_GAIN,
    START_BEFORE_RANDOM,
    STEPS_TO_LOSS,
    STEPS_TO_OVERFIT,
    TABLES,
    TEST_ERROR,
    Number,
)
from rethink.report import comparison, findings, outcomes
from rethink.report.findings import ClaimCheck, Estimate, MonotoneClaim, Row
from rethink.report.outcomes import Outcome
from rethink.results import records
from rethink.results.runs import Runs

Manifest = Mapping[str, Any]

ENDS = ("last", "best so far")  # of a test curve
LITTLE_GAIN = comparison.MATCH_POINTS  # of early stopping, points: no more counts as nothing


def check(name: str, runs: Runs) -> list[Row]:
    """Returns a row for each claim of the paper about a figure; the columns are comparison.ORDERING_COLUMNS.

    Runs of a subset or of other data are asked too; ones with another corruption, regularizer or batch norm than the
    figure's are "not comparable".

    Args:
      name: of the figure: figure1a, figure1bc, figure2a or figure2b, whatever follows; others have no claims.
      runs: cell -> its run directories.

    Raises:
      UserError: a run is damaged.
    """
    makers = [make for prefix, make in _FIGURES.items() if name.startswith(prefix)]
    return [findings.row(case) for make in makers for case in make(runs)]


def _said(numbers: Mapping[str, Number], cells: Sequence[str], form: str = ".2f") -> str:
    """Returns the paper's numbers of cells in the order of a chain: '1 < about 4'."""
    return " < ".join(numbers[cell].note or f"{numbers[cell].value:{form}}" for cell in cells)


def _changes_claims(config: Mapping[str, Any], labels: str) -> bool:
    """Returns whether a run of a CIFAR10 figure has other labels, regularizers or batch norm than it stands for.

    Args:
      labels: "none", or "random".
    """
    network = "inception" if str(config.get("model.name")).startswith("inception") else "inception_no_bn"
    return protocol.changes_claims("table1", f"{network}-{labels}", config)  # of another network, but for its norm


def _figure1a(runs: Runs) -> Iterator[ClaimCheck]:
    replicated = STEPS_TO_LOSS
    manifests = {name: [records.read_run(folder) for folder in runs.get(name, ())] for name in replicated}
    lost = {name for name, known in manifests.items() if any(run["status"] == "diverged" for run in known)}
    every = loss_curves.read_losses(runs)
    found = {name: losses for name, losses in every.items() if name not in lost}  # no claim is put to survivors
    ended = [name for name, known in manifests.items() if all(run["status"] in records.WITH_RESULT for run in known)]
    loss = {name: Estimate(max(min(run.losses) for run in losses), len(losses)) for name, losses in found.items()}
    steps = {
        "steps to start": _steps(found, Loss.started, lambda run: run.guessing is not None),
        f"steps to loss {loss_curves.CONVERGED}": _steps(found, lambda run: run.first_below(loss_curves.CONVERGED)),
    }

    def case(
        claim: MonotoneClaim | RangeClaim, said: str, certain: Collection[Number], values: Mapping[str, Estimate]
    ) -> ClaimCheck:
        cells = claim.cells if isinstance(claim, MonotoneClaim) else [claim.cell]
        differences = outcomes.differences([[outcomes.training(run) for cell in cells for run in manifests[cell]]])
        notes = [*differences, *(note for cell in cells for run in every.get(cell, ()) for note in run.notes)]
        changed = any(_changes_condition(cell, run["config"]) for cell in cells for run in manifests[cell])
        same = not changed and not differences
        begun = [name for name, known in manifests.items() if known]
        return ClaimCheck(claim, said, certain, values, begun, same, notes, open=set(manifests) - set(ended))

    starts, fits = steps
    for name, number in START_BEFORE_RANDOM.items():
        claim = MonotoneClaim(f"{name}: starts to converge before random labels", starts, (name, "random"), ".0f")
        yield case(claim, number.note, [number], steps[starts])
    for name, number in replicated.items():
        statement = f"{name}: fitted (a training loss of {loss_curves.CONVERGED} or less)"
        level = RangeClaim(statement, "training loss", name, 0.0, loss_curves.CONVERGED)
        yield case(level, f"a replication: at step {number.value:.0f}", [number], loss)
    later = sorted(replicated, key=lambda name: replicated[name].value or 0.0)
    sooner = [(f"{name}: fitted before random labels", (name, "random")) for name in later if name != "random"]
    for statement, cells in (*sooner, (f"fitted in this order: {', '.join(later)}", tuple(later))):
        said = f"a replication: {_said(replicated, cells, '.0f')}"
        yield case(
            MonotoneClaim(statement, fits, cells, ".0f"), said, [replicated[cell] for cell in cells], steps[fits]
        )


def _steps(
    found: Mapping[str, Sequence[Loss]],
    reached: Callable[[Loss], int | None],
    is_known: Callable[[Loss], bool] = lambda run: True,
) -> dict[str, Estimate]:
    """Returns the median steps of each condition; a run that has not come there makes it a bound."""
    measured = {}
    for name, losses in found.items():
        steps = [reached(run) for run in losses]
        if all(map(is_known, losses)):
            made = [run.steps[-1] if step is None else step for step, run in zip(steps, losses, strict=True)]
            measured[name] = Estimate(statistics.median(made), len(made), None, None in steps)
    return measured


def _changes_condition(condition: str, config: Mapping[str, Any]) -> bool:
    """Returns whether a run is not of the condition of figure 1a that its name says."""
    labels = "random" if condition == "random" else "none"
    pixels = "none" if condition in ("true", "random") else condition
    others = {**config, "corruption.pixels": "none"}
    return config.get("corruption.pixels") != pixels or _changes_claims(others, labels)


def _figure1bc(runs: Runs) -> Iterator[ClaimCheck]:
    placed: list[tuple[Point, Manifest]] = []
    unfinished: list[tuple[str, Manifest]] = []
    for name, folders in runs.items():
        for folder in folders:
            manifest = records.read_run(folder)
            points = label_corruption.read_points({name: [folder]})
            placed += [(point, manifest) for point in points]
            unfinished += [] if points else [(name, manifest)]
    for series in sorted({point.series for point, _ in placed}):
        own = [(point, manifest) for point, manifest in placed if point.series == series]
        words = set(filter(None, series.split("-")))
        yield from _of_series(series, own, [run for name, run in unfinished if words <= set(name.split("-"))])


def _of_series(
    series: str, own: Sequence[tuple[Point, Manifest]], unfinished: Sequence[Manifest]
) -> Iterator[ClaimCheck]:
    """Yields the claims about one network; its points with their manifests, and those of its runs without a result."""
    points, manifests = [point for point, _ in own], [manifest for _, manifest in own]
    begun = [(label_corruption.probability(run["config"]), run["status"]) for run in unfinished]
    begun = [(p, status) for p, status in begun if isinstance(p, int | float)]
    levels = [f"{x:g}" for x in sorted({*(point.x for point in points), *(p for p, _ in begun)})]
    if len(levels) < 2:
        return  # no level to compare with
    prefix = f"{series}: " if series else ""
    networks = {str(run["config"].get("model.name")) for run in manifests} - set(CORRUPTED_NETWORKS)
    notes = [f"network: {network}" for network in sorted(networks)] + [n for point in points for n in point.caveats]
    differences = outcomes.differences([list(map(outcomes.training, manifests))])
    comparable = not differences and not any(_changes_levels(run["config"]) for run in manifests)
    notes += [*differences, *(f"{status} at p = {p:g}" for p, status in begun)]
    steps = _over_seeds(points, label_corruption.relative(points, label_corruption.FIT))
    lost = {point.x for point in points if point.diverged}  # a mean there would be one of survivors
    survived = [point for point in points if point.x not in lost]
    notes += [f"runs diverged at p = {', '.join(f'{x:g}' for x in sorted(lost))}"] if lost else []
    errors, trained = (
        _over_seeds(survived, metric_vs_field.error(measure)) for measure in metric_vs_field.ERRORS.values()
    )
    unfitted = [x for x, error in trained.items() if _is_unfitted(error)]

    measure = f"steps to {float(label_corruption.FIT):.0%} / at p = 0"
    said, ends = STEPS_TO_OVERFIT, ("0", "1")
    claim = MonotoneClaim(f"{prefix}more steps to fit at p = 1 than at p = 0", measure, ends)
    yield ClaimCheck(claim, _said(said, ends), said.values(), steps, levels, comparable, notes)

    notes = [*notes, f"not fitted at p = {', '.join(unfitted)}"] if unfitted else notes
    ninety = TEST_ERROR["1"]
    rising = MonotoneClaim(
        f"{prefix}test error rises from each p to the next ({', '.join(levels)})", "test error", levels
    )
    yield ClaimCheck(rising, ninety.note, [ninety], errors, levels, comparable, notes)
    at_one = [manifest for point, manifest in own if point.x == 1]
    yield ClaimCheck(_chance(prefix, at_one), ninety.text(), [ninety], errors, levels, comparable, notes)


def _is_unfitted(error: Estimate) -> bool:
    return 100 - error.value < FITTED


def _chance(prefix: str, at_one: Sequence[Manifest]) -> RangeClaim:
    """Returns the claim of orderings.at_chance, of the test error at p = 1 in place of the accuracy."""
    sizes = [[(run.get("data") or {}).get(name) for run in at_one] for name in ("train_examples", "test_examples")]
    classes = [(run.get("summary") or {}).get("num_classes") for run in at_one]
    least = [min((count for count in counts if count), default=None) for counts in (classes, *sizes)]
    chance = resized(at_chance("1", prefix, CIFAR10), *least)
    low, high = 100 - chance.high, 100 - chance.low
    return RangeClaim(
        f"{prefix}at chance at p = 1 (test error in {low:.2f}..{high:.2f}%)", "test error", "1", low, high
    )


def _over_seeds(points: Sequence[Point], value: metric_vs_field.Value) -> dict[str, Estimate]:
    """Returns p -> the mean over seeds, of points of one series."""
    return {
        f"{x:g}": Estimate(mean, n, deviation / math.sqrt(n) if n > 1 else None, bound)
        for curve in metric_vs_field.curves(points, value).values()
        for x, mean, n, deviation, bound in zip(
            curve.x, curve.mean, curve.n, curve.deviation, curve.bounds, strict=True
        )
    }


def _changes_levels(config: Mapping[str, Any]) -> bool:
    """Returns whether a run differs from the paper's in more than how many labels are resampled."""
    others = {**config, "corruption.labels": "none"}
    return config.get("corruption.labels") not in ("none", "uniform") or _changes_claims(others, "none")


def _figure2a(runs: Runs) -> Iterator[ClaimCheck]:
    """Yields what stopping early could gain on ImageNet, by table 2's best accuracies so far; of no other networks."""
    best = BEST + "test_accuracy"
    names = {cell: cell.removeprefix("true-") for cell in TABLES["table2"].cells}
    for cell, numbers in TABLES["table2"].cells.items() if set(runs) & set(names.values()) else ():
        if best in numbers:
            name = names[cell]
            (known,) = outcomes.read({cell: runs.get(name, ())}, "table2").values()
            measures = {"test_accuracy": "last", best: "best so far"}
            found = {
                column: _mean(known, measure, error=False) for measure, column in measures.items()
            }  # pairs of a run
            claim = MonotoneClaim(
                f"{name}: early stopping would gain (the oracle's best above the last)", "test accuracy", ENDS
            )
            said = {column: numbers[measure] for measure, column in measures.items()}
            yield _case_of(claim, _said(said, ENDS), said.values(), found, {name: known}, ENDS if known else ())


def _figure2b(runs: Runs) -> Iterator[ClaimCheck]:
    names = ("inception_no_bn", "inception")
    known = {name: outcomes.read({f"{name}-none": runs.get(name, ())}, "table1")[f"{name}-none"] for name in names}
    claim, said = MonotoneClaim("inception: batch norm above none", "test accuracy", names), BATCH_NORM_GAIN
    tested = {name: _mean(found, "test_accuracy") for name, found in known.items()}
    begun = [name for name in names if known[name]]
    yield _case_of(claim, said.note, [said], tested, known, begun)
    for name, found in known.items():
        ended = [run for run in found if run.fractions]
        gains = [best_so_far.gain(records.read_rows(run.folder / "metrics.jsonl")) for run in ended]
        sample = [gain[0] for gain in gains if gain]
        statement = f"{name}: early stopping gains nothing (the oracle's gain is {LITTLE_GAIN:g} point or less)"
        level, said = RangeClaim(statement, "gain", name, 0.0, LITTLE_GAIN), EARLY_STOPPING_GAIN
        yield _case_of(level, said.note, [said], {name: _of_sample(sample)}, {name: found}, begun)


def _mean(known: Sequence[Outcome], measure: str, *, error: bool = True) -> Estimate | None:
    """Returns the mean over runs, percent; without its standard error where what it is compared with is of the same."""
    found = _of_sample([100 * fraction for fraction in outcomes.values(known, measure)])
    return found if error or not found else found._replace(error=None)


def _of_sample(sample: Sequence[float]) -> Estimate | None:
    """Returns the mean with its standard error; None of no values."""
    error = statistics.stdev(sample) / math.sqrt(len(sample)) if len(sample) > 1 else None
    return Estimate(statistics.fmean(sample), len(sample), error) if sample else None


def _case_of(
    claim: MonotoneClaim | RangeClaim,
    said: str,
    certain: Collection[Number],
    found: Mapping[str, Estimate | None],
    known: Mapping[str, Sequence[Outcome]],
    begun: Collection[str],
) -> ClaimCheck:
    """Returns the case of a claim about outcomes: `known` are those of all the runs that it speaks of."""
    listed = [run for runs in known.values() for run in runs]
    measured = {cell: value for cell, value in found.items() if value is not None}
    statuses = [
        f"{name}: {outcomes.statuses(runs)}" for name, runs in known.items() if not all(run.fractions for run in runs)
    ]
    differences = outcomes.differences([[run.training for run in runs] for runs in known.values()])
    survivors = any(map(outcomes.diverged, known.values()))
    comparable = not differences and not survivors and not any(run.changes_claims for run in listed)
    caveats = [caveat for runs in known.values() for caveat in outcomes.caveats_of(runs)]
    return ClaimCheck(claim, said, certain, measured, begun, comparable, [*caveats, *statuses, *differences])


_FIGURES: Mapping[str, Callable[[Runs], Iterator[ClaimCheck]]] = {
    "figure1a": _figure1a,
    "figure1bc": _figure1bc,
    "figure2a": _figure2a,
    "figure2b": _figure2b,
}
