"""The table of networks by name; builds one of them, or a network of the user's own.

No parameter is initialized here. The architectures are in this folder, one a file.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from rethink.models.alexnet import AlexNet
from rethink.models.field_types import find_field_types, fits
from rethink.models.inception import Inception
from rethink.models.inception_v3 import InceptionV3
from rethink.models.mlp import MLP
from rethink.models.tiny import TinyConv
from rethink.models.user_module import import_module_class
from rethink.models.wide_resnet import WideResNet
from rethink.regularization.batch_norm import BatchNorm
from rethink.regularization.explicit import Dropout
from rethink.schema import validation
from rethink.schema.errors import UserError, pick, unknown_name
from rethink.schema.user_code import describe_error

Builder = Callable[..., nn.Module]  # (*, num_classes, norm, dropout, kernel_init, and other fields of the module)

MODELS: dict[str, Builder] = {
    "mlp_1x512": functools.partial(MLP, hidden_sizes=(512,)),
    "mlp_3x512": functools.partial(MLP, hidden_sizes=(512, 512, 512)),
    "mlp_512_256": functools.partial(MLP, hidden_sizes=(512, 256)),
    "alexnet": AlexNet,
    "inception": Inception,
    "wide_resnet": WideResNet,
    "inception_v3": InceptionV3,
    "mlp_tiny": functools.partial(MLP, hidden_sizes=(16,)),
    "conv_tiny": TinyConv,
}

# The paper does not state its initialization. Truncated normal, but for Glorot's; of variance 1 / fan-in (LeCun et
# al., 1998; Flax's default), 2 / fan-in (He et al., 2015), 2 / (fan-in + fan-out) (Glorot & Bengio, 2010).
INITIALIZERS = {
    "lecun_normal": nn.initializers.lecun_normal(),
    "he_normal": nn.initializers.he_normal(),
    "glorot_uniform": nn.initializers.glorot_uniform(),
}


def build_model(
    name: str,
    *,
    num_classes: int,
    norm: BatchNorm,
    dropout: Dropout,
    init: str,
    kwargs: Mapping[str, Any],
    builder: Builder | None = None,
) -> nn.Module:
    """Returns an unbound module with `__call__(images, *, train)`, images float32 [batch, height, width, channels].

    Args:
      name: one of `MODELS`, or "package.module:ClassName" for a Linen module that can be imported. Its fields are set:
        `num_classes`, and `norm`, `dropout` and `kernel_init` where it has fields of these names.
      num_classes: width of the logits.
      norm, dropout: the batch norm and the dropout that the network calls.
      init: one of `INITIALIZERS`: the distribution of every kernel.
      kwargs: further fields of the module.
      builder: the class of a module that has no name to be found by.

    Raises:
      UserError: unknown name or initializer, nothing to import there, no Linen module, fields that it does not have, or
        a batch norm or dropout that it has no place for.
    """
    # What every network is given.
    kernel_init = pick(INITIALIZERS, init, "model.init")
    settings = {"num_classes": num_classes, "norm": norm, "dropout": dropout, "kernel_init": kernel_init}
    builder = builder or find_builder(name)
    # A module of the user's own may lack fields, as long as what they are for is off.
    if ":" in name:
        fields = inspect.signature(builder).parameters
        if norm.kind != "none" and "norm" not in fields:
            raise UserError(
                f"model.name='{name}' has no field 'norm', so batch_norm.kind='{norm.kind}' would do nothing: "
                "set it to none, or give the class a field norm (rethink.regularization.batch_norm.BatchNorm)."
            )
        if dropout.rate and "dropout" not in fields:
            raise UserError(
                f"model.name='{name}' has no field 'dropout', so dropout.rate={dropout.rate} would do nothing: "
                "set it to 0, or give the class a field dropout (rethink.regularization.explicit.Dropout)."
            )
        settings = {key: value for key, value in settings.items() if key == "num_classes" or key in fields}
    _check_dropout_place(name, builder, dropout)
    check_kwargs(name, kwargs, builder)
    try:
        return builder(**settings, **kwargs)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"model.name='{name}' cannot be built with model.kwargs={dict(kwargs)}: {describe_error(error)}: "
            "give others."
        ) from error


def _check_dropout_place(name: str, builder: Builder, dropout: Dropout) -> None:
    """Checks that the network has the place of the dropout; one without `dropout_places` is taken to have it."""
    places = getattr(getattr(builder, "func", builder), "dropout_places", (dropout.place,))
    if dropout.rate and dropout.place not in places:
        raise UserError(
            f"dropout.place='{dropout.place}' is no place in model.name='{name}': "
            f"set --config.dropout.place={places[0]}, or --config.dropout.rate=0."
        )


_GIVEN = ("num_classes", "norm", "dropout", "kernel_init")  # what `build_model` sets, where a class has the field


def check_kwargs(name: str, kwargs: Mapping[str, Any], builder: Builder | None = None) -> None:
    """Checks further fields of a model against those of its class, and their types; `builder`: as of `build_model`.

    Raises:
      UserError: there is no such model; a field that it does not have, or a value of another type than the field's; a
        field without a value; a class without the field num_classes.
    """
    builder = builder or find_builder(name)
    types = find_field_types(builder)
    if "num_classes" not in types:
        raise UserError(f"model.name='{name}' has no field num_classes, the width of its logits: add num_classes: int.")
    further = {field: kind for field, kind in types.items() if field not in _GIVEN}
    listed = ", ".join(f"{field}: {inspect.formatannotation(kind)}" for field, kind in further.items()) or "none"
    for field, value in kwargs.items():
        if field in _GIVEN:
            raise UserError(f"model.kwargs sets {field}, which the config sets elsewhere: remove it there.")
        if field not in further:
            raise UserError(f"model.kwargs.{field} is no field of model.name='{name}'. Its fields: {listed}.")
        if not fits(value, further[field]):
            raise UserError(
                f"model.kwargs.{field}={value!r} is no {inspect.formatannotation(further[field])}, as "
                f"model.name='{name}' has it: set one. Its fields: {listed}."
            )
    for field, parameter in inspect.signature(builder).parameters.items():
        if field in further and parameter.default is parameter.empty and field not in kwargs:
            raise UserError(
                f"model.name='{name}' has a field without a value, {field}: set --config.model.kwargs.{field}=VALUE. "
                f"Its fields: {listed}."
            )


def find_builder(name: str) -> Builder:
    """Returns the function or class that makes the model of this name; see `build_model`.

    Raises:
      UserError: there is none.
    """
    if name.startswith(f"{validation.GIVEN}:"):
        raise UserError(
            f"model.name='{name}' was given to rethink.train and can't be imported: give it again, as model=."
        )
    if ":" in name:
        return import_module_class(name)
    if name not in MODELS:
        raise UserError(
            f"{unknown_name('model.name', name, MODELS)} Or package.module:ClassName, a Linen module of your own."
        )
    return MODELS[name]
