"""Owns where things run: devices, pmap, replication, placement. The only file that names any of them.

Refuses to know what runs: it maps functions written for one device, and splits host arrays between devices.
"""

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import jax_utils
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from rethink import settings
from rethink.training import allocator

AXIS = "devices"


@dataclasses.dataclass(frozen=True)
class Processes:
    """How the processes of a run find each other: address "host:port" of the first, their number, and which this is."""

    coordinator: str
    count: int
    index: int


TPU_POD = "TPU_WORKER_HOSTNAMES"  # set on TPU virtual machines: the hosts of the slice, separated by commas


def start(config: ConfigDict, processes: Processes | None) -> None:
    """Applies the config section `hardware` and joins the other processes; before anything is computed.

    Args:
      processes: None where there is one, or where a launcher (TPU pod, Slurm, Open MPI) says how many.

    Raises:
      UserError: the other processes are not there.
    """
    allocator.prepare()
    already = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    if config.cpu_devices not in (1, already):  # the runs of a table share a process
        jax.config.update("jax_num_cpu_devices", config.cpu_devices)
    if (processes or launched()) and not jax.distributed.is_initialized():
        jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
        place = vars(processes) if processes else {}
        names = {"coordinator": "coordinator_address", "count": "num_processes", "index": "process_id"}
        try:
            jax.distributed.initialize(
                **{names[field]: value for field, value in place.items()},
                heartbeat_timeout_seconds=2 * math.ceil(config.peer_timeout_seconds),  # peers.py is to see it first
            )
        except (RuntimeError, ValueError) as error:
            raise settings.UserError(
                f"The processes of this run did not find each other ({str(error).splitlines()[0]}): "
                "check --coordinator, --num_processes and --process_id, and that all of them were started."
            ) from error
    if config.compilation_cache:
        folder = settings.expand(config.compilation_cache, "hardware.compilation_cache")
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def launched() -> bool:
    """Returns whether Slurm's srun, Open MPI or a TPU pod has started several processes.

    Only their number is read here; jax.distributed finds out the rest.
    """
    environment = os.environ
    tasks = environment.get("SLURM_NTASKS", "1") if "SLURM_STEP_NODELIST" in environment else "1"
    ranks = environment.get("OMPI_COMM_WORLD_SIZE", "1")
    return tasks != "1" or ranks != "1" or "," in environment.get(TPU_POD, "")


def is_first() -> bool:
    """Returns whether this is the process that writes."""
    return jax.process_index() == 0


def several_processes() -> bool:
    """Returns whether the run has more than one process."""
    return jax.process_count() > 1


def any_process(flag: bool) -> bool:
    """Returns whether the flag of any process is set; every process must ask."""
    return bool(gather(np.array(flag)).any())


def other_processes() -> list[int]:
    """Returns the indices of the other processes."""
    return [index for index in range(jax.process_count()) if index != jax.process_index()]


def tell_others(text: str) -> None:
    """Leaves a text of this process where the others can read it, in place of its last one.

    Raises:
      ConnectionError: the first process, which keeps the texts, is not there.
    """
    try:
        _client().key_value_set(f"rethink/{jax.process_index()}", text, allow_overwrite=True)
    except jax.errors.JaxRuntimeError as error:
        raise ConnectionError(str(error).splitlines()[0]) from error


def hear_from(index: int) -> str:
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
    """Returns JAX's client of the service that the processes of a run share; there is no public way to it."""
    from jax._src import distributed

    return distributed.global_state.client


def from_first(tree: Any) -> Any:
    """Returns the first process's host arrays, the same shapes everywhere."""
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


def gather(array: np.ndarray) -> np.ndarray:
    """Returns a host array of every process, the same shape and type everywhere, stacked along a new leading axis."""
    array = np.asarray(array, order="C")
    if jax.process_count() == 1 or not array.size:
        return np.stack([array] * jax.process_count())
    # As bytes: JAX makes 32 bits of 64.
    parts = multihost_utils.process_allgather(array.reshape(-1).view(np.uint8))
    return parts.view(array.dtype).reshape(-1, *array.shape)


def gather_text(text: str) -> list[str]:
    """Returns a text of every process."""
    content = np.frombuffer(text.encode(), np.uint8)
    lengths = gather(np.array(len(content)))
    padded = np.pad(content, (0, int(lengths.max()) - len(content)))
    return [part[:length].tobytes().decode() for part, length in zip(gather(padded), lengths, strict=True)]


