"""Checks a network, the user's own or one of the package, without computing anything."""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp

from rethink import randomness
from rethink.regularization import batch_norm, explicit
from rethink.schema.errors import UserError
from rethink.schema.user_code import describe_error, import_module

MOST_PARAMETERS = 2**31  # beyond lie misprints of model.kwargs that would exhaust any memory


def import_module_class(path: str) -> type[nn.Module]:
    """Returns the Linen module class at "package.module:ClassName".

    Raises:
      UserError: as `import_module`; or there is no such class, or it is no Linen module that takes `train`.
    """
    module, class_name = import_module(path, f"model.name='{path}'", "package.module:ClassName")
    if not hasattr(module, class_name):
        classes = [
            key for key, value in vars(module).items() if inspect.isclass(value) and issubclass(value, nn.Module)
        ]
        raise UserError(
            f"model.name='{path}': {module.__name__} has no '{class_name}'. "
            f"Its Linen modules: {', '.join(classes) or 'none'}."
        )
    model_class = getattr(module, class_name)
    if not (inspect.isclass(model_class) and issubclass(model_class, nn.Module)):
        is_class = inspect.isclass(model_class)
        kind = model_class.__qualname__ if is_class else f"a value of type {type(model_class).__name__}"
        raise UserError(f"model.name='{path}' is not a class of flax.linen.Module, but {kind}: choose one that is.")
    check_call(model_class, f"model.name='{path}'")
    return model_class


def check_call(model_class: type[nn.Module], where: str) -> None:
    """Checks that the modules of a class take `train`; `where` names it in an error.

    Raises:
      UserError: they don't.
    """
    try:
        call = next(vars(parent)["__call__"] for parent in model_class.__mro__ if "__call__" in vars(parent))
        inspect.signature(call).bind("self", "images", train=True)
    except (StopIteration, TypeError) as error:
        raise UserError(
            f"{where} can't be called with images and train=True or False ({str(error) or 'no __call__'}): "
            "define __call__(self, images, *, train)."
        ) from error


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


def check_network(model: nn.Module, image_shape: tuple[int, ...], num_classes: int) -> NetworkTrace:
    """Checks, without computing anything, that the model maps images [batch, *image_shape] to its logits.

    Raises:
      UserError: the architecture cannot take this size or fails, has no or too many parameters, or what comes back is
        not float32 [batch, num_classes].
    """
    computation, (logits, variables) = trace_network(
        model, image_shape, lambda keys, images: model.init_with_output(keys, images, train=False)
    )
    _check_logits(logits, num_classes, model)
    # Check the parameters.
    name = f"model.name: {type(model).__name__}"
    if not variables.get("params"):
        raise UserError(f"{name} has no parameters in evaluation (train=False): there is nothing to train.")
    for path, leaf in _flatten(variables["params"]).items():
        if leaf.dtype != jnp.float32:
            raise UserError(
                f"{name} has a parameter {'/'.join(map(str, path))} of {leaf.dtype}, and only float32 can be trained: "
                "make it one, or keep it by self.variable in a collection of its own."
            )
    count = count_parameters(variables["params"])
    if count > MOST_PARAMETERS:
        raise UserError(f"{name} has {count:,} parameters: take a smaller one.")
    return NetworkTrace(variables, "conv_general_dilated" in str(computation), computation)


def _check_logits(
    logits: Any, num_classes: int, model: nn.Module, when: str = "", precision: Any = jnp.float32, batch: int = 2
) -> None:
    """Checks that what a network returns for a batch is [batch, num_classes], float32 or of its own precision."""
    returned = f"a {type(logits).__name__}"
    if isinstance(logits, jax.ShapeDtypeStruct):
        returned = f"{logits.dtype}{list(logits.shape)}"
    if returned not in (f"{jnp.dtype(dtype).name}[{batch}, {num_classes}]" for dtype in (jnp.float32, precision)):
        raise UserError(
            f"model.name: {type(model).__name__} maps {batch} images to {returned}{when}: it must return logits "
            f"float32[{batch}, {num_classes}], in training and in evaluation."
        )


