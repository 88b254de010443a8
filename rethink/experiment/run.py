"""TODO."""

import contextlib
import dataclasses
import functools
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from rethink.analyses import ANALYSES, analysis
from rethink.experiment import input_pipeline
from rethink.experiment.reporter import Screen, exit_code, show_end
from rethink.experiment.setup import make_run_spec, manifest_metadata, open_dataset_once
from rethink.experiment.train import RunSteps, run_lockstep, run_to_end, train
from rethink.models import registry
from rethink.results import progress, records
from rethink.schema import validation
from rethink.schema.errors import EXIT_DIVERGED, UserError
from rethink.schema.fields import CHOICES
from rethink.training import allocator, checkpoints, distributed, heartbeat, preemption, state, vmapped_runs


def read_processes(coordinator: str | None, count: int | None, index: int | None) -> distributed.Processes | None:
    """Returns how the processes of the run find each other, None where the flags are not given."""
    if coordinator is None and count is None and index is None:
        return None
    if coordinator is None or count is None or index is None:
        raise UserError("--coordinator=HOST:PORT, --num_processes=N and --process_id=I go together: give all three.")
    if not re.fullmatch(r"\S+:\d+", coordinator):
        raise UserError(f"--coordinator={coordinator} is no address: type HOST:PORT, such as localhost:12345.")
    if not 0 <= index < count:
        raise UserError(f"--process_id={index} is out of range: with --num_processes={count} it is 0 to {count - 1}.")
    return distributed.Processes(coordinator, count, index)


