"""Checks a network, the user's own or one of the package, without computing anything."""

import functools
import importlib
import inspect
import math
import traceback
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rethink.schema.errors import UserError

MOST_PARAMETERS = 2**31  # beyond lie misprints of model.kwargs that would exhaust any memory


def import_module_class(path: str) -> type[nn.Module]:
    """Returns the Linen module class at "package.module:ClassName".

    Raises:
      UserError: the path is malformed, there is nothing, its import fails, or it is no Linen module that takes `train`.
    """
    # Import the module: whatever it raises is a mistake in the user's file.
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
        raise UserError(f"model.name='{path}' cannot be imported: {describe_error(error)}: mend it there.") from error
    # Find the class, and check that it is a network.
    if not hasattr(module, class_name):
        classes = [
            key for key, value in vars(module).items() if inspect.isclass(value) and issubclass(value, nn.Module)
        ]
        raise UserError(
            f"model.name='{path}': {module_name} has no '{class_name}'. "
            f"Its Linen modules: {', '.join(classes) or 'none'}."
        )
    model_class = getattr(module, class_name)
    if not (inspect.isclass(model_class) and issubclass(model_class, nn.Module)):
        is_class = inspect.isclass(model_class)
        kind = model_class.__qualname__ if is_class else f"a value of type {type(model_class).__name__}"
        raise UserError(f"model.name='{path}' is not a class of flax.linen.Module, but {kind}: choose one that is.")
    if "train" not in inspect.signature(model_class.__call__).parameters:
        raise UserError(f"model.name='{path}' has no argument train: define __call__(self, images, *, train).")
    return model_class


def describe_error(error: BaseException, file: str = "") -> str:
    """Returns an error in one line, with its place: wrong syntax, or the last line that ran, of `file` if one did."""
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        frame = ([frame for frame in frames if frame.filename == file] or frames)[-1]
        place = f"{frame.filename}:{frame.lineno}"
    return f"{' '.join(str(error).split())[:300]} ({type(error).__name__}, {place})"


class NetworkTrace(NamedTuple):
    """What a trace of a network shows.

    Attributes:
      params: pytree of the shapes of its parameters.
      has_convolutions: whether the traced computation has any.
    """

    params: Any
    has_convolutions: bool


def check_network(model: nn.Module, image_shape: tuple[int, int, int], num_classes: int) -> NetworkTrace:
    """Checks, without computing anything, that the model maps images [batch, *image_shape] to its logits.

    Raises:
      UserError: the architecture cannot take this size or fails, has no or too many parameters, or what comes back is
        not float32 [batch, num_classes].
    """
    # Trace the network on two images.
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    # Abstract evaluation draws nothing: these keys stand for any.
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}
    try:
        trace = jax.make_jaxpr(functools.partial(model.init_with_output, train=False), return_shape=True)
        computation, (logits, variables) = trace(keys, images)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"model.name: {type(model).__name__} fails on images of {image_shape}: "
            f"{describe_error(error, inspect.getfile(type(model)))}: mend it there, or model.kwargs."
        ) from error
    # Check the logits and the parameters.
    returned = type(logits).__name__
    if isinstance(logits, jax.ShapeDtypeStruct):
        returned = f"{logits.dtype}{list(logits.shape)}"
    wanted = f"float32[2, {num_classes}]"
    if returned != wanted:
        raise UserError(f"The model maps 2 images of {image_shape} to {returned}; it must return logits {wanted}.")
    if "params" not in variables:
        raise UserError(f"model.name: {type(model).__name__} has no parameters: there is nothing to train.")
    count = count_parameters(variables["params"])
    if count > MOST_PARAMETERS:
        raise UserError(f"model.name: {type(model).__name__} has {count:,} parameters: take a smaller one.")
    return NetworkTrace(variables["params"], has_convolutions="conv_general_dilated" in str(computation))


def count_parameters(params: Any) -> int:
    """Returns the number of trainable parameters in a pytree of arrays or of their shapes (`jax.eval_shape`)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
