"""Owns how much is handed to the devices at once: the steps of a dispatch, the calls under way.

Refuses to make calls: the feeds' programs do.
"""

import collections
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from rethink.training import devices

STEPS = {"cpu": 16}  # that Ctrl-C does not wait for long
ACCELERATOR_STEPS = 32
CALL_BYTES = 2**28  # that a call may bring with it: two are under way, and their parts are on the host as well


def steps_per_call(config: ConfigDict, step_bytes: int, convolves: bool) -> int:
    """Returns the steps in one dispatch: `train.steps_per_call`, or, where that is 0, what suits the platform, but no
    more than `log.every_steps`, as training rows stand at the ends of calls.

    Args:
      step_bytes: what a step brings with it, 0 where all is on the devices.
      convolves: whether the network does: XLA on CPU runs convolutions in a loop about 30 times slower.
    """
    platform = jax.default_backend()
    most = 1 if convolves and platform == "cpu" else STEPS.get(platform, ACCELERATOR_STEPS)
    return config.train.steps_per_call or max(1, min(most, config.log.every_steps, CALL_BYTES // max(step_bytes, 1)))


def make_throttle() -> Callable[[Any], None]:
    """Returns a function that takes what a call gives, and waits for an older call where too many are under way."""
    in_flight: collections.deque[Any] = collections.deque()
    limit = devices.in_flight_limit()

    def throttle(sums: Any) -> None:
        in_flight.append(sums)
        if len(in_flight) > limit:
            jax.block_until_ready(in_flight.popleft())

    return throttle
