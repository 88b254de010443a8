"""Owns the story of a run: config to closing table, by its kind. Wires what runs to what shows and records it.

Refuses maths: what is computed stands in the rooms that this file and assembly.py connect.
"""

import contextlib
import dataclasses
import functools
import json
import traceback
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from rethink import assembly, feeding, models, reporting, settings
from rethink.choices import CHOICES
from rethink.results import figures, progress, records, stages
from rethink.statuses import EXIT_DIVERGED, EXIT_DONE
from rethink.studies import STUDIES, study
from rethink.training import allocator, checkpoints, loop, parallel, peers, preemption, state
from rethink.training.state import TrainState


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
    if config.executor != "in_turn":
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
        return _exit_status(record)
    print(f"Nothing to do: {record.folder} holds this run, and it has ended. For another: --workdir=DIR.")
    return _close(record)


def train(config: ConfigDict, record: records.Run | None, launch: Launch, signals: preemption.Signals) -> int:
    """Trains one network on one corrupted data set (paper, sections 2 and 3).

    Args:
      record: None in the processes that don't write.

    Raises:
      Interrupted: a signal ended the run, which was saved.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(allocator.keeping_freed_memory())
        with parallel.all_or_none():
            setup = assembly.set_up(config)
        stack.callback(setup.feed.close)
        at_loss = record.fail if record else lambda reason: None
        stack.enter_context(peers.Peers(config.hardware.peer_timeout_seconds, at_loss))
        start, history, saved = _resume(config, setup, record, launch, stack)
        census = reporting.take_census(setup)
        reporter = None
        with parallel.all_or_none():
            if record and saved:
                reporter = reporting.Reporter(
                    config, setup, record, saved, history, census, launch.profile_steps, stack
                )
        signals.wait_for_steps()
        event = None
        for event in loop.train(
            setup.plan,
            start,
            history,
            train_call=setup.train_call,
            evaluate=functools.partial(setup.evaluate, told_to_end=signals.asked),
            fetch=parallel.fetch,
            learning_rate=setup.schedule,
            is_finite=setup.is_finite,
            interrupted=signals.asked,
        ):
            if census is None:
                census = reporting.take_census(setup)
                if census and reporter:
                    reporter.count(census)
            if reporter:
                reporter.take(event, history)
    assert event is not None
    if event.fate == "interrupted":
        where = f"at step {event.step:,}, and saved" if event.step else "before the first step"
        print(f"Interrupted {where}: the same command goes on from there.")
        raise signals.interruption()
    if not record:
        return EXIT_DIVERGED if event.fate == "diverged" else EXIT_DONE
    summary = reporting.summarize(setup, history, record)
    stem = record.subfolder("figures") / "learning_curve"
    figures.learning_curve(record.rows(), stem, title=config.name, num_classes=setup.num_classes)
    record.end(event.fate, summary=summary, end=event.row)  # last: what is killed before is done again
    return _close(record)


def _resume(
    config: ConfigDict,
    setup: assembly.Setup,
    record: records.Run | None,
    launch: Launch,
    stack: contextlib.ExitStack,
) -> tuple[TrainState, loop.History, checkpoints.Checkpoints | None]:
    """Returns the newest checkpoint, or the start, on all devices of all processes; only the first process reads."""
    start, history, saved = setup.start, loop.History(), None
    with parallel.all_or_none():
        if record:
            folder = record.subfolder("checkpoints")
            saved = stack.enter_context(checkpoints.Checkpoints(folder, config.checkpoint.keep))
            start, history = saved.restore(start, record.saved_its_end) or (start, history)
            _check_length(history.step, setup.plan.total_steps, launch.profile_steps)
    text = parallel.gather_text(json.dumps(dataclasses.asdict(history)))[0]
    return parallel.replicate(parallel.from_first(start)), loop.History(**json.loads(text)), saved


def _check_length(step: int, total_steps: int, profile_steps: tuple[int, int] | None) -> None:
    """Checks that a run is not asked to end before where it is, and that the steps to profile lie ahead."""
    if step > total_steps:
        raise settings.UserError(
            f"train.total_epochs makes {total_steps:,} steps, and the run in this directory has made {step:,}: "
            "ask for at least as many, or choose another --workdir."
        )
    if profile_steps and not step <= profile_steps[0] < profile_steps[1] <= total_steps:
        raise settings.UserError(
            f"--profile_steps={profile_steps[0]},{profile_steps[1]}: the steps to come are {step} to {total_steps}."
        )


def _close(record: records.Run) -> int:
    """Shows the closing table of an ended run; returns its exit status."""
    manifest = record.manifest
    progress.show_closing_table(manifest["fate"], progress.closing_rows(manifest["summary"]))
    print(f"Records and figures: {record.folder}")
    if _exit_status(record) == EXIT_DIVERGED:
        where = manifest["end"]
        print(
            f"The loss became infinite or NaN at step {where['step']}, learning rate {where['learning_rate']:g}: "
            "try a smaller --config.optimizer.learning_rate."
        )
    return _exit_status(record)


def _exit_status(record: records.Run) -> int:
    return EXIT_DIVERGED if record.manifest["fate"] == "diverged" else EXIT_DONE


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
    return _close(record)


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


KINDS: dict[str, Callable[[ConfigDict, records.Run | None, Launch, preemption.Signals], int]] = {
    "train": train,
    **{name: functools.partial(make_study, solve) for name, solve in STUDIES.items()},
}
