"""Made-up runs that the tests of the page share: whole records of a run, without a run."""

import json

import numpy as np
import pytest

from rethink.configs.paper import table1
from rethink.schema import grid, validation

ACCURACIES = ("0.9", "0.95", "0.99", "0.999", "1.0")


@pytest.fixture
def write_run(tmp_path):
    """write_run(table, cell, seed, ...) -> the directory of a made-up run TABLE/CELL-seedS, or CELL without a table."""

    def write(table, cell, seed=0, *, status="done", train=1.0, test=0.5, points=5, fitted=True, full=True, **config):
        folder = tmp_path / table / (f"{cell}-seed{seed}" if table else cell)
        folder.mkdir(parents=True)
        evaluation = {"kind": "evaluation", "step": 100 * points, "train_accuracy": train, "test_accuracy": test}
        manifest = {
            "config": {**CONFIG, "name": f"{table}-{cell}", "seed": seed, **config},
            "status": status,
            "fingerprints": {"labels": "0123abcd"},
            "launches": [
                {
                    "first_step": 0,
                    "last_step": 100 * points,
                    "versions": {"python": "3.11.7"},
                    "hardware": {"platform": "cpu", "kind": "cpu", "devices": 1, "processes": 1},
                }
            ],
            "data": {"train_examples": 50_000 if full else 500, "full_train_examples": 50_000, "test_examples": 10_000},
        }
        if status in ("done", "fitted", "diverged"):
            reached = dict.fromkeys(ACCURACIES, 100 if fitted else None)
            manifest["summary"] = {"evaluation": evaluation, "steps": 100 * points, "epochs": 1.0, "seconds": 2.0}
            manifest["summary"] |= {"steps_to_train_accuracy": reached, "num_classes": 10}
        rows = []
        for point in range(points + 1):
            part = point / points
            rows.append({"kind": "train", "step": 100 * point, "epoch": part, "loss": 2.3 - 2 * part, "accuracy": part})
            found = {"train_accuracy": train * part, "test_accuracy": test * part, "train_loss": 2.3 - 2 * part}
            rows.append({"kind": "evaluation", "step": 100 * point, "epoch": part, "test_loss": 2.3, **found})
        (folder / "manifest.json").write_text(json.dumps(manifest))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return write


# The flat config of table 1's MLP without regularizers.
CONFIG = json.loads(validation.to_json(grid.expand_grid(table1.get_config("mlp_3x512-none"))[0].config))


def save_samples(folder, name="samples", *, given=(3, 7), true=(3, 2), side=8, channels=3):
    images = np.arange(len(given) * side * side * channels, dtype=np.uint8).reshape(len(given), side, side, channels)
    labels = {"given_labels": np.asarray(given), "true_labels": np.asarray(true)}
    np.savez(folder / f"{name}.npz", ids=np.arange(len(given)), images=images, **labels)
    return images


@pytest.fixture
def write_samples():
    """write_samples(run directory) -> the images that it writes there as samples."""
    return save_samples
