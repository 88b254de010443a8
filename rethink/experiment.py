"""Owns what an experiment is, by the kind of its config: it opens the directories, runs, and gives the exit status.

Refuses maths: what is computed stands in the rooms that this file, story.py and assembly.py connect.
"""

import contextlib
import dataclasses
import functools
import pathlib
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from rethink import assembly, executors, feeding, models, reporting, settings, story
from rethink.choices import CHOICES
from rethink.results import records, stages
from rethink.statuses import EXIT_DIVERGED
from rethink.studies import STUDIES, study
from rethink.training import allocator, checkpoints, groups, parallel, peers, preemption, state


@dataclasses.dataclass(frozen=True)
class Launch:
    """What belongs to a launch, not to the run.

    Attributes:
      processes: the other processes.
      profile_steps: (first, last) step of a profiler's trace.
      brief: whether a run that has ended before says so in one line; for runs of a table.
    """

    processes: parallel.Processes | None = None
    profile_steps: tuple[int, int] | None = None
    brief: bool = False


def run(config: ConfigDict, workdir: str, launch: Launch) -> int:
    """Runs the experiment of a config in a directory, or goes on with it; returns the exit status.

    Of several processes, one that fails alone does not return: it tells the others and ends.

    Raises:
      UserError: the config or the directory is off.
      Interrupted: a signal ended the run.
    """
    check(config)
    parallel.start(config.hardware, launch.processes)
    signals = preemption.Signals()
    try:
        status = _run(config, workdir, launch, signals)
    except (Exception, KeyboardInterrupt) as error:
        if parallel.several_processes() and not peers.announced(error):
            traceback.print_exc()
            peers.leave(peers.EXIT_LOST)
        raise
    if signals.asked(together=True):  # it came too late for this run, but not for what would follow
        raise signals.interruption()
    return status


def run_group(members: Sequence[tuple[ConfigDict, str]], launch: Launch) -> list[int | Exception]:
    """Runs the members of a table that share a program; returns the exit status of each, or why it failed.

    They are trained together where one process holds their data. Of several processes, with a profiler's trace, with a
    streamed feed, or (`data.feed=auto`) where all their images are above `data.resident_limit_gib`, they run in turn.

    Args:
      members: (config, directory) of each; the configs are alike but for what `executors.vmapped` lets differ.

    Raises:
      UserError: the data set can't be opened.
      Interrupted: a signal ended the runs.
    """
    for config, _ in members:
        check(config)
    first, _ = members[0]
    parallel.start(first.hardware, launch.processes)
    alone = parallel.several_processes() or launch.profile_steps
    copies = len(members) if len({_image_set(config) for config, _ in members}) > 1 else 1  # all are stacked, or none
    if alone or feeding.choose_feed(first.data, assembly.open_data(first), copies)[0] != "resident":
        return [_try(config, workdir, launch) for config, workdir in members]
    signals, screen = preemption.Signals(), reporting.Screen(shared=True)
    group = groups.Group(lambda: signals.asked(together=False))
    with signals, allocator.keeping_freed_memory():
        results = story.tell_together([_member(*member, signals, group, screen) for member in members], group)
    if signals.asked(together=True):
        raise signals.interruption()
    return results


def _image_set(config: ConfigDict) -> tuple[str, int]:
    """Returns what runs have in common that hold the same images."""
    return (config.corruption.pixels, 0 if config.corruption.pixels == "none" else config.seed)


def _member(
    config: ConfigDict, workdir: str, signals: preemption.Signals, group: groups.Group, screen: reporting.Screen
) -> story.Story:
    try:
        with records.open_run(workdir, config) as record:
            if record.finished:
                return _repeat(record, brief=True)
            return (yield from story.train(config, record, signals, group=group, screen=screen))
    except Exception as error:  # said now: the others may go on for hours, or be interrupted
        print(f"\n{pathlib.Path(workdir).name} leaves its group: {error}", file=sys.stderr, flush=True)
        raise


def _try(config: ConfigDict, workdir: str, launch: Launch) -> int | Exception:
    try:
        return run(config, workdir, launch)
    except Exception as error:
        return error


def check(config: ConfigDict) -> None:
    """Checks what can be said of a config before anything is computed.

    Raises:
      UserError: a field is off.
    """
    settings.validate(config, CHOICES)
    if config.kind in ("train", "capacity") and not config.parts:
        models.find_builder(config.model.name)


