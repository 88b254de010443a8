"""The processes of a run: how they find each other, what they share, and how they fail together."""

import contextlib
import dataclasses
import functools
import importlib.util
import json
import math
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from rethink import jax_options
from rethink.data.parallel import count_cores
from rethink.schema import validation
from rethink.schema.errors import EXIT_MISTAKE, UserError
from rethink.training import allocator, compilation_cache


@dataclasses.dataclass(frozen=True)
class Processes:
    """How the processes of a run find each other: address "host:port" of the first, their number, and which this is."""

    coordinator: str
    count: int
    index: int


TPU_POD = "TPU_WORKER_HOSTNAMES"  # set on TPU virtual machines: the hosts of the slice, separated by commas

# Above what was seen: a run on 2 cores had 31 threads, and the pools of XLA and BLAS grow with the cores.
_THREADS, _THREADS_PER_CORE = 32, 4
_ANNOUNCE_SECONDS = 10  # after which a process says that it waits for the others
_CONNECT_SECONDS = 600  # after which it gives up: large jobs take minutes to start again


def initialize(config: ConfigDict, processes: Processes | None) -> None:
    """Applies the config section `hardware` and joins the other processes; before anything is computed.

    Args:
      processes: None where there is one, or where a launcher (TPU pod, Slurm, Open MPI) says how many.

    Raises:
      UserError: the other processes or the devices are not there.
    """
    # The devices of this process; JAX reads these settings at its first computation.
    _check_threads()
    allocator.prepare()
    jax_options.fix()
    _set_cpu_devices(config.cpu_devices)
    # The other processes, where there are some.
    if (processes or find_launcher()) and not jax.distributed.is_initialized():
        _connect(processes, config.heartbeat_timeout_seconds)
    _start_devices()
    # The cache of compiled functions.
    if config.compilation_cache:
        is_limited = jax.config.jax_compilation_cache_max_size >= 0  # type: ignore[attr-defined]
        if is_limited and not importlib.util.find_spec("filelock"):
            raise UserError(
                "JAX_COMPILATION_CACHE_MAX_SIZE needs the package filelock: pip install filelock, or unset it."
            )
        folder = validation.expand_cache_path(config.compilation_cache, "hardware.compilation_cache")
        if folder:
            compilation_cache.use_folder(folder)


def initialize_guest(config: ConfigDict) -> None:
    """Lets JAX find the devices in a program of the user's, of which nothing else is changed.

    Raises:
      UserError: the program is one of several processes, the devices are not there, or JAX has others already.
    """
    if jax.distributed.is_initialized():
        raise UserError("rethink.train runs in one process, and this one has joined others: start main.py on each.")
    try:
        _set_cpu_devices(config.cpu_devices)
    except RuntimeError as error:
        raise UserError(
            f"hardware.cpu_devices={config.cpu_devices} comes too late, as JAX has computed before: set it in the "
            "first call of the program, or leave it at 1."
        ) from error
    _start_devices()


def _set_cpu_devices(count: int) -> None:
    already = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    if count not in (1, already):  # the runs of a sweep share a process
        jax.config.update("jax_num_cpu_devices", count)


@functools.cache  # JAX starts its threads once a process
def _check_threads() -> None:
    """Checks that as many threads can be started as JAX will: where it can't start one, it crashes.

    Raises:
      UserError: a limit of the system or of a container is too low.
    """
    wanted = _THREADS + _THREADS_PER_CORE * count_cores()
    release, started = threading.Event(), []
    try:
        for _ in range(wanted):
            thread = threading.Thread(target=release.wait)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise UserError(
            f"Only {len(started)} of {wanted} threads could be started: raise the limit (ulimit -u; of a container, "
            "--pids-limit), or run fewer processes at a time."
        ) from error
    finally:
        release.set()
        for thread in started:
            thread.join()


