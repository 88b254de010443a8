"""How often a few runs decide a claim: simulated networks with the paper's numbers, and without any difference.

    python -m rethink.report.power table1
    python -m rethink.report.power figures --seeds 5 --markdown

A test example has an ease that all networks share. A network has it right where a mix of that ease and of chance
exceeds a threshold, which gives each network its accuracy: that of its cell and a normal deviation, as of a seed.
"""

import argparse
import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

from rethink.paper import claims
from rethink.paper.claims import LITTLE_GAIN, ORDERINGS, Claim, Ordering, RangeClaim
from rethink.paper.numbers import STEPS_TO_LOSS, STEPS_TO_OVERFIT, TABLES, values_of
from rethink.report import figure_claims, inference, verdicts
from rethink.report.inference import Estimate
from rethink.report.verdicts import FAILS, HOLDS, UNDECIDED, ClaimCheck
from rethink.results import tables
from rethink.schema.errors import UserError, exit_on_mistake, pick

AGREEMENT = 0.7  # of two networks about an example: the correlation of what is compared with their thresholds
STEP_SPREAD = 0.05  # relative, of the steps of a run over seeds; they are seen on rows of
STEPS_BETWEEN = 50
EVALUATIONS, NOISE = 100, 0.2  # of a test curve, and in points about its course
COLUMNS = ("statement", "paper", HOLDS, UNDECIDED, FAILS, "holds without a difference", "notes")

Truths = Mapping[str, float]  # cell -> the mean over its networks
Draw = Callable[[Truths, np.random.Generator], dict[str, Estimate]]  # -> what the runs of a simulated sweep show


class Study(NamedTuple):
    """What is simulated: `draws` times a sweep with `seeds` runs of each cell.

    Attributes:
      spread: standard deviation of a network's accuracy over seeds, points.
    """

    seeds: int
    spread: float
    draws: int


def simulate_claim(claim: Claim, truths: Truths, draw: Draw, draws: int, seed: int = 0) -> Counter[str]:
    """Returns verdict -> how many of the simulated sweeps have it."""
    rng, counts = np.random.default_rng(seed), Counter[str]()
    for _ in range(draws):
        check = ClaimCheck(claim, draw({cell: truths[cell] for cell in claim.cells}, rng), started=claim.cells)
        counts[verdicts.judge_claim(check)["verdict"]] += 1
    return counts


# What the runs of a sweep show: each takes what it is of, and then is a `Draw`.


def draw_accuracies(measure: str, examples: int, study: Study, truths: Truths, rng: np.random.Generator) -> dict:
    """Returns cell -> an accuracy or error, percent, of networks on one test set; 0 examples: known whole."""
    ease = rng.standard_normal(examples, np.float32)
    estimates = {}
    for cell, truth in truths.items():
        percents = np.clip(truth + study.spread * rng.standard_normal(study.seeds), 0, 100)
        if not examples:
            estimates[cell] = inference.exact(percents.tolist())
            continue
        chance = rng.standard_normal((study.seeds, examples), np.float32)
        mixed = np.float32(np.sqrt(AGREEMENT)) * ease + np.float32(np.sqrt(1 - AGREEMENT)) * chance
        right = mixed < scipy.stats.norm.ppf(percents / 100)[:, None]
        values = (100 * right.mean(axis=1, dtype=np.float64)).tolist()
        # Of an error the examples below the threshold are the ones that are wrong.
        correct = {"test_accuracy": right, "test_error": ~right}.get(measure)
        estimates[cell] = inference.exact(values, examples, correct)
    return estimates


def draw_steps(seeds: int, between: int, truths: Truths, rng: np.random.Generator) -> dict[str, Estimate]:
    """Returns cell -> the steps of runs, as seen on rows `between` steps apart."""
    steps = {cell: truth * np.exp(STEP_SPREAD * rng.standard_normal(seeds)) for cell, truth in truths.items()}
    rows = {cell: np.ceil(some / between) * between for cell, some in steps.items()}
    return {cell: inference.seen_between([(row - between, row) for row in some]) for cell, some in rows.items()}