def check_same_config(config: ConfigDict) -> None:
    """Checks that all processes were given the same config, places on each host apart.

    Raises:
      UserError: they were not, in every process.
    """
    first, *others = [json.loads(text) for text in gather_text(settings.same_everywhere(config))]
    known = dict.fromkeys(field for config in (first, *others) for field in config)
    fields = [field for field in known if any(other.get(field) != first.get(field) for other in others)]
    if fields:
        raise settings.UserError(
            f"The processes of this run have different configs ({', '.join(fields)}): start them with the same flags."
        )


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """Lets a block succeed in every process or in none, so that none waits for one that has failed.

    Blocks may be nested. Other collectives belong behind a block, where every process has arrived.

    Raises:
      UserError: another process failed; where it was this one, what it raised.
    """
    try:
        yield
    except Exception as error:
        if not hasattr(error, "announced"):  # an inner block may have done it
            gather_text(str(error) or type(error).__name__)
            error.announced = True  # type: ignore[attr-defined]
        raise
    failures = [text for text in gather_text("") if text]
    if failures:
        failed = settings.UserError(f"Another process of this run failed: {failures[0]}")
        failed.announced = True  # type: ignore[attr-defined]
        raise failed


def describe() -> dict[str, Any]:
    """Returns what the run has: platform, kind and number of devices, processes, whether freed memory is kept."""
    return {
        "platform": jax.default_backend(),
        "kind": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "keeps_freed_memory": allocator.keeps_freed_memory(),
    }


def check_batch(batch_size: int) -> None:
    """Checks that a global training batch divides by the devices.

    Raises:
      UserError: it does not.
    """
    devices = jax.device_count()
    if batch_size % devices:
        near = max(devices, batch_size // devices * devices)
        raise settings.UserError(
            f"train.batch_size={batch_size} does not divide by the {devices} devices: "
            f"try --config.train.batch_size={near}."
        )


def whole_batch(batch_size: int) -> int:
    """Returns the batch size rounded up to a multiple of the devices."""
    return -(-batch_size // jax.device_count()) * jax.device_count()


def map_devices(function: Callable, *, donate_state: bool, member_axes: tuple[Any, ...] = ()) -> Callable:
    """Returns `function` run on every device at once over axis `AXIS`; every argument has a leading axis of devices.

    `member_axes` maps the members of a group too: 0 for an axis of members behind that of devices, None for none."""
    if member_axes:
        function = jax.vmap(function, in_axes=member_axes)
    return jax.pmap(function, axis_name=AXIS, donate_argnums=(0,) if donate_state else ())


def replicate(tree: Any) -> Any:
    """Returns host arrays, each copied to every local device, with a leading axis of devices."""
    return jax_utils.replicate(jax.tree.map(np.asarray, tree), axis_name=AXIS)


def own_part(batch_size: int) -> slice:
    """Returns where this process's part lies in a global batch, which divides by the devices."""
    share = batch_size // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def own_stride() -> slice:
    """Returns which of any number of things are this process's: one in as many as there are processes."""
    return slice(jax.process_index(), None, jax.process_count())


def spread(tree: Any, axis: int) -> Any:
    """Returns this process's part of a batch, split between its devices along a new leading axis.

    Args:
      tree: host arrays; `axis` of each is the process's part of the batch.
    """
    devices = jax.local_device_count()

    def spread_one(array: np.ndarray) -> np.ndarray:
        shape = array.shape
        parts = array.reshape(*shape[:axis], devices, shape[axis] // devices, *shape[axis + 1 :])
        return np.moveaxis(parts, axis, 0)

    return jax.tree.map(spread_one, tree)


def in_flight_limit() -> int:
    """Returns how many calls may be under way at once: enough to hide the dispatch and the transfer of the next.

    Several processes with several CPU devices each deadlock in their collectives unless every call is waited for.
    """
    crowded = jax.process_count() > 1 and jax.local_device_count() > 1 and jax.default_backend() == "cpu"
    return 0 if crowded else 2


def fetch(tree: Any) -> Any:
    """Returns a replicated tree as host arrays of their own, from the first local device; waits for it."""
    return jax.tree.map(lambda leaf: np.array(leaf.addressable_data(0))[0], tree)
