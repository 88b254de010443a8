"""Owns the table of networks by name, how one is built, and the way in for a network of the user's own.

Refuses to initialize or place parameters. The architectures are in this package, one a file.
"""

import functools
import importlib
import inspect
import math
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rethink.models.alexnet import AlexNet
from rethink.models.inception import Inception
from rethink.models.inception_v3 import InceptionV3
from rethink.models.mlp import MLP
from rethink.models.tiny import TinyConv
from rethink.models.wide_resnet import WideResNet
from rethink.regularization.batch_norm import BatchNorm
from rethink.regularization.explicit import Dropout
from rethink.settings import UserError, pick, unknown

MOST_PARAMETERS = 2**31  # beyond lie misprints of model.kwargs that would exhaust any memory

Builder = Callable[..., nn.Module]  # (*, num_classes, norm, kernel_init, and any other field of the module)

MODELS: dict[str, Builder] = {
    "mlp_1x512": functools.partial(MLP, hidden_sizes=(512,)),
    "mlp_3x512": functools.partial(MLP, hidden_sizes=(512, 512, 512)),
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
    name: str, *, num_classes: int, norm: BatchNorm, dropout: Dropout, init: str, kwargs: Mapping[str, Any]
) -> nn.Module:
    """Returns an unbound module with `__call__(images, *, train)`, images float32 [batch, height, width, channels].

    Args:
      name: one of `MODELS`, or "package.module:ClassName" for a Linen module that can be imported. That one is given
        `num_classes`, and `norm`, `dropout` and `kernel_init` if it has fields of these names.
      num_classes: width of the logits.
      norm, dropout: the batch norm and the dropout that the network calls.
      init: one of `INITIALIZERS`: the distribution of every kernel.
      kwargs: further fields of the module.

    Raises:
      UserError: unknown name or initializer, nothing to import there, no Linen module, fields that it does not have, or
        a batch norm or dropout that it has no place for.
    """
    kernel_init = pick(INITIALIZERS, init, "model.init")
    given = {"num_classes": num_classes, "norm": norm, "dropout": dropout, "kernel_init": kernel_init}
    builder = find_builder(name)
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
        given = {key: value for key, value in given.items() if key == "num_classes" or key in fields}
    _check_dropout_place(name, builder, dropout)
    taken = sorted(set(given) & set(kwargs))
    if taken:
        raise UserError(f"model.kwargs sets {', '.join(taken)}, which the config sets elsewhere: remove it there.")
    signature = inspect.signature(builder)
    try:
        signature.bind(**given, **kwargs)
    except TypeError as error:
        further = [field for field in signature.parameters if field not in (*given, "parent", "name")]
        raise UserError(
            f"model.name='{name}' cannot be built with model.kwargs={dict(kwargs)}: {error}. "
            f"It is given {', '.join(given)}; further fields: {', '.join(further) or 'none'}."
        ) from error
    try:
        return builder(**given, **kwargs)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"model.name='{name}' cannot be built with model.kwargs={dict(kwargs)}: {_describe(error)}: give others."
        ) from error


def _check_dropout_place(name: str, builder: Builder, dropout: Dropout) -> None:
    """Checks that a network which says where it can drop has the place asked for."""
    places = getattr(getattr(builder, "func", builder), "dropout_places", (dropout.place,))
    if dropout.rate and dropout.place not in places:
        raise UserError(
            f"dropout.place='{dropout.place}' is no place in model.name='{name}': "
            f"set --config.dropout.place={places[0]}, or --config.dropout.rate=0."
        )


def find_builder(name: str) -> Builder:
    """Returns what builds the model of this name; see `build_model`.

    Raises:
      UserError: there is none.
    """
    if ":" in name:
        return import_module_class(name)
    if name not in MODELS:
        raise UserError(
            f"{unknown('model.name', name, MODELS)} Or package.module:ClassName, a Linen module of your own."
        )
    return MODELS[name]


def import_module_class(path: str) -> type[nn.Module]:
    """Returns the Linen module class at "package.module:ClassName".

    Raises:
      UserError: the path is malformed, nothing is found there, its import fails, or what is found is no Linen module
        that takes `train`.
    """
    module_name, _, class_name = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), class_name)):
        raise UserError(f"model.name='{path}' is malformed: write package.module:ClassName.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"model.name='{path}' cannot be imported: {error}. Install it, or add its folder to PYTHONPATH."
        ) from error
    except (Exception, SystemExit) as error:
        raise UserError(f"model.name='{path}' cannot be imported: {_describe(error)}: mend it there.") from error
    if not hasattr(module, class_name):
        classes = [
            key for key, value in vars(module).items() if inspect.isclass(value) and issubclass(value, nn.Module)
        ]
        raise UserError(
            f"model.name='{path}': {module_name} has no '{class_name}'. "
            f"Its Linen modules: {', '.join(classes) or 'none'}."
        )
    found = getattr(module, class_name)
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        kind = found.__qualname__ if inspect.isclass(found) else f"a value of type {type(found).__name__}"
        raise UserError(f"model.name='{path}' is not a class of flax.linen.Module, but {kind}: choose one that is.")
    if "train" not in inspect.signature(found.__call__).parameters:
        raise UserError(f"model.name='{path}' has no argument train: define __call__(self, images, *, train).")
    return found


def _describe(error: BaseException, file: str = "") -> str:
    """Returns an error in one line, with the place of the wrong syntax or of the last line that ran, in `file` if any
    did."""
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        frame = ([frame for frame in frames if frame.filename == file] or frames)[-1]
        place = f"{frame.filename}:{frame.lineno}"
    return f"{' '.join(str(error).split())[:300]} ({type(error).__name__}, {place})"


class Traced(NamedTuple):
    """What a network is, as its program says: the shapes of its parameters, and whether it convolves."""

    params: Any
    convolves: bool


def check_input(model: nn.Module, image_shape: tuple[int, int, int], num_classes: int) -> Traced:
    """Checks, without computing anything, that the model maps images [batch, *image_shape] to its logits.

    Raises:
      UserError: the architecture cannot take this size or fails, has no or too many parameters, or what comes back is
        not float32 [batch, num_classes].
    """
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    # Abstract evaluation draws nothing: these keys stand for any.
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}
    try:
        trace = jax.make_jaxpr(functools.partial(model.init_with_output, train=False), return_shape=True)
        program, (logits, variables) = trace(keys, images)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"model.name: {type(model).__name__} fails on images of {image_shape}: "
            f"{_describe(error, inspect.getfile(type(model)))}: mend it there, or model.kwargs."
        ) from error
    given = type(logits).__name__
    if isinstance(logits, jax.ShapeDtypeStruct):
        given = f"{logits.dtype}{list(logits.shape)}"
    wanted = f"float32[2, {num_classes}]"
    if given != wanted:
        raise UserError(f"The model maps 2 images of {image_shape} to {given}; it must return logits {wanted}.")
    if "params" not in variables:
        raise UserError(f"model.name: {type(model).__name__} has no parameters: there is nothing to train.")
    count = count_parameters(variables["params"])
    if count > MOST_PARAMETERS:
        raise UserError(f"model.name: {type(model).__name__} has {count:,} parameters: take a smaller one.")
    return Traced(variables["params"], convolves="conv_general_dilated" in str(program))


def count_parameters(params: Any) -> int:
    """Returns the number of trainable parameters in a pytree of arrays or of their shapes (`jax.eval_shape`)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
