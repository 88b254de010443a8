"""Runs one experiment, by its kind: a training run or an analysis; or several training runs together.

Nothing is trained or analysed here: train.py and analyses/ do. Here are what belongs to a launch, the other processes
of a run, and how it ends.
"""

import contextlib
import dataclasses
import functools
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from rethink.analyses import ANALYSES, analysis
from rethink.data.corruption.spec import resolve_seed
from rethink.data.equal_images import describe_equal_images
from rethink.experiment.input_pipeline import InputPipeline
from rethink.experiment.network import KINDS_WITH_NETWORK, check_program
from rethink.experiment.reporter import Screen, describe_data, describe_divergence, save_file_lists, show_end
from rethink.experiment.setup import make_run_spec, manifest_metadata, open_dataset_once
from rethink.experiment.train import RunSteps, run_lockstep, run_to_end, train
from rethink.figures import style
from rethink.models import registry
from rethink.results import files, progress, records
from rethink.results.screen import wrap
from rethink.schema import validation
from rethink.schema.errors import EXIT_DIVERGED, UserError, exit_code_of_status, pick, print_error
from rethink.theory import blas_threads
from rethink.training import (
    allocator,
    checkpoints,
    devices,
    distributed,
    heartbeat,
    loop,
    preemption,
    state,
    vmapped_runs,
)


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


def check_surroundings() -> None:
    """Checks what a run needs of the process that it runs in, before it costs one.

    Raises:
      UserError: no figure could be drawn, or too few files may be open.
    """
    style.load_matplotlib()
    files.raise_file_limit()


def check_config(config: ConfigDict) -> None:
    """Checks a config as far as it can be done before anything is computed; of a sweep, not what its runs may set.

    Raises:
      UserError: a field is off.
    """
    validation.validate(config)
    if config.kind in KINDS_WITH_NETWORK and not (validation.is_sweep(config) or config.experiments):
        registry.check_kwargs(config.model.name, config.model.kwargs)


@dataclasses.dataclass(frozen=True)
class Launch:
    """What belongs to a launch, not to the run.

    Attributes:
      processes: the other processes.
      profile_steps: (first, last) step of a profiler's trace.
      quiet: whether it is of one of several runs: it shows a line while it runs, and who runs them shows its end.
    """

    processes: distributed.Processes | None = None
    profile_steps: tuple[int, int] | None = None
    quiet: bool = False


def run_experiment(config: ConfigDict, workdir: str, launch: Launch) -> int:
    """Runs the experiment of a config in a directory, or resumes it; returns the exit code.

    Of several processes, one that fails alone does not return: it ends, and the others with it.

    Raises:
      UserError: the config or the directory is off.
      Interrupted: a signal ended the run.
    """
    check_config(config)
    check_surroundings()
    distributed.initialize(config.hardware, launch.processes)
    signals = preemption.Signals()
    try:
        exit_code = _run_kind(config, workdir, launch, signals)
    except (Exception, KeyboardInterrupt) as error:
        if distributed.several_processes() and not heartbeat.is_synchronized(error):
            print_error(error)
            heartbeat.hard_exit(heartbeat.EXIT_LOST)
        raise
    if signals.stop_requested(together=True):  # it came too late for this run, but not for what would follow
        raise signals.interruption()
    return exit_code


def _run_kind(config: ConfigDict, workdir: str, launch: Launch, signals: preemption.Signals) -> int:
    """Opens the directory and runs what `config.kind` names, unless it has finished before; returns the exit code."""
    run_kind = pick(KINDS, config.kind, "kind")
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
                exit_code = str(report_already_finished(record, launch.quiet))
        exit_code = distributed.all_gather_text(exit_code)[0]  # the first process's is everybody's
        return int(exit_code) if exit_code else run_kind(config, record, launch, signals)


def report_already_finished(record: records.Run, quiet: bool) -> int:
    """Prints that a run has finished before and its closing table, unless `quiet`; returns its exit code.

    Raises:
      UserError: its network is another one now.
    """
    check_program(record.manifest, record.folder)
    if quiet:
        return exit_code_of_status(record.manifest["status"])
    ended = f"Nothing to do: {record.folder} holds this run, and it has ended; its data are not read again."
    print(f"{ended} For another: --workdir=DIR.")
    return show_end(record)


# Several training runs at once


def run_group(runs: Sequence[tuple[ConfigDict, str]], launch: Launch) -> list[int | Exception]:
    """Runs the experiments of a sweep that share their compiled functions; returns the exit code or error of each.

    They are trained together where one process holds their data. Of several processes, with a profiler's trace, with a
    streamed feed, or (`data.feed=auto`) where all their images are above `data.resident_limit_gib`, they run in turn.

    Args:
      runs: (config, directory) of each; the configs are alike but for what `executors.vmapped` lets differ.

    Raises:
      UserError: the data set can't be opened.
      Interrupted: a signal ended the runs.
    """
    for config, _ in runs:
        check_config(config)
    check_surroundings()
    first, _ = runs[0]
    distributed.initialize(first.hardware, launch.processes)
    must_run_alone = distributed.several_processes() or launch.profile_steps
    copies = len(runs) if len({_image_identity(config) for config, _ in runs}) > 1 else 1  # all are stacked, or none
    if must_run_alone or InputPipeline(first, open_dataset_once(first)).choose_feed(copies)[0] != "resident":
        return [_run_or_error(config, workdir, launch) for config, workdir in runs]
    signals, screen = preemption.Signals(), Screen(brief=True, shared=True)
    group = vmapped_runs.VmappedRuns(lambda: signals.stop_requested(together=False))
    with signals, allocator.keeping_freed_memory():
        results = run_lockstep([_train_in_group(*run, signals, group, screen) for run in runs], group)
    if signals.stop_requested(together=True):
        raise signals.interruption()
    return results


