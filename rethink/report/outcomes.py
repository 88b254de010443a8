"""Owns what the runs of a comparison say: where they lie, their measures, and why they may not be comparable.

Refuses to compare: it reads records, and no number of the paper.
"""

import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rethink.paper import protocol
from rethink.paper.numbers import BEST, TABLES
from rethink.results import records
from rethink.results.runs import Runs
from rethink.schema.errors import UserError


class Training(NamedTuple):
    """What runs must share to be compared with each other; None where it is not recorded.

    Attributes:
      epochs: as planned; optimizer: the fields of the config that are of it, as text.
    """

    train_examples: int | None
    epochs: float | None
    optimizer: str


class Outcome(NamedTuple):
    """What one run says.

    Attributes:
      train_examples, test_examples, epochs: None where they are not recorded.
      fractions: measure -> value in 0..1; empty where the run has not come to a result.
      caveats: why it is another experiment than the paper's.
      changes_claims: whether not even an ordering can be put to it.
      classes: of its data; None where they are not recorded.
    """

    folder: pathlib.Path
    seed: int
    status: str
    train_examples: int | None
    test_examples: int | None
    epochs: float | None
    fractions: Mapping[str, float]
    caveats: Sequence[str]
    changes_claims: bool
    classes: int | None
    training: Training


def training(manifest: Mapping[str, Any]) -> Training:
    """Returns how a run was trained, as its manifest says."""
    config, data = manifest["config"], manifest.get("data") or {}
    optimizer = ", ".join(f"{field}={config[field]}" for field in sorted(config) if field.startswith("optimizer."))
    return Training(data.get("train_examples"), config.get("train.total_epochs"), optimizer)


def differences(networks: Iterable[Sequence[Training]]) -> list[str]:
    """Returns how runs were trained otherwise than each other, so that no claim can be put to them together.

    Args:
      networks: the runs of each network; optimizers are compared among those of one.
    """
    groups = list(networks)
    every = [run for group in groups for run in group]
    differ = {
        "train examples": len({run.train_examples for run in every}) > 1,
        "epochs": len({run.epochs for run in every}) > 1,
        "the optimizer of one network": any(len({run.optimizer for run in group}) > 1 for group in groups),
    }
    return [f"runs differ in {what}" for what, differs in differ.items() if differs]


def read(runs: Runs, table: str) -> dict[str, list[Outcome]]:
    """Returns what the runs of each cell say of a table of the paper.

    Raises:
      UserError: a directory holds no run or a damaged one, or two of a cell have the same seed.
    """
    found = {cell: [_outcome(folder, table, cell) for folder in folders] for cell, folders in runs.items()}
    for cell, outcomes in found.items():
        folders: dict[int, pathlib.Path] = {}
        for outcome in outcomes:
            if outcome.seed in folders:
                other = folders[outcome.seed]
                raise UserError(
                    f"{cell}: {other} and {outcome.folder} have the same seed ({outcome.seed}): leave one out."
                )
            folders[outcome.seed] = outcome.folder
    return found


def _outcome(folder: pathlib.Path, table: str, cell: str) -> Outcome:
    manifest = records.read_run(folder)
    status, config, data = manifest["status"], manifest["config"], manifest.get("data", {})
    if "seed" not in config:
        raise UserError(f"{folder}/manifest.json has no seed: bring it back from a copy, or leave it out.")
    summary = manifest.get("summary") if status in records.WITH_RESULT else None
    return Outcome(
        folder=folder,
        seed=config["seed"],
        status=status,
        train_examples=data.get("train_examples"),
        test_examples=data.get("test_examples"),
        epochs=summary.get("epochs") if summary else None,
        fractions=_fractions(folder, summary["evaluation"] or {}, TABLES[table].measures) if summary else {},
        caveats=[*protocol.mismatches(table, cell, config), *protocol.caveats(config, data)],
        changes_claims=protocol.changes_claims(table, cell, config),
        classes=(summary or {}).get("num_classes"),
        training=training(manifest),
    )


def _fractions(folder: pathlib.Path, last: Mapping[str, Any], measures: Iterable[str]) -> dict[str, float]:
    """Returns the measures that the run has recorded, from its last evaluation row or, for the best, from all."""
    rows = [row for row in records.read_rows(folder / "metrics.jsonl") if row["kind"] == "evaluation" and row["step"]]
    found: dict[str, float] = {}
    for measure in measures:
        field = measure.removeprefix(BEST)
        values = [row.get(field) for row in (rows if measure.startswith(BEST) else [last])]
        measured = [value for value in values if value is not None]
        if measured:
            found[measure] = max(measured)
    return found


def values(outcomes: Iterable[Outcome], measure: str) -> list[float]:
    """Returns a measure of the runs that came to a result, as fractions."""
    return [outcome.fractions[measure] for outcome in outcomes if measure in outcome.fractions]


def caveats_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Returns what makes any of the runs another experiment than the paper's, or their mean one of survivors."""
    found = list(dict.fromkeys(caveat for outcome in outcomes for caveat in outcome.caveats))
    lost = diverged(outcomes)
    return found + ([f"{lost} of {len(outcomes)} diverged"] if lost else [])


def diverged(outcomes: Sequence[Outcome]) -> int:
    """Returns how many of the runs diverged, where others of the same cell came to a result; else 0."""
    count = sum(outcome.status == "diverged" for outcome in outcomes)
    return count if any(outcome.fractions for outcome in outcomes) else 0


def statuses(outcomes: Sequence[Outcome]) -> str:
    """Returns 'not run', 'done', or with several statuses how many runs had each: '2 done, 1 failed'."""
    counts = Counter(outcome.status for outcome in outcomes)
    if len(counts) < 2:
        return next(iter(counts), "not run")
    return ", ".join(f"{count} {status}" for status, count in counts.items())
