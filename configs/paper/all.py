"""The whole reproduction: every table and figure of the paper, and what it proves, by one command.

    python main.py --config=configs/paper/all.py                          # digits, small networks: minutes, no download
    python main.py --config=configs/paper/all.py:cpu                      # CIFAR10: MLPs in full, the rest as subsets
    python main.py --config=configs/paper/all.py:full                     # what the paper ran: for accelerators
    python main.py --config=configs/paper/all.py:cpu --config.filter='table1*,theorem1'      # some of its experiments
    python main.py --config=configs/paper/all.py:cpu --config.experiments.table1.seeds=3         # a field of one

A field that is set on the command line is set in all experiments. What has ended is skipped, and what was interrupted
resumes.

Time: `minutes` some ten minutes on 2 idle cores, longer beside other work; `cpu` about a day; see the files of its
experiments for `full`.
Expect: a directory for each experiment, with its figures; each table is printed beside the paper's.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from rethink.configs import base
from rethink.configs.paper import (
    capacity,
    figure1a,
    figure1bc,
    figure2a,
    figure2b,
    linear,
    table1,
    table2,
    table3,
    table3_filters,
    table4,
    table4_alexnet,
    theorem1,
)

# `minutes`: what takes the place of the paper's networks, so that each of 80 runs takes seconds on images of 7x7. The
# rates are those at which they fit 256 random labels in 60 epochs, but for Inception without batch norm.
INCEPTION = {"model.name": "inception", "model.kwargs": {"modules": ((16, 16), 16, (32, 32))}}
ALEXNET = {"model.name": "alexnet", "model.kwargs": {"features": (32,), "hidden_sizes": (128, 64)}}
SMALL = {"inception": INCEPTION, "inception_v3": INCEPTION, "alexnet": ALEXNET}
RATES = {0.01: 0.03, 0.003: 0.03, 0.045: 0.1, 0.1: 0.1}  # the paper's initial learning rate -> that on digits


def get_config(arguments=None):
    tier = arguments or "minutes"
    if tier not in TIERS:
        raise ValueError(f"'{tier}' is no tier: choose from {', '.join(TIERS)}")
    config = base.get_config()
    config.name = f"all-{tier}"
    for name, experiment in TIERS[tier]().items():
        config.experiments[name] = experiment
    return config


def full() -> dict[str, ConfigDict]:
    """Returns name -> experiment: what the paper ran."""
    tables = (table1, table2, table3, table4, figure1a, figure1bc, figure2a, figure2b)
    experiments = {_name(module): module.get_config() for module in tables}
    experiments["table3"].kernel.filters = 32_000
    return {
        **experiments,
        "figure2a-cifar10": figure2a.get_config("cifar10"),
        "table3_filters": table3_filters.get_config(),
        "table4_alexnet": table4_alexnet.get_config(),
        "theorem1": theorem1.get_config("growth"),
        "linear": linear.get_config(),
        "capacity": capacity.get_config(),
    }


def cpu() -> dict[str, ConfigDict]:
    """Returns name -> experiment: MLPs and what is solved in full, AlexNet on 5,000 images, Inception on 1,000."""
    alexnet, inception = (5000, 32, 30.0), (1000, 128, 30.0)  # images, batch, epochs
    return {
        "table1": table1.get_config("mlp_*"),
        "table1-5000": _subset(table1.get_config("alexnet-*,mlp_*"), *alexnet),
        "table1-1000": _subset(table1.get_config("inception*"), *inception),
        "table3": table3.get_config(),
        "table3_filters": table3_filters.get_config(),
        "table4": table4.get_config("mlp_*"),
        "table4-5000": _subset(table4.get_config("alexnet*"), *alexnet),
        "table4-1000": _subset(table4.get_config("inception*"), *inception),
        "table4_alexnet-5000": _subset(table4_alexnet.get_config(), *alexnet),
        "figure1a-mlp_3x512": figure1a.get_config("mlp_3x512"),
        "figure1a-1000": _subset(figure1a.get_config(), *inception),
        "figure1bc": figure1bc.get_config("mlp_*"),
        "figure1bc-5000": _subset(figure1bc.get_config("alexnet*"), *alexnet),
        "figure1bc-1000": _subset(figure1bc.get_config("inception*"), *inception),
        "figure2a-cifar10": _only(figure2a.get_config("cifar10"), "mlp_3x512"),
        "figure2b-1000": _subset(figure2b.get_config(), *inception),
        "theorem1": theorem1.get_config("growth"),
        "linear": linear.get_config(),
        "capacity": capacity.get_config(),
    }


def minutes() -> dict[str, ConfigDict]:
    """Returns name -> experiment: everything on the embedded digits, with smaller networks."""
    tables = (table1, table2, table4, table4_alexnet, figure1a, figure1bc, figure2a, figure2b)
    experiments = {_name(module): _digits(module.get_config()) for module in tables}
    for name, experiment in (("table3", table3.get_config()), ("table3_filters", table3_filters.get_config())):
        experiment.data.name = "digits"
        experiment.kernel.patch, experiment.kernel.filters, experiment.kernel.filter_block = 3, 100, 50
        experiment.kernel.whitening_patches = 10_000
        experiments[name] = _rewritten(experiment, {"data.name": _dropped})
    experiments["table3"].cells = _of_digits(experiments["table3"].cells)
    experiments["table3_filters"].axes = "kernel.filters=10,30,100"
    for name in ("figure1bc", "figure2a", "figure2b"):
        experiments[name].evaluate.every_epochs = 2.0
    for module in (theorem1, linear, capacity):
        experiments[_name(module)] = module.get_config("digits")
    experiments["linear"].data.train_examples, experiments["linear"].linear.count = 200, 1000
    experiments["linear"].linear.sgd_steps = 5000
    return experiments


TIERS = {"minutes": minutes, "cpu": cpu, "full": full}


def _name(module: ModuleType) -> str:
    """Returns the name of a file of this folder, which is that of its experiment."""
    return module.__name__.rpartition(".")[2]


def _subset(config: ConfigDict, examples: int, batch_size: int, epochs: float) -> ConfigDict:
    """Returns a table on a subset; the rate falls by 0.9 an epoch, to 4% of its start in 30 epochs."""
    config.data.train_examples = examples
    config.train.batch_size = batch_size
    config.train.total_epochs = epochs
    config.optimizer.decay_factor = 0.9
    config.log.every_steps = 10
    return config


def _only(config: ConfigDict, patterns: str) -> ConfigDict:
    config.filter = patterns
    return config


def _digits(config: ConfigDict) -> ConfigDict:
    """Returns a table on 256 of the embedded digits, short, with small networks, at a constant rate."""
    config.data.name, config.data.test_split, config.data.image_size, config.data.feed = "digits", "test", 0, "auto"
    config.data.train_examples = 256
    config.preprocess.crop, config.preprocess.whiten = 7, "per_image"
    config.train.total_epochs, config.train.batch_size = 60.0, 32
    config.evaluate.every_epochs = config.checkpoint.every_epochs = 10.0
    config.evaluate.batch_size = 1000
    config.log.every_steps = 10
    config.optimizer.name, config.optimizer.epsilon, config.optimizer.schedule = "sgd", 1e-8, "constant"
    return _rewritten(
        config,
        {
            "model.name": lambda name: SMALL.get(name, {"model.name": name}),
            "optimizer.learning_rate": lambda rate: {"optimizer.learning_rate": RATES[rate]},
            "augmentation.saturation": _dropped,  # digits have no colour
            "augmentation.hue": _dropped,
            "optimizer.decay_factor": _dropped,
            "train.total_epochs": _dropped,
        },
    )


def _dropped(_: object) -> dict:
    """Returns no field: the rule for one that the table as a whole sets."""
    return {}


def _of_digits(cells: ConfigDict) -> ConfigDict:
    """Returns table 3's cells under names that say what they are of: digits-gabor, and each kernel once."""
    return ConfigDict({f"digits-{name.partition('-')[2]}": fields for name, fields in cells.items()})


def _rewritten(config: ConfigDict, rules: dict[str, Callable[[Any], dict]]) -> ConfigDict:
    """Returns a table whose cells have each field of `rules` replaced by what its rule makes of the value."""
    for cell in config.cells:
        fields: dict[str, object] = {}
        for field, value in config.cells[cell]:
            fields.update(rules[field](value) if field in rules else {field: value})
        config.cells[cell] = tuple(fields.items())
    return config
