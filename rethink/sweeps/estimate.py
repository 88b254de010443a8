"""The plan of a sweep: which of its runs are done, and about what time and disk the others will take.

An estimate comes from runs of the same folder that ended; those that none of them is like are left out of it.
"""

import contextlib
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from rethink.results import records, screen
from rethink.schema import validation
from rethink.schema.errors import UserError
from rethink.schema.fields import FIELDS
from rethink.schema.grid import SweepRun
from rethink.sweeps.executors.tasks import Task, exit_code_if_finished

MIB = 2**20


class Cost(NamedTuple):
    """What a run took.

    Attributes:
      seconds: for one example in one epoch; of an analysis in all.
      size: bytes on disk.
      full_train_examples: how many training examples its data set has.
    """

    seconds: float
    size: int
    full_train_examples: int


def describe_plan(runs: Sequence[SweepRun], folder: pathlib.Path) -> str:
    """Returns one line: how many runs are done, resume and are new, and about how long the latter two take in a row.

    Several at a time take less. Damaged manifests are left out: the run that belongs there reports them.
    """
    # Sort the runs by what their folders hold.
    manifests = {}
    for path in sorted(folder.glob("*/manifest.json")):
        with contextlib.suppress(UserError):
            manifests[path.parent.name] = records.read_manifest(path)
    finished = {name: manifest for name, manifest in manifests.items() if manifest["status"] in records.FINISHED}
    waiting = [
        run
        for run in runs
        if run.folder not in finished
        or exit_code_if_finished(Task(run.folder, run.config, folder / run.folder), finished[run.folder]) is None
    ]
    resuming = sum(run.folder in manifests for run in waiting)
    counts = f"{len(runs) - len(waiting)} done, {resuming} to resume, {len(waiting) - resuming} new"
    # Estimate those that are like one that ended.
    costs = _collect_costs(finished, folder)
    estimates = [(run, costs[_cost_key(run.config)]) for run in waiting if _cost_key(run.config) in costs]
    if not estimates:
        return f"{len(runs)} runs: {counts}"
    seconds = sum(_estimate_seconds(run.config, like_costs, folder / run.folder) for run, like_costs in estimates)
    size = sum(statistics.median(cost.size for cost in like_costs) for _, like_costs in estimates)
    which = "them" if len(estimates) == len(waiting) else f"{len(estimates)} of them"
    return (
        f"{len(runs)} runs: {counts}; about {screen.format_duration(seconds)} of running and "
        f"{size / MIB:,.0f} MiB for {which}, by those that ended"
    )


def _cost_key(config: Mapping[str, Any] | ConfigDict) -> tuple[Any, ...]:
    flat = dict(validation.flatten(config)) if isinstance(config, ConfigDict) else config
    return tuple(flat.get(field) for field, row in FIELDS.items() if row.same_cost)


def _collect_costs(
    finished: Mapping[str, Mapping[str, Any]], folder: pathlib.Path
) -> dict[tuple[Any, ...], list[Cost]]:
    """Returns the values of the fields that are `same_cost` -> the costs of the finished runs that have them."""
    costs: dict[tuple[Any, ...], list[Cost]] = {}
    for name, manifest in finished.items():
        summary, data = manifest.get("summary"), manifest.get("data") or {}
        if not summary or "full_train_examples" not in data:
            continue
        work = summary["epochs"] * data["train_examples"] if "epochs" in summary else 1
        if not work:  # it ended at its first evaluation, before any training
            continue
        size = sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file())
        cost = Cost(summary["seconds"] / work, size, data["full_train_examples"])
        costs.setdefault(_cost_key(manifest["config"]), []).append(cost)
    return costs


def _estimate_seconds(config: ConfigDict, like_costs: Sequence[Cost], folder: pathlib.Path) -> float:
    """Returns about how long a run will take, from the costs of some like it and the epochs that it has behind it."""
    each = statistics.median(cost.seconds for cost in like_costs)
    if config.kind != "train":
        return each
    examples = config.data.train_examples or max(cost.full_train_examples for cost in like_costs)
    return each * max(0.0, config.train.total_epochs - _read_last_epoch(folder)) * examples


def _read_last_epoch(folder: pathlib.Path) -> float:
    """Returns how far a run has come, by its last row; 0 where none can be read."""
    with contextlib.suppress(UserError):
        rows = records.read_rows(folder / "metrics.jsonl")
        return (rows[-1].get("epoch") or 0.0) if rows else 0.0
    return 0.0
