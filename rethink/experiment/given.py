"""What a Python program gives to a run, arrays and a network, and the config that names them.

A network that can be imported has the name and the fields that build it on the command line too.
"""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict

from rethink.data.arrays import dataset_from_arrays
from rethink.experiment.network import SECTIONS, AsItIs, GivenNetwork
from rethink.experiment.setup import Given
from rethink.models.field_types import find_field_types
from rethink.models.user_module import check_call
from rethink.schema import grid, validation
from rethink.schema.config_file import make_config
from rethink.schema.errors import UserError

Model = type[nn.Module] | nn.Module
Arrays = tuple[Any, Any]  # (images or feature vectors, labels), see docs/data.md
# What a config can ask of a network that it builds, and not of one that is given as it is: field -> asks for nothing.
_OF_SOURCE = tuple(
    f"data.{name}"
    for name in ("name", "train_split", "test_split", "image_size", "channels", "image_column", "label_column")
)  # fields that say how a data set is found and read
_OF_BUILT = {"batch_norm.kind": "none", "dropout.rate": 0, "model.init": "lecun_normal"}


def take_given(
    config: str | ConfigDict, model: Model | None, train: Arrays | None, test: Arrays | None
) -> tuple[ConfigDict, Given]:
    """Returns a copy of the config that names what is given, and what is given; arguments: `rethink.train`.

    Raises:
      UserError: there is no such config, or one of them is of no use.
    """
    config = make_config(config, {})
    data = None
    if test is not None and train is None:
        raise UserError("test= is given without train=: give both, or neither for the config's data set.")
    if train is not None:
        validation.name_after_parts(config, {"data.name": validation.GIVEN})
        config.data.name = validation.GIVEN
        splits = {"train": train} if test is None else {"train": train, "test": test}
        for name, pair in splits.items():
            if not (isinstance(pair, tuple | list) and len(pair) == 2):
                raise UserError(f"{name}= must be two arrays: write {name}=(images, labels).")
        data = dataset_from_arrays(validation.GIVEN, {name: tuple(pair) for name, pair in splits.items()})
    network = given_network(model)
    if model is not None:
        _name_network(config, model)
    return config, Given(data, network)


def to_path(path: Any, name: str) -> pathlib.Path:
    """Returns a path that is given, absolute; `name` is that of the argument in an error.

    Raises:
      UserError: it is no path.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise UserError(f"{name}={path!r} is no path: give one, such as 'runs/mine'.")
    return validation.expand_path(str(path), name).absolute()


def add_axes(config: ConfigDict, axes: Mapping[str, Iterable[Any]]) -> ConfigDict:
    """Returns a copy of a config with the axes of a sweep, field -> values, as its own text has them.

    Raises:
      UserError: they have another form, or a value is off, or can't be written in a text.
    """
    if not isinstance(axes, Mapping):
        raise UserError(f"axes={axes!r} must be a dictionary, field -> values: write {{'optimizer.name': ['sgd']}}.")
    parts = []
    for field, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise UserError(f"axes: {field}={values!r} must be a list of values: write [{values!r}].")
        stored = [dict(validation.flatten(make_config(config, {field: value})))[field] for value in values]
        for value in stored:
            if isinstance(value, str) and set(",;") & set(value):
                raise UserError(f"axes: {field}={value!r} has a comma or a semicolon: train a run of each value.")
        parts.append(f"{field}={','.join(map(str, stored))}")
    return make_config(config, {"axes": ";".join(parts)}) if parts else config


def check_swept(config: ConfigDict, runs: Sequence[grid.SweepRun], given: Given) -> None:
    """Checks that no run of a sweep sets what takes effect only where nothing is given in its place.

    Raises:
      UserError: one does.
    """
    replaced: dict[str, str] = {}  # field, or section -> what is given in its place
    if given.network is not None:
        replaced["model.name"] = "model="
    if isinstance(given.network, AsItIs):
        replaced |= dict.fromkeys(SECTIONS, "model=, a network as it is (its class would be built with them),")
    if given.data:
        replaced |= dict.fromkeys(_OF_SOURCE, "train=")
    shared = dict(validation.flatten(config))
    for run in runs:
        own = dict(validation.flatten(run.config))
        for field in sorted(own.keys() | shared.keys(), reverse=True):  # model.kwargs.width before model.kwargs
            place = replaced.get(field) or replaced.get(field.split(".")[0])
            if place and own.get(field) != shared.get(field):
                raise UserError(f"{run.name}: {field} would do nothing, as {place} is given: leave one of them out.")


def given_network(model: Model | None) -> GivenNetwork | None:
    """Returns what `Given.network` holds of a model: what its name stands for may change while the program runs.

    Raises:
      UserError: it is neither a class of Linen modules that take `train` nor one of them.
    """
    if model is None:
        return None
    model_class = model if isinstance(model, type) else type(model)
    if not issubclass(model_class, nn.Module):
        shown = f"an object of {model_class.__name__}" if model is not model_class else model_class.__name__
        raise UserError(f"model= is no flax.linen.Module, but {shown}: give a class of one, or an object of it.")
    check_call(model_class, f"model={model_class.__name__}")
    return AsItIs(model) if isinstance(model, nn.Module) else model


def _is_importable(model_class: type) -> bool:
    return getattr(sys.modules.get(model_class.__module__), model_class.__qualname__, None) is model_class


def _name_network(config: ConfigDict, model: Model) -> None:
    """Sets model.name and model.kwargs to what builds the same network on the command line, where there is that."""
    model_class = model if isinstance(model, type) else type(model)
    name = f"{model_class.__module__}:{model_class.__qualname__}"
    kwargs, is_named = config.model.kwargs.to_dict(), _is_importable(model_class)
    if isinstance(model, nn.Module):
        _check_as_it_is(config)
        kwargs, fields = _changed_fields(model), find_field_types(model_class)
        is_built = "num_classes" in fields and not {"norm", "dropout", "kernel_init"}.intersection(fields)
        if not (is_named and is_built and all(map(validation.is_plain, kwargs.values()))):
            is_named, kwargs = False, {}
    if not is_named:
        name = f"{validation.GIVEN}:{model_class.__name__}"
    validation.name_after_parts(config, {"model.name": name})
    config.model.name = name
    with config.unlocked():
        config.model.kwargs = ConfigDict(kwargs)


def _check_as_it_is(config: ConfigDict) -> None:
    """Checks that a config asks nothing of a network that it does not build.

    Raises:
      UserError: it does.
    """
    fields = dict(validation.flatten(config))
    asked = {field: fields[field] for field, nothing in _OF_BUILT.items() if fields[field] != nothing}
    if config.model.kwargs:
        asked["model.kwargs"] = config.model.kwargs.to_dict()
    for field, value in asked.items():
        raise UserError(
            f"{field}={value!r} would do nothing, as model= is a network as it is: leave it at "
            f"{_OF_BUILT.get(field, {})!r}, or give the class of the network."
        )


def _changed_fields(model: nn.Module) -> dict[str, Any]:
    """Returns field -> value of what a network has other than its class, but for num_classes."""
    values = {
        field.name: (getattr(model, field.name), field.default)
        for field in dataclasses.fields(model)
        if field.init and field.name not in ("parent", "name", "num_classes")
    }
    return {
        name: value
        for name, (value, default) in values.items()
        if value is not default and not (validation.is_plain(value) and value == default)
    }
