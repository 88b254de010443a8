"""How long does each source take to open the same images, and are they the same to a run?

    python -m benchmarks.sources --data_dir=DIR > docs/results/sources.json

CIFAR10 is written anew from its TFDS copy: as a folder of 60,000 PNG files with metadata.csv, as npz and as parquet in
Hugging Face's layout. Each is opened and read, cold (an empty cache of ours; the files are in the system's) and cached,
in turns and in processes of their own, beside torchvision's ImageFolder, which reads the same PNG files once, where it
is installed. Then each trains the same short run, whose data, rows and results are compared with those of the TFDS set.
"""

import argparse
import contextlib
import csv
import functools
import importlib.util
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from benchmarks import rows

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from rethink.data.dataset import Split

SHARD_ROWS, GROUP_ROWS = 10_000, 1_000  # of the parquet files
PEER = "torchvision ImageFolder"


def main() -> None:
    """Measures, prints the table to stderr and JSON to stdout."""
    parser = argparse.ArgumentParser(description="How long does each source take to open the same images?")
    parser.add_argument("--data_dir", required=True, help="directory with cifar10")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "NAME", "CACHE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(measure(*arguments.measure, data_dir=arguments.data_dir))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        config = make_config("cifar10", arguments.data_dir)
        config.data.cache_dir = str(root / "cache")
        print("writing ...", file=sys.stderr)
        names = convert(config, root)
        print("opening ...", file=sys.stderr)
        table = measure_all(names, root, arguments)
        print(rows.show(table), file=sys.stderr)
        print("training ...", file=sys.stderr)
        same = compare_sources(names, config, root / "runs")
    print(json.dumps({"cores": os.cpu_count(), "n": arguments.turns, "rows": table, "runs": same}, indent=2))


def make_config(name: str, data_dir: str) -> "ConfigDict":
    """Returns the config of a short run on a data set."""
    from rethink.configs import cifar_random

    config = cifar_random.get_config("mlp_1x512")
    config.data.name, config.data.dir = name, str(pathlib.Path(data_dir).absolute())
    config.train.total_epochs = 1.0
    return config


# The same examples in other forms.


def convert(config: "ConfigDict", root: pathlib.Path) -> dict[str, str]:
    """Writes the data set of a config in other forms below `root`; returns source -> `data.name`, that set's first.

    Also a folder root/classes/SPLIT/CLASS of the same PNG files for ImageFolder, by links.
    """
    from rethink.data.registry import open_dataset

    data = open_dataset(config.data)
    splits = {name: data.splits[name].load() for name in ("train", "test")}
    write_npz(splits, data.class_names, root / "set.npz")
    encoded = {name: [encode_png(image) for image in split.images] for name, split in splits.items()}
    write_folder(splits, encoded, root)
    write_parquet(splits, encoded, data.class_names, root / "parquet")
    return {
        "tfds": config.data.name,
        "folder": f"folder:{root / 'folder'}",
        "npz": f"npz:{root / 'set.npz'}",
        "parquet": f"parquet:{root / 'parquet'}",
    }


def encode_png(image: Any) -> bytes:
    """Returns an image, uint8 [height, width, channels], as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def write_npz(splits: "dict[str, Split]", class_names: tuple[str, ...], path: pathlib.Path) -> None:
    """Writes arrays with Keras's names."""
    import numpy as np

    arrays = {f"x_{name}": split.images for name, split in splits.items()}
    arrays |= {f"y_{name}": split.labels for name, split in splits.items()}
    np.savez(path, **arrays, class_names=np.array(class_names))


