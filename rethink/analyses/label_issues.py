"""The audit of labels: which are wrong, how many, and how much that answer is worth on these data.

A share of the labels is flipped on purpose, and a network is trained, in two rounds that flip other ones: each label is
judged as it is in one round at least. The flipped ones choose score and evaluation, and calibrate them.

    labels-N.npz           what round N was trained on: id, label, kind of flip ("" for none)
    label_issues.csv       a row for each training example, the most suspicious first
    calibration.csv        what each score at each evaluation finds of the flipped labels
    label_issues.npz       the suspicion of each label in each round, NaN where it was flipped
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rethink import randomness
from rethink.analyses.analysis import Analysis, require_values
from rethink.data.corruption.noise import DataFacts
from rethink.data.corruption.spec import Corrupted, redraw_labels, resolve_seed
from rethink.figures.gallery import draw_gallery
from rethink.figures.label_quality import draw_calibration
from rethink.memorization import label_issues as issues
from rethink.memorization.detection import measure_order
from rethink.memorization.dynamics import compute_scores, find_score, orient, suspicion
from rethink.memorization.label_issues import Scored, WrongLabels
from rethink.results.example_history import ExampleHistory
from rethink.results.runs import load_run
from rethink.schema.errors import UserError

ROUNDS = 2
KINDS = ("symmetric", "pair_flip", "instance")
SCORES = ("aum", "cumulative_loss", "last_margin", "last_loss")  # those that are smooth and have no upper end
LEAST_FLIPPED = 12  # labels of all rounds, below which nothing is calibrated
SHOWN = 30  # of the most suspicious, as pictures


class Flips(NamedTuple):
    """The labels of a round, int32 [n], and how each was flipped, an index of kinds, -1 for none: int [n]."""

    labels: np.ndarray
    kinds: np.ndarray


class Choice(NamedTuple):
    """The score and the place of the evaluation that find the flipped labels best.

    Attributes:
      precision: part of the labels that were flipped among those where the recall is `RECALL`.
    """

    score: str
    evaluation: int
    precision: float
    auroc: float


def flip_labels(train: Corrupted, num_classes: int, *, seed: int, share: float, has_vectors: bool) -> list[Flips]:
    """Returns the labels of each round, with a share of them flipped; no label is flipped in two rounds.

    Each is a function of (seed, id, label, image); what a smaller share flips, a larger one flips as well. The kinds of
    flips are as frequent as each other; of feature vectors and very large images `instance` is left out.

    Raises:
      UserError: there is one class.
    """
    key = randomness.key_for(seed, "label_issues")
    drawn = jax.vmap(lambda one: jax.random.bits(one, (2,)))(randomness.example_keys(key, jnp.asarray(train.ids)))
    numbers, draws = np.asarray(drawn[:, 0], np.float64) / 2**32, np.asarray(drawn[:, 1])
    # Another seed than that of the config's own label noise, whose draws the flips would else repeat.
    own_seed = int(jax.random.bits(randomness.key_for(seed, "label_issues", "flips"), (), np.uint32))
    facts = DataFacts(num_classes, own_seed, ids=train.ids, has_vectors=has_vectors)
    flipped = [_flip_all(train, kind, facts) for kind in KINDS]
    kept = [labels for labels in flipped if labels is not None]
    of_kind = (draws % len(kept)).astype(np.int64)
    chosen = np.stack(kept)[of_kind, np.arange(len(draws))]
    rounds = []
    for number in range(ROUNDS):
        is_flipped = ((numbers - number / ROUNDS) % 1 < share) & (chosen != train.labels)
        rounds.append(Flips(np.where(is_flipped, chosen, train.labels), np.where(is_flipped, of_kind, -1)))
    return rounds


def _flip_all(train: Corrupted, kind: str, facts: DataFacts) -> np.ndarray | None:
    """Returns all labels flipped, a few by chance not; None where these examples have no such kind."""
    config = ConfigDict({"labels": kind, "label_probability": 1.0, "test_labels": False, "instance_scale": 1.0})
    config.update({"channels_together": True, "test_pixels": False, "label_column": "label"})
    try:
        return redraw_labels(train.labels, config, facts, train.images)[0]
    except UserError:
        if kind != "instance":
            raise
        return None


def analyze_label_issues(analysis: Analysis) -> dict[str, Any]:
    """Returns the summary of the run: how many labels are wrong, with an interval, and what the flipped ones say of it.

    Raises:
      UserError: fields that have no meaning here, or too few labels to flip.
    """
    config, record, train = analysis.config, analysis.record, analysis.splits["train"]
    check_label_issues_config(config)
    dataset = analysis.pipeline.dataset

    # Flip, and train on what that leaves.
    flips = flip_labels(
        train,
        analysis.num_classes,
        seed=config.seed,
        share=config.label_issues.planted,
        has_vectors=dataset.has_vectors,
    )
    if (count := sum(int((one.kinds >= 0).sum()) for one in flips)) < LEAST_FLIPPED:
        raise UserError(
            f"label_issues.planted={config.label_issues.planted:g} flips {count} of {len(train.ids)} labels, too few "
            f"to calibrate by: set it so that {LEAST_FLIPPED} or more are."
        )
    histories = [_train_round(analysis, number, one) for number, one in enumerate(flips)]

    # Let the flipped labels choose the score and the evaluation, and estimate by these.
    choice, calibration = choose_score(histories, flips)
    suspicions = [
        orient(choice.score, compute_scores(history, choice.evaluation)[choice.score]) for history in histories
    ]
    is_flipped = [one.kinds >= 0 for one in flips]
    scored = Scored(
        np.concatenate([values[mask] for values, mask in zip(suspicions, is_flipped, strict=True)]),
        np.array(KINDS)[np.concatenate([one.kinds[mask] for one, mask in zip(flips, is_flipped, strict=True)])],
        np.concatenate([values[~mask] for values, mask in zip(suspicions, is_flipped, strict=True)]),
        ROUNDS,
    )
    mixture = issues.fit_mixture(scored)
    wrong = issues.estimate_wrong(scored, mixture, analysis.num_classes, len(train.ids))

    mixture = mixture._replace(wrong=max(wrong.wrong, 0.5) * len(scored.own) / len(train.ids) / len(scored.flipped))

    # The probability that each label is wrong, over the rounds that had it as it is.
    own = np.stack([np.where(mask, np.nan, values) for values, mask in zip(suspicions, is_flipped, strict=True)])
    quality = 1 - np.nanmean(mixture.wrong_probability(own), axis=0)
    is_issue = quality < 0.5
    suggested = _suggest(histories, is_flipped, choice.evaluation, train.labels, is_issue, analysis.num_classes)
    order = np.lexsort((train.ids, -np.nanmean(own, axis=0), quality))

    # Record.
    header = ("score", "step", "kind", "flipped", "auroc", *("recall", "recall_low", "recall_high"))
    record.save_table("calibration.csv", (*header, "precision", "precision_low", "precision_high"), calibration)
    record.save_arrays("label_issues", ids=train.ids, suspicion=own, quality=quality)
    scores = _mean_scores(histories, is_flipped, choice.evaluation)
    names = ("given_label", "suggested_label", "given_class", "suggested_class", "label_quality", "is_label_issue")
    rows = _list_examples(analysis, order, suggested, quality, is_issue, scores)
    record.save_table("label_issues.csv", ("id", "path", *names, *scores), rows)
    folder, title = record.subfolder("figures"), f"{config.name}: {choice.score} finds labels flipped on purpose"
    draw_calibration(scored, quality, folder / "label_quality", title=title)
    _draw_worst(analysis, order, suggested, quality)

    # Summary.
    flagged = issues.measure_flags(scored, mixture)
    step = int(histories[0].steps[choice.evaluation])
    return {
        "evaluation": {},
        "wrong_labels": wrong._asdict(),
        "changed_labels": int((train.labels != train.true_labels).sum()),  # by the section corruption
        "flagged": int(is_issue.sum()),
        "choice": {"score": choice.score, "step": step, "auroc": choice.auroc},
        "mixture": mixture._asdict(),
        "recall": flagged.recall._asdict(),
        "precision": flagged.precision._asdict(),
        "rows": _make_closing_rows(len(train.ids), wrong, int(is_issue.sum()), choice, step, flagged),
    }


def check_label_issues_config(config: ConfigDict) -> None:
    """Checks that every training example is trained on, and learned.

    Raises:
      UserError: a part of train is held out, or a field ends training early.
    """
    require_values(
        config,
        {"data.validation_fraction": 0.0, "early_stopping.monitor": "none", "data.classes": 0, "data.folds": 0},
    )


def choose_score(
    histories: Sequence[ExampleHistory], flips: Sequence[Flips]
) -> tuple[Choice, list[tuple[int | float | str, ...]]]:
    """Returns the best score and evaluation, and the calibration table.

    The best has the largest precision where nine in ten flipped labels are found, then the largest AUROC. By AUROC
    alone, where scores differ little, how wrong labels of the user's own stand among the flipped ones would decide.

    A row of the table is of a score at an evaluation, and of a kind of flips or of all: where as many labels are
    flagged as were flipped, the part of the flipped ones that are, and of the flagged ones that were flipped. That is a
    lower bound of the precision, as wrong labels of the user's own count against it.
    """
    best, rows = Choice("", 0, -1.0, -1.0), []
    values = {score: [find_score(score).compute(history) for history in histories] for score in SCORES}
    for evaluation in range(1, min(len(history.steps) for history in histories)):
        for score in SCORES:
            places = [suspicion(score, of_round[evaluation]) for of_round in values[score]]
            step = int(histories[0].steps[evaluation])
            described = [_describe_kind(places, flips, kind) for kind in (-1, *range(len(KINDS)))]
            rows += [(score, step, *row) for row in described if row]
            key = (_precision_at(places, flips), float(described[0][2]))
            if key > (best.precision, best.auroc):
                best = Choice(score, evaluation, *key)
    return best, rows


def _precision_at(places: Sequence[np.ndarray], flips: Sequence[Flips]) -> float:
    found, above = 0, 0
    for order, one in zip(places, flips, strict=True):
        flipped = order[one.kinds >= 0]
        if len(flipped):
            threshold = np.quantile(flipped, 1 - issues.RECALL, method="lower")
            found, above = found + (flipped >= threshold).sum(), above + (order >= threshold).sum()
    return found / above


def _describe_kind(places: Sequence[np.ndarray], flips: Sequence[Flips], kind: int) -> tuple[Any, ...]:
    """Returns kind, flipped labels, AUROC, recall and precision with their intervals; () of a kind without labels."""
    aurocs, counted, found, flagged = [], 0, 0, 0
    for order, one in zip(places, flips, strict=True):
        any_kind = one.kinds >= 0
        chosen = any_kind if kind < 0 else one.kinds == kind
        kept = chosen | ~any_kind
        if detection := measure_order(order[kept], chosen[kept]):
            aurocs.append(detection.auroc)
        most = order >= np.sort(order)[-max(int(any_kind.sum()), 1)]
        counted, found, flagged = counted + chosen.sum(), found + (most & chosen).sum(), flagged + most.sum()
    if not counted:
        return ()
    recall = issues.wilson(found, counted)
    precision = issues.wilson(found, flagged) if kind < 0 else ("", "", "")
    return ("all" if kind < 0 else KINDS[kind], int(counted), float(np.mean(aurocs)), *recall, *precision)


def _train_round(analysis: Analysis, number: int, flips: Flips) -> ExampleHistory:
    """Returns what the evaluations of a round saw of all training examples, by ascending id."""
    train, names = analysis.splits["train"], np.array(analysis.pipeline.dataset.class_names)
    kinds = np.array([*KINDS, ""])[flips.kinds]
    analysis.record.save_arrays(f"labels-{number}", ids=train.ids, label=names[flips.labels], kind=kinds)
    run = analysis.config.copy_and_resolve_references()
    run.kind, run.seed = "train", (analysis.config.seed + number) % 2**32
    run.corruption.labels = f"file:{analysis.record.path(f'labels-{number}.npz')}"
    run.corruption.label_column, run.corruption.label_probability = "label", 1.0
    run.corruption.test_labels = False
    run.corruption.seed = resolve_seed(analysis.config)  # the pixels of all rounds are those of the audit
    run.log.examples = "all"
    analysis.train(run, f"round-{number}")
    history = load_run(analysis.record.folder / f"round-{number}").example_history()
    if history is None or not np.array_equal(history.given_labels, flips.labels[np.argsort(train.ids)]):
        raise UserError(
            f"{analysis.record.folder / f'round-{number}'} was trained on other labels than these: choose another "
            "--workdir."
        )
    return history


def _mean_scores(
    histories: Sequence[ExampleHistory], is_flipped: Sequence[np.ndarray], evaluation: int
) -> dict[str, np.ndarray]:
    """Returns each score of the labels as they are, mean over the rounds that had them so: float64 [n]."""
    found = [compute_scores(history, evaluation) for history in histories]
    return {
        name: np.nanmean(
            [np.where(mask, np.nan, scores[name]) for scores, mask in zip(found, is_flipped, strict=True)], axis=0
        )
        for name in SCORES
    }


def _suggest(
    histories: Sequence[ExampleHistory],
    is_flipped: Sequence[np.ndarray],
    evaluation: int,
    given: np.ndarray,
    is_issue: np.ndarray,
    num_classes: int,
) -> np.ndarray:
    """Returns the class that was predicted most often, of flagged labels another one than given: int32 [n]."""
    counts = np.zeros((len(given), num_classes), np.int32)
    for history, mask in zip(histories, is_flipped, strict=True):
        rows = np.flatnonzero(~mask)
        for predicted in history.predicted[1 : evaluation + 1]:
            counts[rows, predicted[rows]] += 1
    counts[is_issue, given[is_issue]] = -1
    return np.argmax(counts, axis=1).astype(np.int32)


def _list_examples(
    analysis: Analysis,
    order: np.ndarray,
    suggested: np.ndarray,
    quality: np.ndarray,
    is_issue: np.ndarray,
    scores: dict[str, np.ndarray],
) -> Iterator[tuple[Any, ...]]:
    """Yields the rows of label_issues.csv."""
    train, dataset = analysis.splits["train"], analysis.pipeline.dataset
    names, paths = dataset.class_names, dataset.train.paths or [""] * len(train.ids)
    for row in order.tolist():
        labels = int(train.labels[row]), int(suggested[row])
        judged = f"{quality[row]:.6f}", bool(is_issue[row])
        numbers = (f"{values[row]:.6g}" for values in scores.values())
        yield (int(train.ids[row]), paths[row], *labels, *(names[label] for label in labels), *judged, *numbers)


def _draw_worst(analysis: Analysis, order: np.ndarray, suggested: np.ndarray, quality: np.ndarray) -> None:
    worst, names = order[:SHOWN], analysis.pipeline.dataset.class_names
    examples = analysis.splits["train"].take(worst)
    (shown,) = analysis.pipeline.show_samples(examples).values()
    captions = [
        (f"given {names[given]}, id {number}", f"suggested {names[other]} ({value:.2f})")
        for given, number, other, value in zip(
            examples.labels, examples.ids, suggested[worst], quality[worst], strict=True
        )
    ]
    title = f"{analysis.config.name}: the most suspicious labels, with their quality from 0 to 1"
    draw_gallery(shown, captions, analysis.record.subfolder("figures") / "label_issues", title=title)


def _make_closing_rows(
    examples: int, wrong: WrongLabels, flagged: int, choice: Choice, step: int, flags: issues.Flags
) -> list[tuple[str, str]]:
    """Returns the closing table, (label, value) pairs."""
    interval = f"95% interval {wrong.low:.0f} to {wrong.high:.0f}"
    return [
        ("estimated wrong labels", f"{wrong.wrong:.0f} ({wrong.wrong / examples:.1%}), {interval}"),
        ("flagged", f"{flagged:,} of {examples:,}, see label_issues.csv"),
        ("chosen by flipped labels", f"{choice.score} at step {step:,}, AUROC {choice.auroc:.4f}"),
        ("  flipped labels that are flagged", issues.describe(flags.recall)),
        ("  flagged labels that were flipped (at least)", issues.describe(flags.precision)),
    ]