class OwnState(NamedTuple):
    """What a network of the user's keeps or draws by itself; all but `outputs` depends on how devices divide a batch.

    Attributes:
      batch_norm: whether it keeps the statistics of a `flax.linen.BatchNorm`, beside the batch norm that it is given.
      collections: names of the collections with anything else that training changes.
      streams: names of Linen's random streams that it draws from in training, such as "dropout".
      outputs: names of the collections that it sows at its start, and anew in each step: they are no state.
    """

    batch_norm: bool = False
    collections: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def inspect_state(
    model: nn.Module,
    image_shape: tuple[int, ...],
    num_classes: int,
    axis_name: str,
    precision: Any = jnp.float32,
    batches: tuple[int, int] = (2, 2),
) -> OwnState:
    """Returns what a network keeps and draws by itself, without computing anything.

    Args:
      axis_name: of the devices.
      precision: dtype of the parameters and images that a step gives to the network.
      batches: of how many images in training and in evaluation.

    Raises:
      UserError: it fails in training or where it is evaluated, returns no logits there, draws random numbers in
        evaluation, or a step would change the shapes or types of what it keeps.
    """
    changing: set[tuple[str, str]] = set()  # (collection, last part of the path) of each array that a step replaces
    streams: set[str] = set()

    def init(keys: dict[str, jax.Array], images: jax.Array) -> tuple[Any, dict[str, Any]]:
        """Returns the variables as a step gives them, and those that are state."""
        variables = dict(model.init(keys["params"], images[:1], train=False))
        variables["params"] = jax.tree.map(lambda leaf: leaf.astype(precision), variables["params"])
        variables.pop("auxiliary_logits", None)
        return variables, {name: variables[name] for name in variables if name != "params"}

    def train(keys: dict[str, jax.Array], images: jax.Array) -> tuple[Any, ...]:
        """Returns the logits, the sown ones, and the collections before and after a step of training."""
        variables, kept = init(keys, images)
        mutable = [*kept, "auxiliary_logits"]
        with _recorded_streams(streams):
            outputs: Any = model.apply(variables, images.astype(precision), train=True, rngs=keys, mutable=mutable)
        logits, changed = outputs
        auxiliary = changed.pop("auxiliary_logits", {})
        now = _flatten(changed)
        changing.update((path[0], path[-1]) for path, leaf in _flatten(kept).items() if now.get(path) is not leaf)
        return logits, auxiliary, kept, changed

    def evaluate(keys: dict[str, jax.Array], images: jax.Array) -> Any:
        """Returns the logits of an evaluation."""
        variables, kept = init(keys, images)
        logits, _ = model.apply(variables, images.astype(precision), train=False, mutable=list(kept))
        return logits

    trained, evaluated = batches
    _, logits = trace_network(model, image_shape, evaluate, axis_name, when=" in evaluation", batch=evaluated)
    _check_logits(logits, num_classes, model, " in evaluation", precision, evaluated)
    _, (logits, auxiliary, before, after) = trace_network(
        model, image_shape, train, axis_name, when=" in training", batch=trained
    )
    for given in (logits, *jax.tree.leaves(auxiliary)):
        _check_logits(given, num_classes, model, " in training", precision, trained)
    # A step must leave all as it was, but for the values; what it adds to tuples alone is sown.
    grown = {path[0] for path in _flatten(after).keys() - _flatten(before).keys()}
    outputs = grown - {path[0] for path in _flatten(after) if not any(isinstance(key, int) for key in path)}
    for name in before.keys() - outputs:
        shapes = [jax.tree_util.tree_map(_describe_array, kept[name]) for kept in (before, after)]
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
        has_own = inspect_state(
            model.clone(norm=batch_norm.NONE), image_shape, num_classes, axis_name, precision, batches
        ).batch_norm
    return OwnState(
        batch_norm=has_own,
        collections=tuple(sorted({name for name, _ in changing - statistics} - outputs)),
        streams=tuple(sorted(streams - {explicit.DROPOUT_STREAM})),
        outputs=tuple(sorted(outputs)),
    )