def _image_identity(config: ConfigDict) -> tuple[Any, ...]:
    """Returns what is the same for runs that hold the same images."""
    corruption = config.corruption
    if corruption.pixels == "none":
        return ("none",)
    return corruption.pixels, corruption.channels_together, corruption.test_pixels, resolve_seed(config)


def _train_in_group(
    config: ConfigDict, workdir: str, signals: preemption.Signals, group: vmapped_runs.VmappedRuns, screen: Screen
) -> RunSteps:
    try:
        with records.open_run(workdir, config) as record:
            if record.finished:
                return report_already_finished(record, quiet=True)
            return (yield from train(config, record, signals, profile_steps=None, group=group, screen=screen))
    except Exception as error:  # printed now: the others may be trained for hours, or be interrupted
        print(f"\n{pathlib.Path(workdir).name} leaves its group: {error}", file=sys.stderr, flush=True)
        raise


def _run_or_error(config: ConfigDict, workdir: str, launch: Launch) -> int | Exception:
    try:
        return run_experiment(config, workdir, launch)
    except Exception as error:
        return error


# The kinds of experiment


def run_training(config: ConfigDict, record: records.Run | None, launch: Launch, signals: preemption.Signals) -> int:
    """Trains one network on one corrupted data set (paper, sections 2 and 3); see `train.train`."""
    screen = Screen(brief=launch.quiet)
    steps = train(config, record, signals, profile_steps=launch.profile_steps, group=None, screen=screen)
    with allocator.keeping_freed_memory():
        return run_to_end(steps)


def run_analysis(
    solve: Callable[[analysis.Analysis], dict[str, Any]],
    config: ConfigDict,
    record: records.Run | None,
    launch: Launch,
    signals: preemption.Signals,
) -> int:
    """Makes an analysis (paper, sections 2.2, 4 and 5): what is proved and solved, on one corrupted data set.

    What was interrupted is computed again, but for the networks that it trained and the parts that it kept.
    """
    assert record is not None  # one process, see _run_kind
    pipeline = InputPipeline(config, open_dataset_once(config))
    pipeline.check_input_shape()
    dataset, splits = pipeline.dataset, pipeline.corrupt_splits()
    metadata = {
        **manifest_metadata(dataset, "resident"),
        "corruption": pipeline.compare_rates(),
        "equal_images": pipeline.count_equal_images(),
    }
    record.begin(-1, devices.describe_hardware(), metadata, pipeline.fingerprint_splits())
    save_file_lists(record, dataset)
    counts = {name: len(split.ids) for name, split in splits.items()}
    equal = describe_equal_images(metadata["equal_images"], counts)
    header = {
        "Analysis": f"{config.kind}: {config.name}, seed {config.seed}",
        "Data": " ".join(filter(None, [describe_data(dataset), equal])),
        "Labels": "true" if config.corruption.labels == "none" else config.corruption.labels,
        "Directory": str(record.folder),
    }
    # Products are small, but for those that name their size.
    shown = {"label": record.folder.name, "header": {}} if launch.quiet else {"header": header}
    with progress.StageProgress(**shown) as screen, blas_threads.for_product(0):
        train_network = functools.partial(_train_for_analysis, record, launch, screen)
        summary = solve(
            analysis.Analysis(config, dataset.num_classes, pipeline.view_images, splits, record, screen, train_network)
        )
    record.update(status="done", summary={**summary, "seconds": record.seconds()})
    record.forget_parts()
    return exit_code_of_status("done") if launch.quiet else show_end(record)


def _train_for_analysis(
    record: records.Run,
    launch: Launch,
    screen: progress.StageProgress,
    config: ConfigDict,
    name: str,
) -> analysis.TrainedRun:
    """Returns a network that is trained in a sub-folder of an analysis's run, now or by an earlier launch.

    Raises:
      UserError: it diverged, had other images than the analysis, or its last checkpoint is not there any more.
    """
    folder = record.folder / name
    with screen.paused():
        exit_code = run_experiment(config, str(folder), dataclasses.replace(launch, quiet=True, profile_steps=None))
        manifest = records.read_run(folder)
        print(wrap(f"{name}  {progress.describe_end(manifest)}", 4), flush=True)
    if exit_code == EXIT_DIVERGED:
        reason = describe_divergence(manifest["end"])
        raise UserError(f"The run in {folder} diverged. {reason} Then choose another --workdir.")
    images = {name: value for name, value in record.manifest["fingerprints"].items() if name.endswith("images")}
    if any(manifest["fingerprints"].get(name, value) != value for name, value in images.items()):
        raise UserError(
            f"The run in {folder} was trained on other images than there are now: bring them back, or choose another "
            "--workdir."
        )
    # Its parameters, from its last checkpoint.
    spec = make_run_spec(config)
    like = state.init_state(spec.network.model, spec.tx, config.seed, spec.input_shape, spec.network.own_state.outputs)
    with checkpoints.Checkpoints(folder / "checkpoints", config.checkpoint.keep) as saved:
        summary = manifest["summary"]
        trained, history = saved.restore(like, there_must_be_one=summary["steps"] > 0) or (like, loop.History())
    record.update(program=manifest["program"])  # all of an analysis have one network
    if history.step != summary["steps"]:
        raise UserError(
            f"The last checkpoint in {folder} is damaged: move that directory away, and the same command trains anew."
        )
    return analysis.TrainedRun(summary, trained.params, like.params)


KINDS: dict[str, Callable[[ConfigDict, records.Run | None, Launch, preemption.Signals], int]] = {
    "train": run_training,
    **{name: functools.partial(run_analysis, solve) for name, solve in ANALYSES.items()},
}
