"""Trains one run, from its config to its closing table."""

import contextlib
import dataclasses
import functools
import json
import pathlib
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from rethink.data.corruption.spec import keeps_labels
from rethink.experiment.input_pipeline import InputPipeline
from rethink.experiment.network import check_program, check_same_program
from rethink.experiment.reporter import Reporter, Screen, collect_provenance, show_end, summarize_run
from rethink.experiment.setup import (
    NOTHING_GIVEN,
    Given,
    Setup,
    check_classes,
    check_devices,
    open_dataset_once,
    set_up_run,
)
from rethink.figures import learning_curve
from rethink.memorization import dynamics
from rethink.results import records
from rethink.schema.errors import UserError, exit_code_of_status
from rethink.training import checkpoints, distributed, feeds, heartbeat, loop, losses, metrics, preemption

EXTREMES = 8  # examples that are kept from either end of the order in which they were learned


def train(
    config: ConfigDict,
    record: records.Run | None,
    signals: preemption.Signals,
    *,
    profile_steps: tuple[int, int] | None,
    screen: Screen,
    given: Given = NOTHING_GIVEN,
    memory: checkpoints.InMemory | None = None,
) -> int:
    """Trains one network on one corrupted data set (paper, sections 2 and 3); returns the exit code.

    Args:
      record: None in the processes that don't write.
      profile_steps: (first, last) step of a profiler's trace.
      given: in place of what the config names.
      memory: takes the checkpoints of a run that has no directory.

    Raises:
      UserError: the parts of the run don't fit together, or its directory can't be used.
      Interrupted: a signal ended the run, which was saved.
    """
    with contextlib.ExitStack() as stack:
        # Set up, from the newest checkpoint where there is one.
        with distributed.sync_errors():
            setup = set_up_run(config, given)
        stack.callback(setup.feed.close)
        with distributed.sync_errors():
            check_same_program(setup.metadata["program"])
        on_lost = record.fail if record else lambda reason: None
        stack.enter_context(heartbeat.Heartbeat(config.hardware.heartbeat_timeout_seconds, on_lost))
        state, history, saved = _resume(config, setup, record, profile_steps, stack, given, memory)
        provenance = collect_provenance(setup)
        reporter = None
        with distributed.sync_errors():
            if record and saved:
                reporter = Reporter(config, setup, record, saved, history, provenance, profile_steps, screen, stack)

        # Train; from here on a signal waits for the next step.
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
            should_stop=signals.stop_requested,
        ):
            if provenance is None:  # streamed: complete after the first evaluation
                provenance = collect_provenance(setup)
                if provenance and reporter:
                    reporter.record_provenance(provenance)
            if reporter:
                reporter.handle_event(event, history)

    # End, when all that was on the stack is closed.
    assert event is not None
    if event.status == "interrupted":
        where = f"at step {event.step:,}, and saved" if event.step else "before the first step"
        label = f"{record.folder.name}: " if record and screen.brief else ""
        print(f"{label}Interrupted {where}: the same command resumes the run.")
        raise signals.interruption()
    if not record:
        return exit_code_of_status(event.status)
    _end_run(config, setup, record, event, history)
    return exit_code_of_status(event.status) if screen.brief else show_end(record)


def _resume(
    config: ConfigDict,
    setup: Setup,
    record: records.Run | None,
    profile_steps: tuple[int, int] | None,
    stack: contextlib.ExitStack,
    given: Given,
    memory: checkpoints.InMemory | None,
) -> tuple[Any, loop.History, checkpoints.Saver | None]:
    """Returns the newest checkpoint, or the start, on all devices of all processes; only the first process reads."""
    start, history = setup.start, loop.History()
    saved: checkpoints.Saver | None = memory
    with distributed.sync_errors():
        if record and not memory:
            folder = record.subfolder("checkpoints")
            saved = stack.enter_context(checkpoints.Checkpoints(folder, config.checkpoint.keep))
            if saved.exist() or record.saved_end:
                check_program(record.manifest, record.folder, given=given.network)
            start, history = saved.restore(start, record.saved_end) or (start, history)
            _check_metrics(history, folder)
            _check_length(history.step, setup.plan.total_steps, profile_steps)
            if history.step:
                check_devices(setup.metadata, record.manifest)
                check_classes(setup.metadata["data"]["class_names"], record.manifest)
    text = distributed.all_gather_text(json.dumps(dataclasses.asdict(history)))[0]
    return setup.compiled.place(distributed.broadcast_from_host0(start)), loop.History(**json.loads(text)), saved


