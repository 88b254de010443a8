"""Do different numbers of devices learn the same parameters?

    python -m benchmarks.devices --data_dir=DIR --model=inception > docs/results/devices.json

Trains the same steps on 1, 2 and 8 virtual CPU devices, each in a process of its own, and compares the parameters: the
norm of the difference over the norm of the parameters. The noise floor is one device again, from parameters that differ
by one rounding error; batch norm per device is the control, which must differ.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

RUNS = {  # name -> (batch norm, devices, relative change of the first parameters)
    "1": ("across_devices", 1, 0.0),
    "1 changed by 2**-23": ("across_devices", 1, 2.0**-23),
    "2": ("across_devices", 2, 0.0),
    "8": ("across_devices", 8, 0.0),
    "8 per device": ("per_device", 8, 0.0),
}


def main() -> None:
    """Measures and prints JSON."""
    parser = argparse.ArgumentParser(description="Do different numbers of devices learn the same parameters?")
    parser.add_argument("--data_dir", default="", help="directory of prepared TFDS sets")
    parser.add_argument("--model", default="inception")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--learning_rate", type=float, default=0.1)
    parser.add_argument("--train", help=argparse.SUPPRESS)  # "NAME of the run,FILE for its parameters"
    arguments = parser.parse_args()
    if arguments.train:
        name, file = arguments.train.split(",")
        train(arguments, *RUNS[name], file=file)
        return
    parameters = {}
    with tempfile.TemporaryDirectory() as folder:
        for i, name in enumerate(RUNS):
            file = pathlib.Path(folder) / f"{i}.npy"
            words = [sys.executable, "-m", "benchmarks.devices", *sys.argv[1:], f"--train={name},{file}"]
            subprocess.run(words, check=True)
            parameters[name] = np.load(file, allow_pickle=False)
    one = parameters["1"]
    differences = {
        f"1 and {name}": float(np.linalg.norm(other - one) / np.linalg.norm(one))
        for name, other in parameters.items()
        if name != "1"
    }
    what = {name: getattr(arguments, name) for name in ("model", "steps", "learning_rate")}
    print(json.dumps({**what, "cores": os.cpu_count(), **differences}, indent=2))


def train(arguments: argparse.Namespace, norm: str, count: int, change: float, *, file: str) -> None:
    """Saves the parameters after the steps as one vector, float32."""
    import jax

    from rethink.configs import cifar_random
    from rethink.experiment.setup import set_up_run
    from rethink.training import devices, distributed

    config = cifar_random.get_config(arguments.model)
    config.data.dir = arguments.data_dir
    config.data.train_examples = 128 * arguments.steps
    config.batch_norm.kind = norm
    config.optimizer.learning_rate = arguments.learning_rate
    config.hardware.cpu_devices = count
    distributed.initialize(config.hardware, None)
    setup = set_up_run(config)
    start = jax.tree.map(lambda leaf: leaf * np.float32(1 + change), setup.start.params)
    state = devices.replicate(setup.start.replace(params=start))
    for step in range(arguments.steps):
        state, _ = setup.compiled.train_call(state, step, 1)
    np.save(file, np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(devices.fetch(state).params)]))


if __name__ == "__main__":
    main()
