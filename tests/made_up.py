"""A small sweep of runs on digits, and what tests of several folders check of a run."""

import functools

import numpy as np

from rethink.configs import digits_random
from rethink.experiment.run import Launch, run_experiment
from rethink.results import runs
from rethink.sweeps.executors.tasks import RunFunctions

BRIEF = Launch(quiet=True)
RUN_FUNCTIONS = RunFunctions(functools.partial(run_experiment, launch=BRIEF))

TRUE, RANDOM = {"corruption.labels": "none"}, {"corruption.labels": "uniform", "optimizer.learning_rate": 0.2}


def make_sweep(filter="*", seeds=1, **cells):
    config = digits_random.get_config("mlp_tiny")
    config.name = "made_up"
    config.filter, config.seeds, config.seed = filter, seeds, 5
    config.train.total_epochs = 1.0
    config.checkpoint.every_epochs = 1.0
    for cell, fields in cells.items():
        config.cells[cell] = tuple(fields.items())
    return config


def assert_predicted(workdir):
    """Each test example once, by ascending id, with its labels, and the accuracy that is recorded, to the bit."""
    loaded = runs.load_run(workdir)
    predictions = loaded.predictions()
    with np.load(workdir / "corruption_test.npz") as labels:
        for name in ("ids", "true_labels", "given_labels"):
            np.testing.assert_array_equal(getattr(predictions, name), labels[name])
    assert [values.dtype for values in predictions] == [np.uint32, np.int32, np.int32, np.int32]
    assert np.all(np.diff(predictions.ids.astype(np.int64)) > 0)
    assert len(predictions.ids) == loaded.data["test_examples"]
    is_right = predictions.predicted == predictions.given_labels
    assert np.count_nonzero(is_right) / len(is_right) == loaded.evaluation["test_accuracy"]
    return predictions
