"""Owns the plan of a table: which of its runs are done, and what time and disk the others will take.

Refuses to guess: an estimate is made of runs that ended in the same folder, and names what none tells about.
"""

import contextlib
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from rethink.results import progress, records
from rethink.schema import validation
from rethink.schema.errors import UserError
from rethink.schema.grid import SweepRun
from rethink.sweeps.executors.tasks import exit_code_if_finished

SAME_COST_FIELDS = (  # runs that cost alike
    "kind",
    "model.name",
    "batch_norm.kind",
    "augmentation.crop",
    "data.name",
    "kernel.features",
    "kernel.filters",
)
MIB = 2**20


class Cost(NamedTuple):
    """What a run took.

    Attributes:
      seconds: for one example in one epoch; of a study: in all.
      size: bytes on disk.
      full_train_examples: of its data set.
    """

    seconds: float
    size: int
    full_train_examples: int


def describe_plan(asked: Sequence[SweepRun], folder: pathlib.Path) -> str:
    """Returns one line: how many runs are done, go on and are new, and about how long the latter will run in all.

    Runs at the same time take less. Damaged manifests are left out: the run that belongs there names them.
    """
    manifests = {}
    for path in sorted(folder.glob("*/manifest.json")):
        with contextlib.suppress(UserError):
            manifests[path.parent.name] = records.read_manifest(path)
    ended = {name: found for name, found in manifests.items() if found["status"] in records.FINISHED}
    ahead = [
        member
        for member in asked
        if member.folder not in ended or exit_code_if_finished(ended[member.folder], member.config) is None
    ]
    going_on = sum(member.folder in manifests for member in ahead)
    parts = [f"{len(asked)} runs: {len(asked) - len(ahead)} done, {going_on} to go on, {len(ahead) - going_on} new"]
    costs = _costs(ended, folder)
    known = [(member, costs[_cost_key(member.config)]) for member in ahead if _cost_key(member.config) in costs]
    if known:
        seconds = sum(_seconds(member.config, alike, folder / member.folder) for member, alike in known)
        size = sum(statistics.median(cost.size for cost in alike) for _, alike in known)
        which = "them" if len(known) == len(ahead) else f"{len(known)} of them"
        parts.append(
            f"about {progress.duration(seconds)} of running and {size / MIB:,.0f} MiB for {which}, by those that ended"
        )
    return "; ".join(parts)


def _cost_key(config: Mapping[str, Any] | ConfigDict) -> tuple[Any, ...]:
    flat = dict(validation.flatten(config)) if isinstance(config, ConfigDict) else config
    return tuple(flat.get(field) for field in SAME_COST_FIELDS)


def _costs(ended: Mapping[str, Mapping[str, Any]], folder: pathlib.Path) -> dict[tuple[Any, ...], list[Cost]]:
    """Returns kind of run -> the costs of those that ended."""
    found: dict[tuple[Any, ...], list[Cost]] = {}
    for name, manifest in ended.items():
        summary, data = manifest.get("summary"), manifest.get("data") or {}
        if summary and "full_train_examples" in data:
            work = summary.get("epochs", 1) * (data["train_examples"] if "epochs" in summary else 1)
            if not work:  # it ended at its first evaluation: that tells nothing
                continue
            size = sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file())
            cost = Cost(summary["seconds"] / work, size, data["full_train_examples"])
            found.setdefault(_cost_key(manifest["config"]), []).append(cost)
    return found


def _seconds(config: ConfigDict, alike: Sequence[Cost], folder: pathlib.Path) -> float:
    """Returns about how long a run will take, from the costs of some like it and what it has made."""
    each = statistics.median(cost.seconds for cost in alike)
    if config.kind != "train":
        return each
    examples = config.data.train_examples or max(cost.full_train_examples for cost in alike)
    return each * max(0.0, config.train.total_epochs - _epochs_made(folder)) * examples


def _epochs_made(folder: pathlib.Path) -> float:
    """Returns how far a run has come, by its last row; 0 where none can be read."""
    with contextlib.suppress(UserError):
        rows = records.read_rows(folder / "metrics.jsonl")
        return (rows[-1].get("epoch") or 0.0) if rows else 0.0
    return 0.0