def _check_metrics(history: loop.History, folder: pathlib.Path) -> None:
    """Checks that a checkpoint was made with the metrics that training sums now.

    Raises:
      UserError: it was made with others, so that its sums can't be continued.
    """
    changed = sorted(history.window.keys() ^ metrics.empty_window().keys())
    if changed:
        raise UserError(
            f"The checkpoints in {folder} were made with other training metrics ({', '.join(changed)}): choose another "
            "--workdir, or go back to the version that the run's manifest names."
        )


def _check_length(step: int, total_steps: int, profile_steps: tuple[int, int] | None) -> None:
    """Checks that a run has not passed its end already, and that the steps to profile lie ahead.

    Raises:
      UserError: it has, or they don't.
    """
    if step > total_steps:
        raise UserError(
            f"train.total_epochs makes {total_steps:,} steps, and the run in this directory has made {step:,}: "
            "ask for at least as many, or choose another --workdir."
        )
    if profile_steps and not step <= profile_steps[0] < profile_steps[1] <= total_steps:
        raise UserError(
            f"--profile_steps={profile_steps[0]},{profile_steps[1]}: the steps to come are {step} to {total_steps}."
        )


def _end_run(config: ConfigDict, setup: Setup, record: records.Run, event: loop.Event, history: loop.History) -> None:
    """Draws and records the result of a run."""
    summary = summarize_run(setup, history, record)
    if not record.in_memory:
        draw_curve(config, record, setup.pipeline.dataset.num_classes)
    if event.status in records.WITH_RESULT:
        _save_extremes(setup, record)
        if history.predicted:
            record.save_predictions(history.predicted_classes)
    # Last: a run that is killed before it does all of this again.
    record.update(status=event.status, summary=summary, end=event.row)


def _save_extremes(setup: Setup, record: records.Run) -> None:
    """Records the images of the examples that were learned last, and first, where these are known and in memory."""
    history, score = record.example_history(), "cumulative_loss"
    if history is None or not len(history.steps) or not isinstance(setup.feed, feeds.ResidentFeed):
        return
    scores = dynamics.SCORES[score].compute(history)[-1]
    order = np.argsort(-dynamics.suspicion(score, scores), kind="stable")
    count = min(EXTREMES, len(order) // 2)
    rows = np.concatenate([order[:count], order[len(order) - count :]])
    examples = setup.feed.read_rows("train", rows)
    record.save_arrays(
        "extremes",
        ids=np.asarray(examples.ids),
        **setup.pipeline.show_samples(examples),
        **{"given_labels": np.asarray(examples.labels), "true_labels": np.asarray(examples.true_labels)},
        **{score: scores[rows]},
    )


def draw_curve(config: ConfigDict, record: records.Run, num_classes: int) -> None:
    """Draws the learning curve of a run into its directory."""
    stem = record.subfolder("figures") / "learning_curve"
    title, p = config.name, config.corruption.label_probability
    if config.corruption.labels != "none" and 0 < p < 1:
        title += f", p = {p:g}"
    has_parts, loss = keeps_labels(config.corruption), losses.describe_loss(config.train)
    learning_curve.draw_learning_curve(
        record.rows(), stem, title=title, num_classes=num_classes, has_parts=has_parts, loss=loss
    )


def check_same_run(config: ConfigDict, record: records.Run, given: Given) -> None:
    """Checks that a run that has ended was of this network and, where they are at hand, of these data.

    Raises:
      UserError: it wasn't.
    """
    check_program(record.manifest, record.folder, given=given.network)
    if given.data:
        pipeline = InputPipeline(config, open_dataset_once(config, given.data))
        check_classes(pipeline.dataset.class_names, record.manifest)
        pipeline.corrupt_splits()
        record.compare_fingerprints(pipeline.fingerprint_splits())
