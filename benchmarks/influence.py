"""Measures networks a minute of `kind=influence`, beside a tuned PyTorch loop over the same networks and the limit of
their matrix products.

    python -m benchmarks.influence --data_dir=DIR > docs/results/influence_speed.json

Networks 512-256 on 7,000 of 10,000 images of MNIST, batch 128, 10 epochs, and the evaluation of 20,000 images. Each
library trains one network a core, PyTorch in a process for each; PyTorch also one network with all threads, and is
judged by the faster. Turns are taken, after one that compiles. On a machine that does other work too, the seconds of
the processor say more than those of the clock; both are here.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks import workers

SIZES, BATCH, EPOCHS, MEMBERS, EVALUATED = (784, 512, 256, 10), 128, 10, 7000, 20_000
OURS, PRODUCTS, SPREAD, THREADED = "rethink", "products", "PyTorch, a network a core", "PyTorch, a network at a time"


def main() -> None:
    """Measures and prints JSON."""
    parser = argparse.ArgumentParser(description="How fast are networks on random subsets?")
    parser.add_argument("--data_dir", required=True, help="directory with mnist")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--networks", type=int, default=4, help="in a turn; a multiple of the cores")
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    cores, networks = arguments.cores, arguments.networks
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in (OURS, PRODUCTS, SPREAD, THREADED)}
    with contextlib.ExitStack() as stack, contextlib.redirect_stdout(sys.stderr):
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        write_data(pathlib.Path(folder), arguments.data_dir)
        ours = workers.worker("benchmarks.ours.influence", devices=cores, data_dir=arguments.data_dir)
        ours = stack.enter_context(ours)
        options = [1] * cores + [cores]
        peers = [
            stack.enter_context(workers.worker("benchmarks.peers.influence", folder=folder, threads=threads))
            for threads in options
        ]
        pool = stack.enter_context(ThreadPoolExecutor(cores))
        for turn in range(arguments.turns + 1):
            measured = {
                OURS: ours.ask("train", networks=networks),
                PRODUCTS: ours.ask("products", networks=networks),
                SPREAD: join(list(pool.map(lambda peer: peer.ask("train", networks=networks // cores), peers[:-1]))),
                THREADED: peers[-1].ask("train", networks=networks),
            }
            if turn:
                for name, found in measured.items():
                    turns[name].append(found)
    print(json.dumps(summarize(arguments, turns), indent=2))


def write_data(folder: pathlib.Path, data_dir: str) -> None:
    """Writes the images of train and test as the networks see them, float32 [n, 784], and their labels."""
    import jax.numpy as jnp

    from rethink.configs import influence
    from rethink.experiment.input_pipeline import InputPipeline
    from rethink.experiment.setup import open_dataset_once

    config = influence.get_config("mnist")
    config.data.dir = data_dir
    pipeline = InputPipeline(config, open_dataset_once(config))
    splits = pipeline.corrupt_splits()
    views = [
        np.asarray(pipeline.view_images(jnp.asarray(splits[name].images), jnp.asarray(splits[name].encoding)))
        for name in ("train", "test")
    ]
    np.save(folder / "images.npy", np.concatenate(views).reshape(EVALUATED, -1))
    np.save(folder / "labels.npy", np.concatenate([splits[name].labels for name in ("train", "test")]).astype(np.int64))


def join(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the answers of processes that ran side by side as one."""
    seconds, processor = max(one["seconds"] for one in found), sum(one["processor"] for one in found)
    return {**found[0], "seconds": seconds, "processor": processor}


def summarize(arguments: argparse.Namespace, turns: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns medians and extremes of both kinds of seconds a network, and the ratios turn by turn."""
    report: dict[str, Any] = {
        **{name: getattr(arguments, name) for name in ("cores", "networks", "turns")},
        "seconds a network": {},
        "ratios": {},
    }
    for name, found in turns.items():
        facts = {key: value for key, value in found[0].items() if key in ("choice", "trials")}
        times = {kind: spread([one[kind] / arguments.networks for one in found]) for kind in ("seconds", "processor")}
        report["seconds a network"][name] = {**times, **facts}
    for kind in ("seconds", "processor"):
        ours, products, *peers = ([one[kind] for one in found] for found in turns.values())
        faster = min(peers, key=statistics.median)
        ratios = {"PyTorch / rethink": (faster, ours), "products / rethink": (products, ours)}
        report["ratios"][kind] = {
            name: spread([a / b for a, b in zip(*pair, strict=True)]) for name, pair in ratios.items()
        }
    return report


def spread(values: list[float]) -> dict[str, float]:
    """Returns median, least and greatest."""
    return {name: round(of(values), 3) for name, of in (("median", statistics.median), ("min", min), ("max", max))}


if __name__ == "__main__":
    main()
