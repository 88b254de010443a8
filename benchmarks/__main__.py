"""The benchmark of speed: its flags, the order of its parts, the table and the file.

    python -m benchmarks --only=epochs,around,limits --models=mlp_1x512,mlp_3x512 \
        --data_dir=DIR --output=docs/results/speed_mlps.json
    python -m benchmarks --only=epochs,around,limits --models=alexnet,inception,inception_no_bn --examples=2560 \
        --data_dir=DIR --output=docs/results/speed_convolutional.json
    python -m benchmarks --only=fit,start,memory --data_dir=DIR --output=docs/results/speed_starts.json

Nothing is measured here: the parts do that, in processes of their own, ours and PyTorch's repeats in turns. PyTorch is
measured where it is installed (`pip install -e '.[bench]'`). It wants an idle machine; `taskset -c 0,1` in front takes
two cores for all that is measured. A whole epoch of the Inceptions takes many minutes on CPU, hence fewer examples.
"""

import argparse
import json
import os
import pathlib
import platform
import sys
import tempfile
from importlib import metadata
from typing import Any, NoReturn

from benchmarks import architectures, rows, workers
from benchmarks.parts import epochs, fits, limits, starts
from benchmarks.parts.settings import Settings
from rethink.data.parallel import count_cores

PARTS = {
    "epochs": epochs.epochs,
    "around": epochs.around,
    "limits": limits.limits,
    "fit": fits.fits,
    "start": starts.starts,
    "memory": starts.memory,
}
READ_DATA = {"epochs", "around", "fit", "memory"}
PACKAGES = ("jax", "jaxlib", "flax", "numpy", "torch", "torchvision")
NO_PEER = "PyTorch with torchvision is not installed, so their half is left out: pip install -e '.[bench]'"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Ends with exit code 2."""
        fail(message)


def fail(message: str) -> NoReturn:
    """Ends with one line and exit code 2."""
    print(f"Error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Measures, prints the table and writes the file."""
    arguments = parse(sys.argv[1:])
    measured: dict[str, list[rows.Row]] = {}
    seconds: dict[str, float] = {}
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        fields = ("models", "devices", "examples", "repeats", "data_dir", "fit_accuracy", "fit_epochs")
        settings = Settings(**{field: getattr(arguments, field) for field in fields}, folder=folder)
        for part in arguments.only:
            print(f"{part} ...", file=sys.stderr)
            with rows.stopwatch(seconds, part):
                try:
                    measured[part] = PARTS[part](settings)
                except workers.Mistake as mistake:
                    fail(str(mistake))
    if shares := limits.shares(measured):
        measured["shares"] = shares
    print(rows.show([row for part in measured.values() for row in part]))
    print("Seconds of each part: " + ", ".join(f"{part} {value:g}" for part, value in seconds.items()))
    if not settings.peers:
        print(NO_PEER)
    if arguments.output:
        found = {
            "command": " ".join(["python -m benchmarks", *map(without_place, sys.argv[1:])]),
            **machine(),
            "load at the start": load,
            "PyTorch": "measured" if settings.peers else NO_PEER,
            "seconds": seconds,
            "parts": measured,
        }
        arguments.output.write_text(json.dumps(found, indent=2) + "\n")


def parse(words: list[str]) -> argparse.Namespace:
    """Returns the flags, checked."""
    parser = Parser(prog="python -m benchmarks", description="How fast is it, beside PyTorch and the hardware's limit?")
    parser.add_argument("--only", type=names_of(PARTS), default=tuple(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--models", type=names_of(architectures.MODELS), default=architectures.MODELS)
    parser.add_argument("--devices", type=numbers, default=(1, 2, 4), help="virtual CPU devices, such as 1,2,4")
    parser.add_argument("--examples", type=positive, default=50_000, help="of CIFAR10 to train on")
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--data_dir", default="", help="directory with cifar10, as data.dir")
    parser.add_argument("--fit_accuracy", type=fraction, default=1.0, help="train accuracy that ends a fit")
    parser.add_argument("--fit_epochs", type=positive, default=100, help="most epochs of a fit")
    parser.add_argument("--output", type=pathlib.Path, help="file for the JSON")
    arguments = parser.parse_args(words)
    if arguments.examples < architectures.BATCH:
        fail(f"--examples={arguments.examples}: a batch has {architectures.BATCH}, so take at least as many.")
    uneven = [devices for devices in arguments.devices if architectures.BATCH % devices]
    if uneven:
        fail(f"--devices: a batch of {architectures.BATCH} does not divide by {uneven[0]}.")
    if READ_DATA & set(arguments.only) and arguments.data_dir and not pathlib.Path(arguments.data_dir).is_dir():
        fail(f"--data_dir={arguments.data_dir} is no directory: name the one that holds cifar10.")
    if arguments.output and not arguments.output.absolute().parent.is_dir():
        fail(f"--output={arguments.output}: {arguments.output.absolute().parent} is no directory: make it first.")
    return arguments


def without_place(word: str) -> str:
    """Returns a flag as it is given on any machine."""
    return "--data_dir=DIR" if word.startswith("--data_dir=") else word


def names_of(choices: Any) -> Any:
    """Returns the type of a flag that takes some of the choices, separated by commas."""

    def read(text: str) -> tuple[str, ...]:
        unknown = [name for name in text.split(",") if name not in choices]
        if unknown:
            raise argparse.ArgumentTypeError(f"'{unknown[0]}' is none of {', '.join(choices)}")
        return tuple(text.split(","))

    return read


def positive(text: str) -> int:
    """Reads a number from 1 up."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 1 up")
    return int(text)


def numbers(text: str) -> tuple[int, ...]:
    """Reads numbers from 1 up, separated by commas."""
    return tuple(map(positive, text.split(",")))


def fraction(text: str) -> float:
    """Reads a number above 0, up to 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no number above 0, up to 1")
    return value


def machine() -> dict[str, Any]:
    """Returns what was measured on and with."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    info = pathlib.Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    processor = models[0].partition(":")[2].strip() if models else platform.processor()
    return {"processor": processor, "cores": os.cpu_count(), "threads": count_cores(), "versions": versions}


if __name__ == "__main__":
    main()
