"""Measures how fast a streamed feed is, and whether its memory grows with the data set.

    python -m benchmarks.streaming --data_dir=DIR > docs/results/streaming.json

Images per second of the loader alone and with the model, for 0, 1 and 2 workers, in turns; and the peak memory of a
process, its workers included, that streams an ImageNet sample once and repeated.
"""

import argparse
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import psutil

WORKERS = (0, 1, 2)
MEMORY = {"once": (1, 1), "20 passes": (1, 20), "20 times as many shards": (20, 1)}  # name -> (shards, passes)


def main() -> None:
    """Measures and prints JSON."""
    parser = argparse.ArgumentParser(description="How fast is a streamed feed, and does its memory grow?")
    parser.add_argument("--data_dir", required=True, help="directory with cifar10 and imagenet2012, array_record")
    parser.add_argument("--batches", type=int, default=100, help="batches in one turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only_memory", action="store_true", help="leave out the speeds")
    parser.add_argument("--memory", help=argparse.SUPPRESS)  # one of the measurements of memory
    arguments = parser.parse_args()
    if arguments.memory:
        print(peak_memory(arguments.data_dir, *MEMORY[arguments.memory]))
        return
    speed = {} if arguments.only_memory else speeds(arguments)
    words = [sys.executable, "-m", "benchmarks.streaming", *sys.argv[1:]]
    memory = {}
    for name in MEMORY:
        ended = subprocess.run([*words, f"--memory={name}"], check=True, stdout=subprocess.PIPE)
        memory[name] = int(ended.stdout)
    print(json.dumps({"cores": os.cpu_count(), "n": arguments.turns, "images/s": speed, "peak MiB": memory}, indent=2))


def speeds(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Returns images per second, median and extremes over turns, of CIFAR10 at batch 128 with mlp_1x512."""
    import jax

    from rethink.configs import cifar_random
    from rethink.data import batches, streaming
    from rethink.data.registry import open_dataset
    from rethink.experiment.setup import set_up_run
    from rethink.training import devices

    found: dict[str, list[float]] = {}
    config = cifar_random.get_config("mlp_1x512")
    config.data.dir = arguments.data_dir
    data = open_dataset(config.data)
    rows = functools.partial(
        batches.select_train_rows, 0, num_examples=len(data.train.ids), batch_size=128, remainder="wrap"
    )
    rows_of = functools.partial(batches.select_process_rows, rows, slice(None))
    for _ in range(arguments.turns):
        for workers in WORKERS:
            stream = streaming.stream_batches(
                data.train, rows_of, first=0, last=10 * arguments.batches, workers=workers
            )
            rate = timed(lambda stream=stream: next(stream), arguments.batches, 128)
            found.setdefault(f"loader alone, {workers} workers", []).append(rate)
            stream.close()
        for feed, workers in [("resident", 0), *(("streamed", workers) for workers in WORKERS)]:
            config.data.feed, config.data.workers = feed, workers
            setup = set_up_run(config)
            step = iter(range(10**6))
            state = [devices.replicate(setup.start)]

            def train(setup=setup, state=state, step=step) -> None:
                state[0], _ = setup.compiled.train_call(state[0], next(step), 1)
                jax.block_until_ready(state[0])

            name = f"with mlp_1x512, {feed}" + (f", {workers} workers" if feed == "streamed" else "")
            found.setdefault(name, []).append(timed(train, arguments.batches, 128))
            setup.feed.close()
    return {
        name: {"median": round(statistics.median(rates)), "min": round(min(rates)), "max": round(max(rates))}
        for name, rates in found.items()
    }


def timed(call, batches: int, batch_size: int) -> float:
    """Returns images per second of `batches` calls, the first few left out: what was read ahead, and compilation."""
    for _ in range(5):
        call()
    began = time.perf_counter()
    for _ in range(batches):
        call()
    return batch_size * batches / (time.perf_counter() - began)


def peak_memory(data_dir: str, shards: int, passes: int) -> int:
    """Returns the peak of the proportional memory of this process and its workers, MiB, over passes of all images."""
    from rethink.configs import base
    from rethink.data import streaming
    from rethink.data.registry import open_dataset

    config = base.get_config().data
    config.name, config.test_split, config.image_size = "imagenet2012", "validation", 224
    with tempfile.TemporaryDirectory() as folder:
        config.dir = repeat_set(pathlib.Path(data_dir).absolute(), pathlib.Path(folder), shards)
        data = open_dataset(config)
        peak = [0]
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.05):
                peak[0] = max(peak[0], memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        batches = len(data.train.ids) // 20
        rows_of = functools.partial(rows_of_batch, 20, len(data.train.ids))
        for _ in streaming.stream_batches(data.train, rows_of, first=0, last=passes * batches, workers=2):
            pass
        done.set()
        watcher.join()
    return peak[0] // 2**20


def rows_of_batch(size: int, num_examples: int, number: int):
    """Returns the rows of a batch, in storage order, pass after pass."""
    import numpy as np

    return np.arange(number * size, (number + 1) * size) % num_examples


def memory() -> int:
    """Returns the bytes that this process and its children hold, shared pages by their share."""
    total = 0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def repeat_set(source: pathlib.Path, target: pathlib.Path, repeats: int) -> str:
    """Makes a data set that has the ImageNet sample's train shard several times, by links; returns its directory."""
    (version,) = (source / "imagenet2012").iterdir()
    folder = target / "imagenet2012" / version.name
    folder.mkdir(parents=True)
    info = json.loads((version / "dataset_info.json").read_text())
    for split in info["splits"]:
        shards = repeats if split["name"] == "train" else 1
        (length,) = split["shardLengths"]
        split["shardLengths"] = [length] * shards
        for shard in range(shards):
            name = f"imagenet2012-{split['name']}.array_record"
            (folder / f"{name}-{shard:05d}-of-{shards:05d}").symlink_to(version / f"{name}-00000-of-00001")
    (folder / "dataset_info.json").write_text(json.dumps(info))
    for file in ("features.json", "label.labels.txt"):
        (folder / file).symlink_to(version / file)
    return str(target)


if __name__ == "__main__":
    main()
