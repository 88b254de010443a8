"""What does a checkpoint at every epoch cost?

    python -m benchmarks.checkpoints --data_dir=DIR > docs/results/checkpoints.json

Whole runs of mlp_1x512 on CIFAR10, as users start them, with a checkpoint every epoch or one at the end, in turns.
The time is that between the first and the last row of the run's timings, so that reading and compiling are left out.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import sys
import tempfile

SAVES = {"every epoch": 1.0, "at the end": 1000.0}  # name -> checkpoint.every_epochs


def main() -> None:
    """Measures and prints JSON."""
    parser = argparse.ArgumentParser(description="What does a checkpoint at every epoch cost?")
    parser.add_argument("--data_dir", required=True, help="directory with cifar10")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in SAVES}
    for _ in range(arguments.turns):
        for name, every in SAVES.items():
            seconds[name].append(run_seconds(arguments, every))
    ratios = [saved / plain - 1 for saved, plain in zip(*seconds.values(), strict=True)]
    print(
        json.dumps(
            {
                "cores": os.cpu_count(),
                "epochs": arguments.epochs,
                "n": arguments.turns,
                "seconds": {name: [round(value, 2) for value in values] for name, values in seconds.items()},
                "cost of a checkpoint every epoch, %": {
                    "median": round(100 * statistics.median(ratios), 2),
                    "min": round(100 * min(ratios), 2),
                    "max": round(100 * max(ratios), 2),
                },
            },
            indent=2,
        )
    )


def run_seconds(arguments: argparse.Namespace, checkpoint_every: float) -> float:
    """Returns the seconds of training of one run."""
    from rethink.configs import cifar_true
    from rethink.experiment.run import Launch, run_experiment
    from rethink.results import records

    config = cifar_true.get_config("mlp_1x512")
    config.data.dir = arguments.data_dir
    config.train.total_epochs = float(arguments.epochs)
    config.evaluate.every_epochs = float(arguments.epochs)
    config.checkpoint.every_epochs = checkpoint_every
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(sys.stderr):
            run_experiment(config, folder, Launch())
        rows = [row for row in records.read_rows(pathlib.Path(folder) / "timings.jsonl") if row["kind"] == "train"]
    return rows[-1]["seconds"] - rows[0]["seconds"]


if __name__ == "__main__":
    main()
