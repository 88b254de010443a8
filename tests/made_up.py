"""A small sweep of runs on digits, for the tests of what sweeps are and do."""

import functools

from configs import digits_random
from rethink.experiment.run import Launch, run_experiment, run_group
from rethink.sweeps.executors.tasks import RunFunctions

BRIEF = Launch(quiet=True)
RUN_FUNCTIONS = RunFunctions(
    functools.partial(run_experiment, launch=BRIEF),
    functools.partial(run_group, launch=BRIEF),
)

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
