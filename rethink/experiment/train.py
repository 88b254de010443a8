"""Owns the story of one training run, from its config to its closing table, by itself or as a member of a group.

Refuses to run ahead of its group: the story is a generator, which stops wherever the others catch up.
"""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Generator
from typing import Any

from ml_collections import ConfigDict

from rethink.experiment.reporter import Reporter, Screen, collect_provenance, show_end, summarize
from rethink.experiment.setup import Setup, set_up_run
from rethink.figures import learning_curve
from rethink.results import records
from rethink.schema.errors import EXIT_DIVERGED, EXIT_DONE, UserError
from rethink.training import checkpoints, distributed, feeds, heartbeat, loop, preemption, vmapped_runs

RunSteps = Generator[None, None, int]  # yields where a group waits for its members, returns the exit code
RunEnd = int | Exception | preemption.Interrupted


def train(
    config: ConfigDict,
    record: records.Run | None,
    signals: preemption.Signals,
    *,
    profile_steps: tuple[int, int] | None = None,
    group: vmapped_runs.VmappedRuns | None = None,
    screen: Screen,
) -> RunSteps:
    """Trains one network on one corrupted data set (paper, sections 2 and 3).

    Args:
      record: None in the processes that don't write.
      profile_steps: (first, last) step of a profiler's trace.
      group: which the run is a member of, None where it runs by itself; screen: of the group, or of its own.

    Raises:
      Interrupted: a signal ended the run, which was saved.
    """
    with contextlib.ExitStack() as stack:
        with distributed.sync_errors():
            setup = set_up_run(config, group.join if group else feeds.compile_fns)
        stack.callback(setup.feed.close)
        on_lost = record.fail if record else lambda reason: None
        stack.enter_context(heartbeat.Heartbeat(config.hardware.heartbeat_timeout_seconds, on_lost))
        state, history, saved = _resume(config, setup, record, profile_steps, stack)
        provenance = collect_provenance(setup)
        reporter = None
        with distributed.sync_errors():
            if record and saved:
                reporter = Reporter(config, setup, record, saved, history, provenance, profile_steps, screen, stack)
        yield
        signals.wait_for_steps()
        event = None
        for event in loop.train(
            setup.plan,
            state,
            history,
            train_call=setup.compiled.train_call,
            evaluate=functools.partial(setup.compiled.evaluate, should_stop=signals.stop_requested),
            fetch=setup.compiled.fetch,
            learning_rate=setup.schedule,
            is_finite=setup.compiled.is_finite,
            should_stop=group.should_stop if group else signals.stop_requested,
        ):
            if provenance is None:
                provenance = collect_provenance(setup)
                if provenance and reporter:
                    reporter.count(provenance)
            if reporter:
                reporter.take(event, history)
            if event.kind == "advance":
                yield
    assert event is not None
    if record and screen.shared:
        print(f"\n{record.folder.name}")
    if event.status == "interrupted":
        where = f"at step {event.step:,}, and saved" if event.step else "before the first step"
        print(f"Interrupted {where}: the same command goes on from there.")
        raise signals.interruption()
    if not record:
        return EXIT_DIVERGED if event.status == "diverged" else EXIT_DONE
    return _end(config, setup, record, event, history)


def _end(config: ConfigDict, setup: Setup, record: records.Run, event: loop.Event, history: loop.History) -> int:
    """Draws, records and shows what a run came to; returns its exit code."""
    summary = summarize(setup, history, record)
    stem = record.subfolder("figures") / "learning_curve"
    learning_curve.draw_learning_curve(record.rows(), stem, title=config.name, num_classes=setup.num_classes)
    record.end(event.status, summary=summary, end=event.row)  # last: what is killed before is done again
    return show_end(record)


def _resume(
    config: ConfigDict,
    setup: Setup,
    record: records.Run | None,
    profile_steps: tuple[int, int] | None,
    stack: contextlib.ExitStack,
) -> tuple[Any, loop.History, checkpoints.Checkpoints | None]:
    """Returns the newest checkpoint, or the start, on all devices of all processes; only the first process reads."""
    start, history, saved = setup.start, loop.History(), None
    with distributed.sync_errors():
        if record:
            folder = record.subfolder("checkpoints")
            saved = stack.enter_context(checkpoints.Checkpoints(folder, config.checkpoint.keep))
            start, history = saved.restore(start, record.reached_end) or (start, history)
            _check_length(history.step, setup.plan.total_steps, profile_steps)
    text = distributed.all_gather_text(json.dumps(dataclasses.asdict(history)))[0]
    return setup.compiled.place(distributed.broadcast_from_host0(start)), loop.History(**json.loads(text)), saved


def run_lockstep(stories: list[RunSteps], group: vmapped_runs.VmappedRuns) -> list[int | Exception]:
    """Tells the stories of a group's members side by side; returns the exit code of each, or why it failed.

    Raises:
      Interrupted: the process was told to end; each member has recorded it.
    """
    ends: list[RunEnd | None] = [None for _ in stories]

    def go_on(error: Exception | None = None) -> None:
        for index, story in enumerate(stories):
            if ends[index] is None:
                ends[index] = _advance(story, error)

    try:
        while None in ends:
            go_on()
            try:
                group.advance()
            except Exception as error:  # whatever it is, no member can go on
                go_on(error)
    except KeyboardInterrupt as error:
        for story in stories:  # where one has ended, this changes nothing
            with contextlib.suppress(KeyboardInterrupt, Exception):
                story.throw(error)
        raise
    results = []
    for end in ends:
        if isinstance(end, preemption.Interrupted):
            raise end
        assert end is not None
        results.append(end)
    return results


def _advance(story: RunSteps, error: Exception | None) -> RunEnd | None:
    """Tells a story up to where it waits, with an error from there; returns how it ended, None where it goes on."""
    try:
        story.throw(error) if error else next(story)
    except StopIteration as end:
        return end.value
    except preemption.Interrupted as interruption:
        if not heartbeat.is_synchronized(interruption):  # at once, not at a step where all can end
            raise
        return interruption
    except Exception as failure:
        return failure
    return None


def run_to_end(story: RunSteps) -> int:
    """Tells the story of a run by itself; returns its exit code."""
    while True:
        try:
            next(story)
        except StopIteration as end:
            return end.value


def _check_length(step: int, total_steps: int, profile_steps: tuple[int, int] | None) -> None:
    """Checks that a run is not asked to end before where it is, and that the steps to profile lie ahead."""
    if step > total_steps:
        raise UserError(
            f"train.total_epochs makes {total_steps:,} steps, and the run in this directory has made {step:,}: "
            "ask for at least as many, or choose another --workdir."
        )
    if profile_steps and not step <= profile_steps[0] < profile_steps[1] <= total_steps:
        raise UserError(
            f"--profile_steps={profile_steps[0]},{profile_steps[1]}: the steps to come are {step} to {total_steps}."
        )
