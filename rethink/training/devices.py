"""Devices: maps functions over them, copies and splits host arrays between them. The only file that names pmap.

What the functions compute is not known here: they are written for one device, and reduce over the axis `AXIS`.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import jax_utils

from rethink.data import parallel
from rethink.schema.errors import UserError
from rethink.training import allocator

AXIS = "devices"


def describe_hardware() -> dict[str, Any]:
    """Returns the fields of the manifest's `hardware`: platform, devices, processes, whether freed memory is kept.

    Also the cores that this process may use: on CPU, XLA divides sums among them, and their number changes last bits.
    """
    return {
        "platform": jax.default_backend(),
        "kind": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "cores": parallel.count_cores(),
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


def share_batch(batch_size: int) -> int:
    """Returns how many examples of a global batch each device has."""
    return batch_size // jax.device_count()


def map_devices(function: Callable, *, donate_state: bool) -> Callable:
    """Returns `function` compiled for all devices at once; its arguments and results have a leading axis of devices.

    Args:
      donate_state: whether the memory of the first argument is reused for the result.
    """
    return jax.pmap(function, axis_name=AXIS, donate_argnums=(0,) if donate_state else ())


def map_networks(function: Callable, *, donate_state: bool, shared: tuple[bool, ...], stacked: bool) -> Callable:
    """Returns `function` compiled for networks of which each device trains its own, alone on the axis `AXIS`.

    Its results and arguments have a leading axis of devices, and of networks on it where they are `stacked`.

    Args:
      donate_state: whether the memory of the first argument is reused for the result.
      shared: for each argument whether all networks of a device share it, so that it has no axis of networks.
    """

    def map_one(*arguments: Any) -> Any:
        result = jax.vmap(function, in_axes=None, axis_name=AXIS, axis_size=1)(*arguments)  # type: ignore[arg-type]
        return jax.tree.map(lambda leaf: leaf[0], result)

    mapped = jax.vmap(map_one, in_axes=tuple(None if by_all else 0 for by_all in shared)) if stacked else map_one
    return jax.pmap(mapped, axis_name="networks", donate_argnums=(0,) if donate_state else ())


def replicate(tree: Any) -> Any:
    """Returns host arrays copied to every local device: [devices, ...] for each [...]."""
    return jax_utils.replicate(jax.tree.map(np.asarray, tree), axis_name=AXIS)


def process_slice(batch_size: int) -> slice:
    """Returns this process's part of a global batch, as a slice; the batch size divides by the devices."""
    share = batch_size // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def process_stride() -> slice:
    """Returns this process's part of any number of rows, as a slice: every n-th row of n processes."""
    return slice(jax.process_index(), None, jax.process_count())


def shard(tree: Any, axis: int) -> Any:
    """Returns this process's part of a batch split between its devices: [devices, ...], `axis` of each 1/devices long.

    Args:
      tree: host arrays whose axis `axis` is the process's part of the batch.
    """
    devices = jax.local_device_count()

    def shard_array(array: np.ndarray) -> np.ndarray:
        shape = array.shape
        parts = array.reshape(*shape[:axis], devices, shape[axis] // devices, *shape[axis + 1 :])
        return np.moveaxis(parts, axis, 0)

    return jax.tree.map(shard_array, tree)


def in_flight_limit() -> int:
    """Returns how many calls may be under way at once: enough to hide dispatch and transfer of the next one.

    Several processes with several CPU devices each deadlock in their collectives unless every call is waited for.
    """
    is_crowded = jax.process_count() > 1 and jax.local_device_count() > 1 and jax.default_backend() == "cpu"
    return 0 if is_crowded else 2


def fetch(tree: Any) -> Any:
    """Returns a tree [devices, ...] as new host arrays [...], from the first local device; waits for it."""
    return jax.tree.map(lambda leaf: np.array(leaf.addressable_data(0))[0], tree)


def fetch_batch(tree: Any) -> Any:
    """Returns a tree [devices, ..., batch] as host arrays [..., batch], those of all local devices in a row."""

    def fetch_leaf(leaf: jax.Array) -> np.ndarray:
        return np.concatenate([np.asarray(shard.data)[0] for shard in leaf.addressable_shards], axis=-1)

    return jax.tree.map(fetch_leaf, tree)
