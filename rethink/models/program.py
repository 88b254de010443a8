"""Fingerprints of what a network computes: of its traced program, and of the file of its class.

A program is hashed by the flow of its values, so that names, comments and what is computed in vain count for nothing.
What a host callback does is not seen, only that there is one.
"""

import ast
import dataclasses
import enum
import hashlib
import inspect
import sys
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from rethink.models.user_module import NetworkTrace, OwnState, trace_network
from rethink.regularization import explicit

PARTS = ("initialization", "evaluation", "training")  # the last with the gradients, so that custom ones count
# Calls that compute what they call: primitive -> its parameter with the computation.
_CALLS = {"jit": "jaxpr", "remat2": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
_NAMES = ("name", "debug_info")  # parameters of equations that say where these come from


def fingerprint_program(
    model: nn.Module,
    image_shape: tuple[int, ...],
    trace: NetworkTrace,
    axis_name: str,
    own_state: OwnState,
    precision: Any = jnp.float32,
) -> dict[str, str]:
    """Returns SHA-256 in hex of each of `PARTS`: what the network computes, without computing anything.

    They are the same in every process with the same JAX and Flax, on any number of devices.

    Args:
      trace: of `check_network`, on images of this shape.
      axis_name: of the devices.
      own_state: what a model of the user's keeps and draws by itself.
      precision: dtype of the parameters and images that a step gives to the network.

    Raises:
      UserError: the network fails.
    """
    names = [name for name in trace.variables if name not in ("auxiliary_logits", *own_state.outputs)]
    variables = {name: trace.variables[name] for name in names}
    streams = (explicit.DROPOUT_STREAM, *own_state.streams)

    def give(variables: Any, images: jax.Array) -> tuple[Any, jax.Array]:
        params = jax.tree.map(lambda leaf: leaf.astype(precision), variables["params"])
        return {**variables, "params": params}, images.astype(precision)

    def evaluate(keys: dict[str, jax.Array], images: jax.Array, variables: Any) -> Any:
        kept = [name for name in variables if name != "params"]
        return model.apply(*give(variables, images), train=False, mutable=kept)[0]

    def train(keys: dict[str, jax.Array], images: jax.Array, variables: Any) -> Any:
        """Returns the gradients of a stand-in for the loss, the logits, and the collections after the step."""
        kept = {name: variables[name] for name in variables if name != "params"}
        rngs = {name: keys[name] for name in streams}

        def loss_of(params: Any) -> tuple[Any, Any]:
            logits, changed = model.apply(
                *give({"params": params, **kept}, images),
                train=True,
                rngs=rngs,
                mutable=[*kept, "auxiliary_logits"],
            )
            parts = jax.tree.leaves((logits, changed.get("auxiliary_logits", {})))
            return sum(jnp.sum(jnp.square(part)) for part in parts), (logits, changed)

        return jax.grad(loss_of, has_aux=True)(variables["params"])

    evaluation, _ = trace_network(model, image_shape, evaluate, axis_name, inputs=(variables,))
    training, _ = trace_network(model, image_shape, train, axis_name, streams=streams, inputs=(variables,))
    keys = [_digest("stream", name) for name in sorted({"params", *streams})]  # the first inputs; a step's are by name
    # What is initialized: how it is drawn, and what it is called.
    _, *drawn = hash_results(trace.initialization)[0]
    hashes = jax.tree.unflatten(jax.tree.structure(trace.variables), drawn)
    named = jax.tree_util.tree_leaves_with_path({name: hashes[name] for name in names})
    return {
        "initialization": _digest([(jax.tree_util.keystr(path), drawn) for path, drawn in named]),
        "evaluation": _digest(hash_results(evaluation)),
        "training": _digest(hash_results(training, keys)),
    }


def hash_results(computation: core.ClosedJaxpr | core.Jaxpr, inputs: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Returns, of a traced computation, SHA-256 in hex of how each result is made, and of each effect.

    A result is hashed as its equation, with the hashes of what goes into it, down to the inputs and the bytes of the
    constants: neither the order of the equations nor those without use count. A print is no effect.

    Args:
      inputs: the hashes of the first inputs; those of the others are of their numbers and types.
    """
    if isinstance(computation, core.Jaxpr):
        computation = core.ClosedJaxpr(computation, ())
    jaxpr = computation.jaxpr
    variables = (*jaxpr.invars, *jaxpr.constvars)  # the latter are replaced by the constants, where there are any
    hashes = {variable: _digest("input", number, _describe(variable.aval)) for number, variable in enumerate(variables)}
    hashes.update(zip(jaxpr.invars, inputs, strict=False))
    hashes.update(zip(jaxpr.constvars, map(_describe, computation.consts), strict=False))

    def read(atom: Any) -> Any:
        aval: Any = atom.aval
        return _describe_array(atom.val, aval.dtype) if isinstance(atom, core.Literal) else hashes[atom]

    effects = []
    for equation in jaxpr.eqns:
        given = [read(atom) for atom in equation.invars]
        name, types = equation.primitive.name, [_describe(variable.aval) for variable in equation.outvars]
        if name in _CALLS:
            results, further = hash_results(equation.params[_CALLS[name]], given)
            effects += further
        elif name == "stop_gradient":  # what it does is seen in the gradients
            results = given
        else:
            made = _digest(name, _describe(equation.params), types, given)
            results = [_digest(made, number) for number in range(len(types))]
            if any("Debug" not in type(effect).__name__ for effect in equation.effects):
                effects.append(made)
        hashes.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars], effects


def _describe(value: Any) -> Any:
    """Returns a constant, a type or a parameter of an equation as text, or lists of text: the same in any process.

    Of what it doesn't know (functions, meshes, shardings) it returns the type alone.
    """
    if isinstance(value, core.Jaxpr | core.ClosedJaxpr):
        return _digest(hash_results(value))
    if isinstance(value, dict):
        return [(str(key), _describe(value[key])) for key in sorted(value, key=str) if key not in _NAMES]
    if isinstance(value, tuple | list):
        return [_describe(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(str(_describe(item)) for item in value)
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, str | bytes | bool | int | float | complex | np.dtype | None):
        return repr(value)
    if isinstance(value, jax.core.ShapedArray):
        return f"{value.dtype}{value.shape}"
    if hasattr(value, "__array__") or isinstance(value, jax.Array):
        return _describe_array(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return [type(value).__qualname__, _describe(fields)]
    return value.__qualname__ if isinstance(value, type) else type(value).__qualname__


def _describe_array(value: Any, dtype: Any = None) -> str:
    """Returns an array or a number, of this type if one is given, as its type, its shape and the hash of its bytes."""
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return f"{value.dtype}{_describe_array(jax.random.key_data(value))}"
    array = np.asarray(value, dtype)
    return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def fingerprint_source(model: nn.Module) -> str:
    """Returns SHA-256 in hex of the file of a network's class, without comments and docstrings; "" if there is none."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[type(model).__module__]))
    except (KeyError, OSError, TypeError, SyntaxError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return _digest(_outline(tree))


def _outline(node: Any) -> Any:
    """Returns a syntax tree as lists of text, without what is empty: Python's versions add fields that mostly are."""
    if isinstance(node, list):
        return [_outline(part) for part in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, _outline(value)) for name, value in ast.iter_fields(node) if value not in (None, [])]
    return [type(node).__name__, fields]
