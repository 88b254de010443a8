"""Checks a network, the user's own or one of the package, without computing anything."""

import importlib
import inspect
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rethink import randomness
from rethink.regularization import batch_norm, explicit
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
      variables: collection -> pytree of the shapes of what it holds when it is initialized.
      has_convolutions: whether the traced computation has any.
      initialization: the traced computation, (keys, two images) -> (logits, variables).
    """

    variables: Any
    has_convolutions: bool
    initialization: Any


def check_network(model: nn.Module, image_shape: tuple[int, int, int], num_classes: int) -> NetworkTrace:
    """Checks, without computing anything, that the model maps images [batch, *image_shape] to its logits.

    Raises:
      UserError: the architecture cannot take this size or fails, has no or too many parameters, or what comes back is
        not float32 [batch, num_classes].
    """
    computation, (logits, variables) = trace_network(
        model, image_shape, lambda keys, images: model.init_with_output(keys, images, train=False)
    )
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
    return NetworkTrace(variables, "conv_general_dilated" in str(computation), computation)


class OwnState(NamedTuple):
    """What a network of the user's keeps or draws by itself; all but `outputs` depends on how devices divide a batch.

    Attributes:
      batch_norm: whether it keeps the statistics of a `flax.linen.BatchNorm`, beside the batch norm that it is given.
      collections: names of the collections with anything else that training changes.
      dropout: whether it draws from Linen's stream "dropout", as `flax.linen.Dropout` does.
      outputs: names of the collections that it sows at its start, and anew in each step: they are no state.
    """

    batch_norm: bool = False
    collections: tuple[str, ...] = ()
    dropout: bool = False
    outputs: tuple[str, ...] = ()


def inspect_state(model: nn.Module, image_shape: tuple[int, int, int], axis_name: str) -> OwnState:
    """Returns what a network keeps and draws by itself, without computing anything.

    Args:
      axis_name: of the devices.

    Raises:
      UserError: it fails in training, or a step would change the shapes or types of what it keeps.
    """
    streams = ("dropout", explicit.DROPOUT_STREAM)
    changing: set[tuple[str, str]] = set()  # (collection, last part of the path) of each array that a step replaces

    def train(keys: dict[str, jax.Array], images: jax.Array) -> tuple[Any, Any]:
        """Returns the collections before and after a step of training."""
        variables = model.init(keys["params"], images[:1], train=False)
        kept = {name: variables[name] for name in variables if name not in ("params", "auxiliary_logits")}
        rngs = {name: keys[name] for name in streams}
        _, changed = model.apply(variables, images, train=True, rngs=rngs, mutable=list(kept))
        now = _flatten(changed)
        changing.update((path[0], path[-1]) for path, leaf in _flatten(kept).items() if now.get(path) is not leaf)
        return kept, changed

    # A step must leave all as it was, but for the values; what it adds to tuples alone is sown.
    computation, (before, after) = trace_network(model, image_shape, train, streams, axis_name)
    grown = {path[0] for path in _flatten(after).keys() - _flatten(before).keys()}
    outputs = grown - {path[0] for path in _flatten(after) if not any(isinstance(key, int) for key in path)}
    for name in before.keys() - outputs:
        shapes = [jax.tree_util.tree_map(lambda leaf: (leaf.shape, leaf.dtype), kept[name]) for kept in (before, after)]
        if shapes[0] != shapes[1] or not all(_is_number(leaf.dtype) for leaf in jax.tree.leaves(before[name])):
            raise UserError(
                f"model.name: {type(model).__name__} keeps a collection '{name}' that is another one after a step, or "
                "holds no numbers: give it one shape for any batch."
            )
    # What is left of the batch statistics without the batch norm that it is given is its own.
    statistics = {("batch_stats", "mean"), ("batch_stats", "var")}
    given = getattr(model, "norm", None)
    has_own = not changing.isdisjoint(statistics)
    if has_own and isinstance(given, batch_norm.BatchNorm) and given.kind != "none":
        has_own = inspect_state(model.clone(norm=batch_norm.NONE), image_shape, axis_name).batch_norm
    dropout_key = computation.jaxpr.invars[0]  # of a dict, in alphabetical order
    return OwnState(
        batch_norm=has_own,
        collections=tuple(sorted({name for name, _ in changing - statistics} - outputs)),
        dropout=any(dropout_key in equation.invars for equation in computation.jaxpr.eqns),
        outputs=tuple(sorted(outputs)),
    )


def _flatten(collections: Mapping[str, Any]) -> dict[tuple[Any, ...], Any]:
    """Returns path -> leaf; what is text in a path is a key, and a number the place in a tuple."""
    leaves = jax.tree_util.tree_leaves_with_path(collections)
    return {tuple(getattr(key, "key", getattr(key, "idx", str(key))) for key in path): leaf for path, leaf in leaves}


def _is_number(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.number) or dtype == jnp.bool_


def trace_network(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    function: Callable,
    streams: Sequence[str] = ("dropout",),
    axis_name: str | None = None,
    inputs: Sequence[Any] = (),
) -> tuple[Any, Any]:
    """Returns the computation of (keys, two images, *inputs) -> results, and the shapes of these.

    Args:
      model: what is to blame if the function fails.
      streams: names of the keys, besides "params"; axis_name: of the devices, None where the function knows none.
      inputs: pytrees of shapes.

    Raises:
      UserError: the network fails.
    """
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    # Abstract evaluation draws nothing and touches no device: this key stands for any.
    keys = dict.fromkeys(("params", *streams), jax.eval_shape(lambda: randomness.key_for(0)))
    try:
        axes = [(axis_name, 1)] if axis_name else None
        return jax.make_jaxpr(function, axis_env=axes, return_shape=True)(keys, images, *inputs)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"model.name: {type(model).__name__} fails on images of {image_shape}: "
            f"{describe_error(error, inspect.getfile(type(model)))}: mend it there, or model.kwargs."
        ) from error


def count_parameters(params: Any) -> int:
    """Returns the number of trainable parameters in a pytree of arrays or of their shapes (`jax.eval_shape`)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
