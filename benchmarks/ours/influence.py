"""Networks on random subsets in this package, and their matrix products alone; timed by benchmarks/influence.py."""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.influence import BATCH, EPOCHS, EVALUATED, MEMBERS, SIZES


@contextlib.contextmanager
def make(*, devices: int, data_dir: str) -> Iterator["Networks"]:
    """Yields the networks, set up and warm."""
    os.environ["JAX_NUM_CPU_DEVICES"] = str(devices)
    yield Networks(devices, data_dir)


class Networks:
    """The program of `kind=influence`, one network on each device, and bare products in as many programs."""

    def __init__(self, devices: int, data_dir: str):
        """Reads MNIST, compiles and trains a network on each device."""
        from rethink.configs import influence as config_file
        from rethink.experiment.input_pipeline import InputPipeline
        from rethink.experiment.setup import make_network_parts, open_dataset_once
        from rethink.memorization import influence
        from rethink.memorization.subset_networks import SubsetNetworks

        config = config_file.get_config("mnist")
        config.data.dir, config.hardware.cpu_devices = data_dir, devices
        pipeline = InputPipeline(config, open_dataset_once(config))
        splits = pipeline.corrupt_splits()
        ids = splits["train"].ids

        def draw(network: int) -> tuple[int, np.ndarray]:
            mask = influence.draw_mask(0, network, ids, MEMBERS)
            return influence.draw_network_seed(0, network), np.flatnonzero(mask).astype(np.int32)

        program = SubsetNetworks(make_network_parts(config, pipeline, MEMBERS)[1], splits)
        self._train = lambda networks: list(program.train(range(networks), draw))
        self._devices = devices
        self._products = make_products(devices)
        self._train(devices)
        self._products()

    def train(self, networks: int) -> dict[str, Any]:
        """Returns the seconds of some networks, and of the processor."""
        return timed(lambda: self._train(networks))

    def products(self, networks: int) -> dict[str, Any]:
        """Returns the seconds of the products of some networks."""
        return timed(lambda: [self._products() for _ in range(networks // self._devices)])


def timed(run: Any) -> dict[str, float]:
    """Returns the seconds of a call by the clock and of the processor."""
    began, processor = time.perf_counter(), time.process_time()
    run()
    return {"seconds": time.perf_counter() - began, "processor": time.process_time() - processor}


def make_products(devices: int) -> Any:
    """Returns a function that makes all products of a network on each device: forward, gradients of weights and of
    hidden activations in every step, forward in the evaluation."""
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return np.stack([rng.random(shape, np.float32)] * devices)

    kernels = [draw(*pair) for pair in zip(SIZES[:-1], SIZES[1:], strict=True)]
    inputs, gradients = [draw(BATCH, size) for size in SIZES[:-1]], [draw(BATCH, size) for size in SIZES[1:]]
    evaluated = [draw(1000, size) for size in SIZES[:-1]]

    def step(arrays: Any, _: Any) -> tuple[Any, jax.Array]:
        kernels, inputs, gradients, _ = arrays
        found = [x @ kernel for x, kernel in zip(inputs, kernels, strict=True)]
        found += [x.T @ gradient for x, gradient in zip(inputs, gradients, strict=True)]
        found += [gradient @ kernel.T for gradient, kernel in zip(gradients[1:], kernels[1:], strict=True)]
        return jax.lax.optimization_barrier(arrays), _sum_corners(jax.lax.optimization_barrier(found))

    def evaluation(arrays: Any, _: Any) -> tuple[Any, jax.Array]:
        found = [x @ kernel for x, kernel in zip(arrays[3], arrays[0], strict=True)]
        return jax.lax.optimization_barrier(arrays), _sum_corners(jax.lax.optimization_barrier(found))

    def network(arrays: Any) -> jax.Array:
        steps = EPOCHS * -(-MEMBERS // BATCH)
        arrays, made = jax.lax.scan(step, arrays, None, length=steps)
        return made.sum() + jax.lax.scan(evaluation, arrays, None, length=EVALUATED // 1000)[1].sum()

    def _sum_corners(found: list[jax.Array]) -> jax.Array:
        return jnp.stack([array[0, 0] for array in found]).sum()

    compiled, arrays = jax.pmap(network), (kernels, inputs, gradients, evaluated)
    return lambda: jax.block_until_ready(compiled(arrays))