def read_step_range(text: str | None) -> tuple[int, int] | None:
    """Returns (first, last) of "FIRST,LAST", None for None."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+),(\d+)", text)
    if not match or not 0 < int(match[1]) < int(match[2]):
        raise UserError(f"--profile_steps={text} is no range of steps: type FIRST,LAST, such as 20,30.")
    return int(match[1]), int(match[2])


@dataclasses.dataclass(frozen=True)
class Launch:
    """What belongs to a launch, not to the run.

    Attributes:
      processes: the other processes.
      profile_steps: (first, last) step of a profiler's trace.
      brief: whether a run that has ended before says so in one line; for runs of a table.
    """

    processes: distributed.Processes | None = None
    profile_steps: tuple[int, int] | None = None
    brief: bool = False


def run_experiment(config: ConfigDict, workdir: str, launch: Launch) -> int:
    """Runs the experiment of a config in a directory, or goes on with it; returns the exit code.

    Of several processes, one that fails alone does not return: it tells the others and ends.

    Raises:
      UserError: the config or the directory is off.
      Interrupted: a signal ended the run.
    """
    check_config(config)
    distributed.initialize(config.hardware, launch.processes)
    signals = preemption.Signals()
    try:
        exit_code = _run(config, workdir, launch, signals)
    except (Exception, KeyboardInterrupt) as error:
        if distributed.several_processes() and not heartbeat.is_synchronized(error):
            traceback.print_exc()
            heartbeat.hard_exit(heartbeat.EXIT_LOST)
        raise
    if signals.stop_requested(together=True):  # it came too late for this run, but not for what would follow
        raise signals.interruption()
    return exit_code


def run_group(members: Sequence[tuple[ConfigDict, str]], launch: Launch) -> list[int | Exception]:
    """Runs the members of a table that share a program; returns the exit code of each, or why it failed.

    They are trained together where one process holds their data. Of several processes, with a profiler's trace, with a
    streamed feed, or (`data.feed=auto`) where all their images are above `data.resident_limit_gib`, they run in turn.

    Args:
      members: (config, directory) of each; the configs are alike but for what `executors.vmapped` lets differ.

    Raises:
      UserError: the data set can't be opened.
      Interrupted: a signal ended the runs.
    """
    for config, _ in members:
        check_config(config)
    first, _ = members[0]
    distributed.initialize(first.hardware, launch.processes)
    alone = distributed.several_processes() or launch.profile_steps
    copies = (
        len(members) if len({_image_identity(config) for config, _ in members}) > 1 else 1
    )  # all are stacked, or none
    if alone or input_pipeline.choose_feed(first.data, open_dataset_once(first), copies)[0] != "resident":
        return [_run_or_error(config, workdir, launch) for config, workdir in members]
    signals, screen = preemption.Signals(), Screen(shared=True)
    group = vmapped_runs.VmappedRuns(lambda: signals.stop_requested(together=False))
    with signals, allocator.keeping_freed_memory():
        results = run_lockstep([_lockstep_run(*member, signals, group, screen) for member in members], group)
    if signals.stop_requested(together=True):
        raise signals.interruption()
    return results


def _image_identity(config: ConfigDict) -> tuple[str, int]:
    """Returns what runs have in common that hold the same images."""
    return (config.corruption.pixels, 0 if config.corruption.pixels == "none" else config.seed)


def _lockstep_run(
    config: ConfigDict, workdir: str, signals: preemption.Signals, group: vmapped_runs.VmappedRuns, screen: Screen
) -> RunSteps:
    try:
        with records.open_run(workdir, config) as record:
            if record.finished:
                return report_already_finished(record, brief=True)
            return (yield from train(config, record, signals, group=group, screen=screen))
    except Exception as error:  # said now: the others may go on for hours, or be interrupted
        print(f"\n{pathlib.Path(workdir).name} leaves its group: {error}", file=sys.stderr, flush=True)
        raise


def _run_or_error(config: ConfigDict, workdir: str, launch: Launch) -> int | Exception:
    try:
        return run_experiment(config, workdir, launch)
    except Exception as error:
        return error


def check_config(config: ConfigDict) -> None:
    """Checks what can be said of a config before anything is computed.

    Raises:
      UserError: a field is off.
    """
    validation.validate(config, CHOICES)
    if config.kind in ("train", "capacity") and not config.experiments:
        registry.find_builder(config.model.name)


def _run(config: ConfigDict, workdir: str, launch: Launch, signals: preemption.Signals) -> int:
    with contextlib.ExitStack() as stack:
        stack.enter_context(signals)
        record = None
        with distributed.sync_errors():
            distributed.check_same_config(config)
            if config.kind != "train" and distributed.several_processes():
                raise UserError(
                    f"kind='{config.kind}' is computed by one process: start it alone, without --num_processes."
                )
            if distributed.is_first():
                record = stack.enter_context(records.open_run(workdir, config))
            exit_code = ""
            if record and record.finished:
                exit_code = str(report_already_finished(record, launch.brief))
        exit_code = distributed.all_gather_text(exit_code)[0]  # the first process's is everybody's
        return int(exit_code) if exit_code else KINDS[config.kind](config, record, launch, signals)


def report_already_finished(record: records.Run, brief: bool) -> int:
    """Says that a run has ended before, and how; returns its exit code."""
    if brief:
        print(f"Done before: {record.folder}")
        return exit_code(record)
    print(f"Nothing to do: {record.folder} holds this run, and it has ended. For another: --workdir=DIR.")
    return show_end(record)


def run_analysis(
    solve: Callable[[analysis.Analysis], dict[str, Any]],
    config: ConfigDict,
    record: records.Run | None,
    launch: Launch,
    signals: preemption.Signals,
) -> int:
    """Makes a study (paper, sections 2.2, 4 and 5): what is proved and solved, on one corrupted data set.

    It is not resumed in its middle: what was interrupted is done again, but for the networks that it trained.
    """
    assert record is not None  # one process, see _run
    data = open_dataset_once(config)
    splits = input_pipeline.corrupt_splits(config, data)
    record.begin(-1, manifest_metadata(data, "resident"), input_pipeline.fingerprint_splits(splits))
    counts = ", ".join(f"{len(split.ids):,} {name}" for name, split in splits.items())
    header = {
        "Study": f"{config.kind}: {config.name}, seed {config.seed}",
        "Data": f"{data.name}: {counts}, {data.num_classes} classes",
        "Labels": "true" if config.corruption.labels == "none" else config.corruption.labels,
        "Directory": str(record.folder),
    }
    with progress.StageProgress(header) as screen:
        part = functools.partial(_train_for_analysis, record, launch, screen)
        summary = solve(analysis.Analysis(config, data.num_classes, splits, record, screen, part))
    record.end("done", summary={**summary, "seconds": record.seconds()})
    return show_end(record)


def _train_for_analysis(
    record: records.Run,
    launch: Launch,
    screen: progress.StageProgress,
    config: ConfigDict,
    name: str,
) -> analysis.TrainedRun:
    """Trains a network in a sub-folder of a study's run, or finds it trained.

    Raises:
      UserError: it diverged, or its last checkpoint is not there any more.
    """
    folder = record.folder / name
    with screen.paused():
        exit_code = run_experiment(config, str(folder), dataclasses.replace(launch, brief=True, profile_steps=None))
    if exit_code == EXIT_DIVERGED:
        raise UserError(
            f"The run in {folder} diverged: choose a smaller --config.optimizer.learning_rate and another --workdir."
        )
    design = make_run_spec(config)
    like = state.init_state(design.model, design.tx, config.seed, design.input_shape)
    with checkpoints.Checkpoints(folder / "checkpoints", config.checkpoint.keep) as saved:
        restored = saved.restore(like, there_must_be_one=True)
    summary = records.read_run(folder)["summary"]
    assert restored is not None
    if restored[1].step != summary["steps"]:
        raise UserError(
            f"The last checkpoint in {folder} is damaged: remove that directory, and the same command trains it again."
        )
    return analysis.TrainedRun(summary, restored[0].params, like.params)


def run_training(config: ConfigDict, record: records.Run | None, launch: Launch, signals: preemption.Signals) -> int:
    """Trains one network on one corrupted data set (paper, sections 2 and 3); see `story.train`."""
    told = train(config, record, signals, profile_steps=launch.profile_steps, screen=Screen())
    with allocator.keeping_freed_memory():
        return run_to_end(told)


KINDS: dict[str, Callable[[ConfigDict, records.Run | None, Launch, preemption.Signals], int]] = {
    "train": run_training,
    **{name: functools.partial(run_analysis, solve) for name, solve in ANALYSES.items()},
}