@contextlib.contextmanager
def _recorded_streams(names: set[str]) -> Iterator[None]:
    """Adds the names of the random streams that networks ask for in the block, where there is one of any name."""
    make_rng, has_rng = nn.Module.make_rng, nn.Module.has_rng

    def record_and_make(module: nn.Module, name: str = "params") -> jax.Array:
        names.add(name)
        return make_rng(module, name)  # of "params", where Linen has no stream of this name

    def record(module: nn.Module, name: str) -> bool:
        names.add(name)
        return True

    nn.Module.make_rng, nn.Module.has_rng = record_and_make, record  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        nn.Module.make_rng, nn.Module.has_rng = make_rng, has_rng  # type: ignore[method-assign]


def _flatten(collections: Mapping[str, Any]) -> dict[tuple[Any, ...], Any]:
    """Returns path -> leaf; what is text in a path is a key, and a number the place in a tuple."""
    leaves = jax.tree_util.tree_leaves_with_path(collections)
    return {tuple(getattr(key, "key", getattr(key, "idx", str(key))) for key in path): leaf for path, leaf in leaves}


def _describe_array(leaf: Any) -> tuple[Any, ...]:
    """Returns what a step must leave as it was; it brings floating-point numbers back to their own precision itself."""
    return leaf.shape, "floating" if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.dtype


def _is_number(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.number) or dtype == jnp.bool_


# What to do about errors of Linen that say what is not there, and not why.
_REMEDIES = {
    flax.errors.ScopeParamNotFoundError: "parameters are made in evaluation, so call each layer there too",
    flax.errors.ScopeCollectionNotFound: "variables are made in evaluation, so make each there too",
    flax.errors.ScopeVariableNotFoundError: "variables are made in evaluation, so make each there too",
    flax.errors.InvalidRngError: "only training may draw: ask for random numbers where train is true",
}
_REMEDIES_IN_TRAINING = {
    **_REMEDIES,
    flax.errors.InvalidRngError: "name its stream in the transform around it, as nn.scan(..., split_rngs={'dropout': "
    "True})",
}


def trace_network(
    model: nn.Module,
    image_shape: tuple[int, ...],
    function: Callable,
    axis_name: str | None = None,
    *,
    streams: Sequence[str] = (),
    inputs: Sequence[Any] = (),
    when: str = "",
    batch: int = 2,
) -> tuple[Any, Any]:
    """Returns the computation of (keys, images, *inputs) -> results, and the shapes of these.

    Args:
      model: what is to blame if the function fails.
      axis_name: of the devices, None where the function knows none; streams: names of the keys, besides "params".
      inputs: pytrees of shapes.
      when: " in training", " in evaluation" or "", for the error.
      batch: how many images; where it is not 2, two are known to pass.

    Raises:
      UserError: the network fails.
    """
    images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32)
    # Abstract evaluation draws nothing and touches no device: this key stands for any.
    keys = dict.fromkeys(("params", *streams), jax.eval_shape(lambda: randomness.key_for(0)))
    axes = [(axis_name, 1)] if axis_name else None
    try:
        # What the environment sets of these, such as JAX_DISABLE_JIT=1, is no part of a network.
        with jax.default_matmul_precision("default"), jax.enable_x64(False), jax.disable_jit(False):
            return jax.make_jaxpr(function, axis_env=axes, return_shape=True)(keys, images, *inputs)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        remedies = _REMEDIES_IN_TRAINING if when == " in training" else _REMEDIES
        remedy = "mend it there, or model.kwargs" if batch == 2 else "it must take any number of images, as it takes 2"
        remedy = remedies.get(type(error), remedy)
        count = "" if batch == 2 else f"{batch:,} "
        raise UserError(
            f"model.name: {type(model).__name__} fails{when} on {count}images of {image_shape}: "
            f"{describe_error(error, inspect.getfile(type(model)))}: {remedy}."
        ) from error


def count_parameters(params: Any) -> int:
    """Returns the number of trainable parameters in a pytree of arrays or of their shapes (`jax.eval_shape`)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