def _start_devices() -> None:
    """Lets JAX find the devices of this process, so that a wrong setting is one line.

    Raises:
      UserError: there are none of the platform that is set, or they can't be used.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # AssertionError: a platform whose plugin is not installed
        platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
        reason = " ".join(str(error).split()) or "its plugin is not installed"
        named, unset = (f"JAX_PLATFORMS={platforms}", ", or unset it") if platforms else ("JAX's devices", "")
        raise UserError(
            f"{named} can't be started ({reason}): install what it needs (pip install 'jax[cuda12]' for NVIDIA), or "
            f"set JAX_PLATFORMS=cpu{unset}."
        ) from error


def _connect(processes: Processes | None, heartbeat_timeout_seconds: float) -> None:
    """Joins the other processes of the run, or ends this one with a mistake's exit code: they may never come.

    Raises:
      UserError: what was given names no processes.
    """
    jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
    given = vars(processes) if processes else {}
    names = {"coordinator": "coordinator_address", "count": "num_processes", "index": "process_id"}
    remedy = "check --coordinator, --num_processes and --process_id, and that all of them were started."
    if not processes:
        variable = find_launcher()
        remedy = f"{variable} says that there are several: start all of them, or unset it to run one."
    connected = threading.Event()
    threading.Thread(target=_limit_waiting, args=(connected, remedy), daemon=True).start()
    try:
        jax.distributed.initialize(
            **{names[field]: value for field, value in given.items()},
            # JAX's own limit ends the process by a crash: it is never reached.
            initialization_timeout=2 * _CONNECT_SECONDS,
            # Twice the run's own, whose heartbeat is to notice a lost process first.
            heartbeat_timeout_seconds=2 * math.ceil(heartbeat_timeout_seconds),
        )
    except (RuntimeError, ValueError, KeyError) as error:  # KeyError: a launcher's variable that there is not
        text = str(error).splitlines()[0]
        raise UserError(f"The processes of this run did not find each other ({text}): {remedy}") from error
    finally:
        connected.set()


def _limit_waiting(connected: threading.Event, remedy: str) -> None:
    """Says that this process waits for the others, and ends it with one line where they do not come."""
    if connected.wait(_ANNOUNCE_SECONDS):
        return
    print("Waiting for the other processes of this run.", flush=True)
    if not connected.wait(_CONNECT_SECONDS - _ANNOUNCE_SECONDS):
        print(
            f"Error: The other processes of this run were not there after {_CONNECT_SECONDS} seconds: {remedy}",
            file=sys.stderr,
            flush=True,
        )
        os._exit(EXIT_MISTAKE)


def find_launcher() -> str | None:
    """Returns the variable by which Slurm's srun, Open MPI or a TPU pod says that it started several processes.

    None where there is one. Only their number is read here; jax.distributed finds out the rest.
    """
    environment = os.environ
    if "SLURM_STEP_NODELIST" in environment and environment.get("SLURM_NTASKS", "1") != "1":
        return "SLURM_NTASKS"
    if environment.get("OMPI_COMM_WORLD_SIZE", "1") != "1":
        return "OMPI_COMM_WORLD_SIZE"
    return TPU_POD if "," in environment.get(TPU_POD, "") else None


def is_first() -> bool:
    """Returns whether this is the process that writes."""
    return jax.process_index() == 0


def several_processes() -> bool:
    """Returns whether the run has more than one process."""
    return jax.process_count() > 1


def any_process(flag: bool) -> bool:
    """Returns whether the flag of any process is set; every process must call this."""
    return bool(all_gather(np.array(flag)).any())


def other_processes() -> list[int]:
    """Returns the indices of the other processes."""
    return [index for index in range(jax.process_count()) if index != jax.process_index()]


def kv_set(text: str) -> None:
    """Writes a text of this process where the others can read it, in place of its last one.

    Raises:
      ConnectionError: the first process, which keeps the texts, is not there.
    """
    try:
        _client().key_value_set(f"rethink/{jax.process_index()}", text, allow_overwrite=True)
    except jax.errors.JaxRuntimeError as error:
        raise ConnectionError(str(error).splitlines()[0]) from error


def kv_get(index: int) -> str:
    """Returns the last text of another process, "" before its first.

    Raises:
      ConnectionError: the first process, which keeps the texts, is not there.
    """
    try:
        return _client().key_value_try_get(f"rethink/{index}")
    except jax.errors.JaxRuntimeError as error:
        if "NOT_FOUND" in str(error):
            return ""
        raise ConnectionError(str(error).splitlines()[0]) from error


def _client() -> Any:
    """Returns JAX's client of the key-value service that the processes share; there is no public way to it."""
    from jax._src import distributed

    return distributed.global_state.client


def broadcast_from_host0(tree: Any) -> Any:
    """Returns the first process's host arrays, in all; every process has some of the same shapes and types."""
    if jax.process_count() == 1:
        return tree

    def broadcast(array: np.ndarray) -> np.ndarray:
        array = np.asarray(array, order="C")
        if not array.size:
            return array
        # As bytes: JAX makes 32 bits of 64, and adds zeros of the others, which turns -0.0 into 0.0.
        sent = multihost_utils.broadcast_one_to_all(array.reshape(-1).view(np.uint8))
        return np.array(sent).view(array.dtype).reshape(array.shape)

    return jax.tree.map(broadcast, tree)


def all_gather(array: np.ndarray) -> np.ndarray:
    """Returns [processes, ...] of a host array [...] of each process, of the same shape and type in all."""
    array = np.asarray(array, order="C")
    if jax.process_count() == 1 or not array.size:
        return np.stack([array] * jax.process_count())
    # As bytes: JAX makes 32 bits of 64.
    parts = multihost_utils.process_allgather(array.reshape(-1).view(np.uint8))
    return parts.view(array.dtype).reshape(-1, *array.shape)


def all_gather_text(text: str) -> list[str]:
    """Returns the text of every process, by its index."""
    content = np.frombuffer(text.encode(), np.uint8)
    lengths = all_gather(np.array(len(content)))
    padded = np.pad(content, (0, int(lengths.max()) - len(content)))
    return [part[:length].tobytes().decode() for part, length in zip(all_gather(padded), lengths, strict=True)]


def check_same_config(config: ConfigDict) -> None:
    """Checks that all processes have the same config, but for paths and the like of each host.

    Raises:
      UserError: they have not; in every process.
    """
    first, *others = [json.loads(text) for text in all_gather_text(validation.cross_host_json(config))]
    names = dict.fromkeys(field for config in (first, *others) for field in config)
    fields = [field for field in names if any(other.get(field) != first.get(field) for other in others)]
    if fields:
        raise UserError(
            f"The processes of this run have different configs ({', '.join(fields)}): start them with the same flags."
        )


@contextlib.contextmanager
def sync_errors() -> Iterator[None]:
    """Makes a block fail in all processes where it fails in one, so that none waits for one that has failed.

    Blocks may be nested. Other collectives belong behind a block, where every process has arrived.

    Raises:
      UserError: another process failed; where it was this one, what it raised.
    """
    try:
        yield
    except Exception as error:
        if not hasattr(error, "is_synchronized"):  # an inner block may have done it
            all_gather_text(str(error) or type(error).__name__)
            error.is_synchronized = True  # type: ignore[attr-defined]
        raise
    failures = [text for text in all_gather_text("") if text]
    if failures:
        failed = UserError(f"Another process of this run failed: {failures[0]}")
        failed.is_synchronized = True  # type: ignore[attr-defined]
        raise failed
