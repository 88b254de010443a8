"""What a Python program gives to a run, arrays and a network, and the config that names them.

A network that can be imported has the name and the fields that build it on the command line too.
"""

import dataclasses
import sys
from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict

from rethink.data.arrays import dataset_from_arrays
from rethink.experiment.network import AsItIs, GivenNetwork
from rethink.experiment.setup import Given
from rethink.models.field_types import find_field_types
from rethink.schema import validation
from rethink.schema.errors import UserError

Model = type[nn.Module] | nn.Module
Arrays = tuple[Any, Any]  # (images or feature vectors, labels), see docs/data.md
# What a config can ask of a network that it builds, and not of one that is given as it is: field -> asks for nothing.
_OF_BUILT = {"batch_norm.kind": "none", "dropout.rate": 0, "model.init": "lecun_normal"}


def take_given(
    config: ConfigDict, model: Model | None, train: Arrays | None, test: Arrays | None
) -> tuple[ConfigDict, Given]:
    """Returns a copy of the config that names what is given, and what is given; arguments: `rethink.train`.

    Raises:
      UserError: one of them is of no use.
    """
    if not isinstance(config, ConfigDict):
        raise UserError(f"config={config!r} is no config: make one, rethink.config('digits_random').")
    config = config.copy_and_resolve_references()
    data = None
    if test is not None and train is None:
        raise UserError("test= is given without train=: give both, or neither for the config's data set.")
    if train is not None:
        validation.name_after_parts(config, {"data.name": validation.GIVEN})
        config.data.name = validation.GIVEN
        splits = {"train": train} if test is None else {"train": train, "test": test}
        for name, pair in splits.items():
            if not (isinstance(pair, tuple | list) and len(pair) == 2):
                raise UserError(f"{name}= must be (images, labels), two arrays.")
        data = dataset_from_arrays(validation.GIVEN, {name: tuple(pair) for name, pair in splits.items()})
    network = given_network(model)
    if model is not None:
        _name_network(config, model)
    return config, Given(data, network)


def given_network(model: Model | None) -> GivenNetwork | None:
    """Returns what `Given.network` holds of a model; None for a class that the config can name.

    Raises:
      UserError: it is neither a class of Linen modules nor one of them.
    """
    if isinstance(model, nn.Module):
        return AsItIs(model)
    if model is None or (isinstance(model, type) and issubclass(model, nn.Module)):
        return None if model is None or _is_importable(model) else model
    raise UserError(f"model={model!r} is no flax.linen.Module: give a class of one, or an object of it.")


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
