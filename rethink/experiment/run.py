"""Runs one experiment, by its kind: a training run or an analysis.

Nothing is trained or analysed here: train.py and analyses/ do. Here are what belongs to a launch, the other processes
of a run, and how it ends.
"""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any, TextIO

from ml_collections import ConfigDict

from rethink.analyses import ANALYSES, analysis
from rethink.data.equal_images import describe_equal_images
from rethink.experiment.input_pipeline import InputPipeline
from rethink.experiment.network import KINDS_WITH_NETWORK, check_program
from rethink.experiment.reporter import Screen, describe_data, describe_divergence, save_file_lists, show_end
from rethink.experiment.setup import (
    NOTHING_GIVEN,
    Given,
    make_network_parts,
    make_run_spec,
    manifest_metadata,
    open_dataset_once,
)
from rethink.experiment.train import check_same_run, train
from rethink.figures import style
from rethink.memorization.subset_networks import NetworkParts
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
      guest: what a Python program gives to the run, which then works in that program, within `as_guest`: it takes no
        signals. None for a run that has the process to itself.
      stream: what is printed on; None is standard output.
    """

    processes: distributed.Processes | None = None
    profile_steps: tuple[int, int] | None = None
    quiet: bool = False
    guest: Given | None = None
    stream: TextIO | None = None

    @property
    def given(self) -> Given:
        """What takes the place of what the config names."""
        return self.guest or NOTHING_GIVEN


def run_experiment(config: ConfigDict, workdir: str, launch: Launch) -> int:
    """Runs the experiment of a config in a directory, or resumes it; returns the exit code.

    Of several processes, one that fails alone does not return: it ends, and the others with it.

    Raises:
      UserError: the config or the directory is off.
      Interrupted: a signal ended the run.
    """
    if launch.given.network is None:
        check_config(config)
    else:
        validation.validate(config)
    if launch.guest is None:
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
        if launch.guest is None:
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
                exit_code = str(report_already_finished(config, record, launch))
        exit_code = distributed.all_gather_text(exit_code)[0]  # the first process's is everybody's
        return int(exit_code) if exit_code else run_kind(config, record, launch, signals)


def report_already_finished(config: ConfigDict, record: records.Run, launch: Launch) -> int:
    """Prints that a run has finished before and its closing table, unless quiet; returns its exit code.

    Raises:
      UserError: its network is another one now, or other data are given.
    """
    check_same_run(config, record, launch.given)
    if launch.quiet:
        return exit_code_of_status(record.manifest["status"])
    ended = f"Nothing to do: {record.folder} holds this run, and it has ended; its data are not read again."
    print(f"{ended} For another: --workdir=DIR.")
    return show_end(record)


# The kinds of experiment


def run_training(config: ConfigDict, record: records.Run | None, launch: Launch, signals: preemption.Signals) -> int:
    """Trains one network on one corrupted data set (paper, sections 2 and 3); see `train.train`."""
    screen = Screen(brief=launch.quiet, stream=launch.stream)
    with contextlib.ExitStack() as stack:
        if launch.guest is None:
            stack.enter_context(allocator.keeping_freed_memory())
        return train(config, record, signals, profile_steps=launch.profile_steps, screen=screen, given=launch.given)


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
    pipeline = InputPipeline(config, open_dataset_once(config, launch.given.data))
    pipeline.check_input_shape()
    dataset, splits = pipeline.dataset, pipeline.corrupt_splits()
    metadata = {
        **manifest_metadata(dataset, "resident"),
        "corruption": pipeline.compare_rates(),
        "equal_images": pipeline.count_equal_images(),
    }
    if "program" in record.manifest:
        check_program(record.manifest, record.folder, given=launch.given.network)
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
    with progress.StageProgress(**shown, stream=launch.stream) as screen, blas_threads.for_product(0):
        train_network = functools.partial(_train_for_analysis, record, launch, screen)
        make_networks = functools.partial(_make_networks, config, pipeline, record)
        handed = (config, dataset.num_classes, pipeline.view_images, splits, record, screen, train_network)
        summary = solve(analysis.Analysis(*handed, pipeline, make_networks))
    record.update(status="done", summary={**summary, "seconds": record.seconds()})
    record.forget_parts()
    return exit_code_of_status("done") if launch.quiet else show_end(record)


def _make_networks(config: ConfigDict, pipeline: InputPipeline, record: records.Run, members: int) -> NetworkParts:
    """Returns what training networks on `members` examples takes; the program of the network is recorded."""
    network, parts = make_network_parts(config, pipeline, members)
    record.update(program=network.program)
    return parts


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
        print(wrap(f"{name}  {progress.describe_end(manifest)}", 4), file=launch.stream, flush=True)
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
    spec = make_run_spec(config, launch.given)
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
