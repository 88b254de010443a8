"""How fast is ImageNet read and augmented at 299 pixels, and how long is an epoch of all of it?

    python -m benchmarks.imagenet --data_dir=DIR > docs/results/imagenet_loader.json

Images per second of the loader alone (read, JPEG decode, resize to 342, centre square) for 0, 1 and 2 workers, in
turns; and of the augmentation alone, as the devices do it, on this CPU.
"""

import argparse
import functools
import json
import os
import statistics

from benchmarks.streaming import WORKERS, timed

BATCH = 32
FULL = 1_281_167  # training images of ILSVRC 2012
CORES = 16


def main() -> None:
    """Measures and prints JSON."""
    parser = argparse.ArgumentParser(description="How fast is ImageNet read and augmented at 299 pixels?")
    parser.add_argument("--data_dir", required=True, help="directory with imagenet2012, array_record")
    parser.add_argument("--batches", type=int, default=28, help=f"batches of {BATCH} in one turn")
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    rates = measure(arguments)
    found = {name: summarize(values) for name, values in rates.items()}
    per_core = max(found["loader, 1 workers"]["median"], found["loader, 0 workers"]["median"])
    print(
        json.dumps(
            {
                "cores": os.cpu_count(),
                "n": arguments.turns,
                "images/s": found,
                f"epoch of {FULL:,} images, minutes, if {CORES} workers on {CORES} cores scale": round(
                    FULL / (CORES * per_core) / 60, 1
                ),
            },
            indent=2,
        )
    )


def measure(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Returns images per second of each turn."""
    import jax

    from rethink import randomness
    from rethink.configs.paper import table2
    from rethink.data import batches, preprocessing, streaming
    from rethink.data.registry import open_dataset
    from rethink.regularization import augmentation
    from rethink.schema.grid import expand_grid

    (run,) = expand_grid(table2.get_config("true-aug"))
    config = run.config
    config.data.dir = arguments.data_dir
    data = open_dataset(config.data)
    rows = functools.partial(
        batches.select_train_rows, 0, num_examples=len(data.train.ids), batch_size=BATCH, remainder="wrap"
    )
    rows_of = functools.partial(batches.select_process_rows, rows, slice(None))
    augment = functools.partial(augmentation.from_config(config.augmentation), decode=preprocessing.decode_images)
    key = randomness.key_for(0, "augmentation")
    size, encoding = (config.preprocess.crop, config.preprocess.crop), preprocessing.clean_encoding(3)
    found: dict[str, list[float]] = {}
    for _ in range(arguments.turns):
        for workers in WORKERS:
            stream = streaming.stream_batches(data.train, rows_of, first=0, last=10**4, workers=workers)
            batch = next(stream)
            found.setdefault(f"loader, {workers} workers", []).append(
                timed(lambda stream=stream: next(stream), arguments.batches, BATCH)
            )
            stream.close()
        found.setdefault("augmentation on this CPU", []).append(
            timed(
                lambda batch=batch: jax.block_until_ready(augment(key, batch.ids, batch.images, encoding, size=size)),
                5,
                BATCH,
            )
        )
    return found


def summarize(values: list[float]) -> dict[str, float]:
    """Returns median and extremes."""
    return {"median": round(statistics.median(values), 1), "min": round(min(values), 1), "max": round(max(values), 1)}


if __name__ == "__main__":
    main()
