"""The table of fields: it has the fields of the config files, and the choices of the modules that act on them."""

import pathlib
import re

import pytest
from ml_collections import ConfigDict

from rethink.analyses import ANALYSES, kernel, linear, theorem1
from rethink.configs import base
from rethink.data import batches, encoded, preprocessing
from rethink.data.corruption.labels import LABEL_NOISE
from rethink.data.corruption.pixels import PIXEL_CORRUPTION
from rethink.experiment import input_pipeline
from rethink.figures import registry as figure_registry
from rethink.models import registry
from rethink.regularization import augmentation, batch_norm, early_stopping, explicit
from rethink.schema import validation
from rethink.schema.fields import FIELDS
from rethink.sweeps import executors
from rethink.theory.kernels import convolutional_features, kernel_matrix
from rethink.theory.linear import gradient_descent
from rethink.training import losses, optimizer, step

DEFAULTS = dict(validation.flatten(base.get_config()))
CHOICES = {  # field -> what the module that acts on it has
    "kind": ("train", *ANALYSES),
    "executor": executors.EXECUTORS,
    "figure": ("auto", "none", *figure_registry.FIGURES),
    "data.bad_files": encoded.BAD_FILES,
    "data.feed": ("auto", *input_pipeline.FEEDS),
    "log.examples": ("auto", "all", "none"),
    "data.remainder": batches.REMAINDERS,
    "corruption.labels": LABEL_NOISE,
    "corruption.pixels": PIXEL_CORRUPTION,
    "preprocess.whiten": (*preprocessing.WHITENINGS, "auto"),
    "model.init": registry.INITIALIZERS,
    "weight_decay.kind": explicit.WEIGHT_DECAYS,
    "weight_decay.parameters": explicit.DECAYED,
    "dropout.place": explicit.DROPOUT_PLACES,
    "augmentation.crop": augmentation.CROPS,
    "early_stopping.monitor": early_stopping.MONITORS,
    "early_stopping.labels": early_stopping.LABELS,
    "batch_norm.kind": batch_norm.KINDS,
    "batch_norm.evaluation": batch_norm.EVALUATIONS,
    "theorem1.targets": theorem1.TARGETS,
    "linear.features": linear.FEATURES,
    "linear.order": gradient_descent.ORDERS,
    "kernel.name": kernel_matrix.KERNELS,
    "kernel.features": kernel.FEATURES,
    "kernel.filter_kind": convolutional_features.FILTERS,
    "train.loss": losses.LOSSES,
    "train.precision": step.PRECISIONS,
    "train.matmul_precision": step.MATMUL_PRECISIONS,
    "optimizer.name": optimizer.OPTIMIZERS,
    "optimizer.schedule": optimizer.SCHEDULES,
    "optimizer.decay_unit": optimizer.DECAY_UNITS,
}


def test_the_table_has_exactly_the_fields_of_the_config_files():
    assert set(FIELDS) == set(DEFAULTS)


@pytest.mark.parametrize("field", FIELDS)
def test_a_row_has_the_type_of_the_default(field):
    row, default = FIELDS[field], DEFAULTS[field]
    if row.least_length is not None:
        assert isinstance(default, tuple)
        assert all(type(value) is row.type for value in default)
    else:
        assert type(default) is (ConfigDict if row.type is dict else row.type)


@pytest.mark.parametrize("field", FIELDS)
def test_a_row_has_a_help_text_and_what_its_type_needs(field):
    row = FIELDS[field]
    assert row.help.strip() == row.help != ""
    assert (row.interval is not None) == (row.type in (int, float))
    assert not row.choices or row.type is str
    assert row.least_length is None or row.interval
    assert row.shared or row.single_run is None  # what describes a sweep is one for all its runs
    assert row.single_run is None or (row.single_run or {} if row.type is dict else row.single_run) == (
        dict(DEFAULTS[field]) if row.type is dict else DEFAULTS[field]
    )


def test_the_choices_are_those_of_the_modules_that_act_on_them():
    assert {field: names_of(row) for field, row in FIELDS.items() if row.choices} == {
        field: list(choices) for field, choices in CHOICES.items()
    }


def names_of(row):
    """The choices without what stands behind a colon."""
    return list(dict.fromkeys(choice.partition(":")[0] for choice in row.choices))


def test_a_field_depends_on_one_that_there_is_and_on_a_value_that_it_may_have():
    dependent = {field: row.depends_on for field, row in FIELDS.items() if row.depends_on}
    assert dependent
    for field, (other, *offs) in dependent.items():
        row = FIELDS[other]
        assert other != field and offs
        assert all(off in names_of(row) if row.choices else off in row.interval for off in offs)


def test_the_table_imports_nothing_of_the_package_but_what_a_row_is():
    folder = pathlib.Path(__file__).parents[2] / "rethink" / "schema"
    imported = (
        re.findall(r"^(?:from|import) (rethink[.\w]*)", path.read_text(), re.M) for path in folder.glob("field*")
    )
    assert sorted(sum(imported, [])) == ["rethink.schema.field_rows"]