def draw_gains(evaluations: int, noise: float, truths: Truths, rng: np.random.Generator) -> dict[str, Estimate]:
    """Returns cell -> the gain of stopping early, of one run: its test curve loses the true gain half of the way."""
    estimates = {}
    for cell, gain in truths.items():
        course = np.where(np.arange(evaluations) < evaluations // 2, 50 + gain, 50)
        curve = (course + noise * rng.standard_normal(evaluations)) / 100
        rows = [{"kind": "evaluation", "step": n, "test_accuracy": value} for n, value in enumerate(curve, start=1)]
        found = figure_claims.measure_gain(rows)
        assert found is not None
        value, low, high = found
        estimates[cell] = Estimate((value,), (low,), (high,))
    return estimates


def without_difference(claim: Claim, truths: Truths) -> tuple[Claim, Truths]:
    """Returns a claim and truths by which it is just false: all cells alike, or a value at the end of the range."""
    if isinstance(claim, RangeClaim):
        middle = truths[claim.cell]
        end = min((end for end in (claim.low, claim.high) if end > 0), key=lambda end: abs(end - middle))
        return claim, {claim.cell: math.nextafter(end, -math.inf if end == claim.low else math.inf)}
    alike = float(np.mean([truths[cell] for cell in claim.cells]))
    return claim._replace(unresolved=""), dict.fromkeys(claim.cells, alike)


def power_rows(name: str, study: Study) -> list[dict[str, Any]]:
    """Returns a row for each claim that has numbers about a table of the paper, or about its figures.

    The columns are `COLUMNS`; shares are in percent of the draws. Of what is known whole there is nothing to simulate.
    A claim about networks is simulated without a spread over seeds: it is not of their mean.

    Raises:
      UserError: the name is unknown.
    """
    pick({**TABLES, "figures": None}, name, "TABLE")
    rows = []
    for claim, truths, draw in _list_figures(study) if name == "figures" else _list_table(name, study):
        counts = simulate_claim(claim, truths, draw, study.draws)
        null = simulate_claim(*without_difference(claim, truths), draw, study.draws, seed=1)
        shares = {verdict: f"{100 * counts[verdict] / study.draws:.1f}" for verdict in (HOLDS, UNDECIDED, FAILS)}
        last = {"holds without a difference": f"{100 * null[HOLDS] / study.draws:.1f}"}
        notes = claim.unresolved if isinstance(claim, Ordering) else ""
        rows.append({"statement": claim.statement, "paper": claim.paper, **shares, **last, "notes": notes})
    return rows


def _list_table(table: str, study: Study) -> Iterator[tuple[Claim, Truths, Draw]]:
    """Yields the claims about a table with the paper's numbers, and how runs are drawn."""
    for claim in ORDERINGS[table]:
        truths = values_of(table, claim.measure)
        examples = 0 if claim.measure.startswith("train") else TABLES[table].test_examples
        is_range = isinstance(claim, RangeClaim)
        if set(claim.cells) <= set(truths) and (examples or not is_range):
            own = study._replace(spread=0.0) if is_range else study
            yield claim, truths, functools.partial(draw_accuracies, claim.measure, examples, own)


def _list_figures(study: Study) -> Iterator[tuple[Claim, Truths, Draw]]:
    """Yields the claims about steps and about gains, likewise; those about errors are of tables too."""
    steps: Draw = functools.partial(draw_steps, study.seeds, STEPS_BETWEEN)
    for claim in claims.figure1a_claims():
        if claim.measure.startswith("steps to loss"):
            yield claim, {name: number.value or 0.0 for name, number in STEPS_TO_LOSS.items()}, steps
    fits, *_ = claims.figure1bc_claims("", ("0", "1"), claims.CIFAR10)
    yield fits, {p: 5000 * (number.value or 0.0) for p, number in STEPS_TO_OVERFIT.items()}, steps
    gains: Draw = functools.partial(draw_gains, EVALUATIONS, NOISE)
    for _, claim in claims.figure2a_claims():
        yield claim, {claim.cells[0]: float(claim.paper)}, gains
    for claim in claims.figure2b_claims():
        if claim.measure == "gain":
            yield claim, {claim.cells[0]: LITTLE_GAIN / 10}, gains


def main() -> None:
    """Prints the power of each claim about the table that the command line names."""
    parser = argparse.ArgumentParser(description="How often a few runs would decide the paper's claims.")
    parser.add_argument("table", metavar="TABLE", help=f"{', '.join(TABLES)}, or figures")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each cell")
    parser.add_argument("--spread", type=float, default=0.4, help="of the accuracy over seeds, points")
    parser.add_argument("--draws", type=int, default=2000, help="simulated sweeps a claim")
    parser.add_argument("--markdown", action="store_true", help="Markdown instead of text")
    with exit_on_mistake():
        arguments = parser.parse_args()
        for name in ("seeds", "draws"):
            if getattr(arguments, name) < 1:
                raise UserError(f"--{name}={getattr(arguments, name)} simulates nothing: give 1 or more.")
        rows = power_rows(arguments.table, Study(arguments.seeds, arguments.spread, arguments.draws))
        if not rows:
            raise UserError(f"TABLE={arguments.table} has no claim with sampling error: nothing is to be simulated.")
        print((tables.to_markdown if arguments.markdown else tables.to_text)(rows, COLUMNS))


if __name__ == "__main__":
    main()
