"""How much is dispatched to the devices at once: steps in a call, and calls that may be under way.

No call is made here: the compiled functions of feeds.py do.
"""

import collections
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from rethink.training import devices

STEPS = {"cpu": 16}  # platform -> steps in a call: few, so that Ctrl-C does not wait for long
ACCELERATOR_STEPS = 32
CALL_BYTES = 2**28  # of images in a call: two calls are under way, and their batches are on the host as well


def steps_per_call(config: ConfigDict, step_bytes: int, has_convolutions: bool) -> int:
    """Returns the steps in one call: `train.steps_per_call`, or where that is 0, what suits the platform.

    No more than `log.every_steps` suit, as training rows fall on the ends of calls.

    Args:
      step_bytes: of images that a step brings to the devices, 0 where all are there.
      has_convolutions: whether the network has: XLA on CPU runs convolutions in a loop about 30 times slower.
    """
    platform = jax.default_backend()
    most = 1 if has_convolutions and platform == "cpu" else STEPS.get(platform, ACCELERATOR_STEPS)
    return config.train.steps_per_call or max(1, min(most, config.log.every_steps, CALL_BYTES // max(step_bytes, 1)))


def make_throttle() -> Callable[[Any], None]:
    """Returns a function of a call's result, which waits for an older call where too many are under way."""
    in_flight: collections.deque[Any] = collections.deque()
    limit = devices.in_flight_limit()

    def throttle(sums: Any) -> None:
        in_flight.append(sums)
        if len(in_flight) > limit:
            jax.block_until_ready(in_flight.popleft())

    return throttle
