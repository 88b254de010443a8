"""Owns where things run: devices, pmap, replication, placement. The only file that names any of them.

Refuses to know what runs: it maps functions written for one device, and splits host arrays between devices.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import jax_utils

from rethink.schema.errors import UserError
from rethink.training import allocator

AXIS = "devices"


def describe_hardware() -> dict[str, Any]:
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
        raise UserError(
            f"train.batch_size={batch_size} does not divide by the {devices} devices: "
            f"try --config.train.batch_size={near}."
        )


def round_up_batch(batch_size: int) -> int:
    """Returns the batch size rounded up to a multiple of the devices."""
    return -(-batch_size // jax.device_count()) * jax.device_count()


def map_devices(function: Callable, *, donate_state: bool, run_axes: tuple[Any, ...] = ()) -> Callable:
    """Returns `function` run on every device at once over axis `AXIS`; every argument has a leading axis of devices.

    `run_axes` also maps runs that are trained together: 0 for an axis of runs behind that of devices, None for none."""
    if run_axes:
        function = jax.vmap(function, in_axes=run_axes)
    return jax.pmap(function, axis_name=AXIS, donate_argnums=(0,) if donate_state else ())


def replicate(tree: Any) -> Any:
    """Returns host arrays, each copied to every local device, with a leading axis of devices."""
    return jax_utils.replicate(jax.tree.map(np.asarray, tree), axis_name=AXIS)


def process_slice(batch_size: int) -> slice:
    """Returns where this process's part lies in a global batch, which divides by the devices."""
    share = batch_size // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def process_stride() -> slice:
    """Returns which of any number of things are this process's: one in as many as there are processes."""
    return slice(jax.process_index(), None, jax.process_count())


def shard(tree: Any, axis: int) -> Any:
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
