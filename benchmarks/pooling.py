"""What does the gradient of the max pool cost, ours and XLA's?

    taskset -c 0 python -m benchmarks.pooling > docs/results/pooling.json

The pool with its gradient, float32, at the sizes of the networks, for a batch of 32; ours and XLA's take turns.
"""

import functools
import json
import os
import time
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks import rows
from rethink.data.parallel import count_cores
from rethink.models import pooling

BATCH, TURNS = 32, 7
SIZES = {"alexnet, first": (28, 64), "alexnet, second": (14, 64), "inception, first": (28, 80)}  # pixels, channels
POOLS = {
    "ours": pooling.max_pool,
    "XLA": functools.partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2), padding="SAME"),
}


def main() -> None:
    """Measures and prints JSON."""
    found = []
    for name, (size, channels) in SIZES.items():
        x = jax.nn.relu(jax.random.normal(jax.random.key(0), (BATCH, size, size, channels)))
        measures = {by: functools.partial(_time, _program(pool), x) for by, pool in POOLS.items()}
        rows.take_turns(measures, 1)  # compiles
        seconds = rows.take_turns(measures, TURNS)
        found += [rows.row(name, by, "ms", [1e3 * second for second in of]) for by, of in seconds.items()]
        found.append(rows.ratio_row(name, "XLA / ours", seconds["XLA"], seconds["ours"]))
    print(json.dumps({"cores": count_cores(), "of": os.cpu_count(), "jax": jax.__version__, "rows": found}, indent=2))


def _program(pool: Callable) -> Callable:
    def weighted_sum(x: jax.Array) -> jax.Array:
        y = pool(x)
        return jnp.vdot(y, jnp.arange(y.size, dtype=y.dtype).reshape(y.shape))

    return jax.jit(jax.value_and_grad(weighted_sum))


def _time(program: Callable, x: jax.Array) -> float:
    began = time.perf_counter()
    jax.block_until_ready(program(x))
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