def join(config: ConfigDict, launch: Launch) -> bool:
    """Joins the other processes before the first run of a table, as all must go through the same runs.

    Returns:
      Whether this process is the one that writes.

    Raises:
      UserError: the config is off, the others are not there, or they were given another one; its runs are to have
        processes of their own, and what is asked for belongs to this one.
    """
    check(config)
    if config.executor not in executors.HERE:
        if launch.processes or parallel.launched():
            raise settings.UserError(
                f"executor='{config.executor}' starts a process for each run: launch it once, without --num_processes "
                "and by itself, or set config.executor='in_turn', where all processes share each run."
            )
        if launch.profile_steps:
            raise settings.UserError("--profile_steps is for runs in this process: set config.executor='in_turn'.")
        return True  # and no device is touched here: the runs take them
    parallel.start(config.hardware, launch.processes)
    parallel.check_same_config(config)
    return parallel.is_first()


def _run(config: ConfigDict, workdir: str, launch: Launch, signals: preemption.Signals) -> int:
    with contextlib.ExitStack() as stack:
        stack.enter_context(signals)
        record = None
        with parallel.all_or_none():
            parallel.check_same_config(config)
            if config.kind != "train" and parallel.several_processes():
                raise settings.UserError(
                    f"kind='{config.kind}' is computed by one process: start it alone, without --num_processes."
                )
            if parallel.is_first():
                record = stack.enter_context(records.open_run(workdir, config))
            status = ""
            if record and record.finished:
                status = str(_repeat(record, launch.brief))
        status = parallel.gather_text(status)[0]  # the first process's is everybody's
        return int(status) if status else KINDS[config.kind](config, record, launch, signals)


def _repeat(record: records.Run, brief: bool) -> int:
    """Says that a run has ended before, and how; returns its exit status."""
    if brief:
        print(f"Done before: {record.folder}")
        return reporting.exit_status(record)
    print(f"Nothing to do: {record.folder} holds this run, and it has ended. For another: --workdir=DIR.")
    return reporting.close(record)


def make_study(
    solve: Callable[[study.Study], dict[str, Any]],
    config: ConfigDict,
    record: records.Run | None,
    launch: Launch,
    signals: preemption.Signals,
) -> int:
    """Makes a study (paper, sections 2.2, 4 and 5): what is proved and solved, on one corrupted data set.

    It is not resumed in its middle: what was interrupted is done again, but for the networks that it trained.
    """
    assert record is not None  # one process, see _run
    data = assembly.open_data(config)
    splits = feeding.corrupted_splits(config, data)
    record.begin(-1, assembly.base_facts(data, "resident"), feeding.fingerprints_of(splits))
    counts = ", ".join(f"{len(split.ids):,} {name}" for name, split in splits.items())
    header = {
        "Study": f"{config.kind}: {config.name}, seed {config.seed}",
        "Data": f"{data.name}: {counts}, {data.num_classes} classes",
        "Labels": "true" if config.corruption.labels == "none" else config.corruption.labels,
        "Directory": str(record.folder),
    }
    with stages.Stages(header) as screen:
        part = functools.partial(_train_part, record, launch, screen)
        summary = solve(study.Study(config, data.num_classes, splits, record, screen, part))
    record.end("done", summary={**summary, "seconds": record.seconds()})
    return reporting.close(record)


def _train_part(
    record: records.Run,
    launch: Launch,
    screen: stages.Stages,
    config: ConfigDict,
    name: str,
) -> study.Trained:
    """Trains a network in a sub-folder of a study's run, or finds it trained.

    Raises:
      UserError: it diverged, or its last checkpoint is not there any more.
    """
    folder = record.folder / name
    with screen.paused():
        status = run(config, str(folder), dataclasses.replace(launch, brief=True, profile_steps=None))
    if status == EXIT_DIVERGED:
        raise settings.UserError(
            f"The run in {folder} diverged: choose a smaller --config.optimizer.learning_rate and another --workdir."
        )
    design = assembly.design(config)
    like = state.init_state(design.model, design.tx, config.seed, design.input_shape)
    with checkpoints.Checkpoints(folder / "checkpoints", config.checkpoint.keep) as saved:
        restored = saved.restore(like, there_must_be_one=True)
    summary = records.read_run(folder)["summary"]
    assert restored is not None
    if restored[1].step != summary["steps"]:
        raise settings.UserError(
            f"The last checkpoint in {folder} is damaged: remove that directory, and the same command trains it again."
        )
    return study.Trained(summary, restored[0].params, like.params)


def train(config: ConfigDict, record: records.Run | None, launch: Launch, signals: preemption.Signals) -> int:
    """Trains one network on one corrupted data set (paper, sections 2 and 3); see `story.train`."""
    told = story.train(config, record, signals, profile_steps=launch.profile_steps, screen=reporting.Screen())
    with allocator.keeping_freed_memory():
        return story.tell(told)


KINDS: dict[str, Callable[[ConfigDict, records.Run | None, Launch, preemption.Signals], int]] = {
    "train": train,
    **{name: functools.partial(make_study, solve) for name, solve in STUDIES.items()},
}