def write_folder(splits: "dict[str, Split]", encoded: dict[str, list[bytes]], root: pathlib.Path) -> None:
    """Writes a flat folder of PNG files with metadata.csv in the set's order; and class folders of links to them."""
    (root / "folder").mkdir(parents=True)
    with open(root / "folder" / "metadata.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "label", "split"])
        for name, split in splits.items():
            for label in set(split.labels.tolist()):
                (root / "classes" / name / f"{label:04d}").mkdir(parents=True)
            for number, (label, content) in enumerate(zip(split.labels.tolist(), encoded[name], strict=True)):
                path = root / "folder" / f"{name}_{number:05d}.png"
                path.write_bytes(content)
                os.link(path, root / "classes" / name / f"{label:04d}" / path.name)
                table.writerow([path.name, label, name])


def write_parquet(
    splits: "dict[str, Split]", encoded: dict[str, list[bytes]], class_names: tuple[str, ...], folder: pathlib.Path
) -> None:
    """Writes Hugging Face's layout: shards of each split, and the names of the classes in the schema's metadata."""
    import pyarrow as pa
    from pyarrow import parquet

    features = {"image": {"_type": "Image"}, "label": {"names": list(class_names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    folder.mkdir(parents=True)
    for name, split in splits.items():
        count = len(split.labels)
        shards = -(-count // SHARD_ROWS)
        for shard in range(shards):
            part = range(shard * SHARD_ROWS, min((shard + 1) * SHARD_ROWS, count))
            images = [{"bytes": encoded[name][row], "path": f"{name}_{row:05d}.png"} for row in part]
            labels = pa.array(split.labels[part.start : part.stop], pa.int64())
            table = pa.table({"image": images, "label": labels}).replace_schema_metadata(metadata)
            path = folder / f"{name}-{shard:05d}-of-{shards:05d}.parquet"
            parquet.write_table(table, path, row_group_size=GROUP_ROWS)


# Seconds.


def measure_all(names: dict[str, str], root: pathlib.Path, arguments: argparse.Namespace) -> list[rows.Row]:
    """Returns the rows of seconds, and of their ratios to those of the peer in the same turn."""

    def run(what: str, name: str, cache: str) -> float:
        words = [f"--data_dir={arguments.data_dir}", "--measure", what, name, cache]
        command = [sys.executable, "-m", "benchmarks.sources", *words]
        return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)

    def open_twice(source: str) -> tuple[float, float]:
        with tempfile.TemporaryDirectory(dir=root) as cache:
            return run("source", names[source], cache), run("source", names[source], cache)

    measures = {source: functools.partial(open_twice, source) for source in names}
    if importlib.util.find_spec("torchvision"):
        measures[PEER] = functools.partial(run, "peer", str(root / "classes"), "")
    found = rows.take_turns(measures, arguments.turns)
    peer = found.pop(PEER, None)
    seconds = {
        f"{source}, {state}": values
        for source in names
        for state, values in zip(("cold", "cached"), zip(*found[source], strict=True), strict=True)
    }
    table = [rows.row(what, "rethink", "s", values) for what, values in seconds.items()]
    if peer:
        table.append(rows.row(PEER, "torchvision", "s", peer))
        table += [rows.ratio_row(f"{what} / {PEER}", "", values, peer) for what, values in seconds.items()]
    return table


def measure(what: str, name: str, cache: str, *, data_dir: str) -> float:
    """Returns the seconds to open a data set and read all of its images, by us ("source") or by the "peer"."""
    from rethink.data.registry import open_dataset

    began = time.perf_counter()
    if what == "peer":
        import numpy as np
        from torchvision.datasets import ImageFolder

        began = time.perf_counter()
        for split in ("train", "test"):
            for _ in ImageFolder(f"{name}/{split}", transform=np.asarray):
                pass
    else:
        config = make_config(name, data_dir).data
        config.cache_dir = cache
        data = open_dataset(config)
        for split in data.splits.values():
            split.load()
    return time.perf_counter() - began


# Runs.


def compare_sources(names: dict[str, str], config: "ConfigDict", folder: pathlib.Path) -> dict[str, str]:
    """Returns source -> how its run compares with that of the first one: examples, rows of metrics.jsonl, results."""
    from rethink.experiment.rerun import compare_runs
    from rethink.experiment.run import Launch, run_experiment

    first, *others = names
    for source, name in names.items():
        config.data.name = name
        with contextlib.redirect_stdout(sys.stderr):
            run_experiment(config, str(folder / source), Launch(quiet=True))
    lines = {source: compare_runs(folder / first, folder / source)[0] for source in others}
    return {source: line.replace(str(folder / first), f"the run of {first}") for source, line in lines.items()}


if __name__ == "__main__":
    main()
