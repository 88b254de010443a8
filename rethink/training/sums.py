"""Sums of bfloat16 numbers, added up in float32: in any network, and in its gradients.

JAX adds bfloat16 numbers in bfloat16, where a sum of ones goes no further than 256. The gradient of a bias is such a
sum, over all examples and places; that of a table's entry, over all that looked it up. Products are not touched: they
are added up in float32 by all platforms. Nor are a chain of additions, `cumlogsumexp` and a sum over devices.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.extend.core import primitives

_SUMS = (
    primitives.reduce_sum_p,
    primitives.reduce_window_sum_p,
    primitives.cumsum_p,
    primitives.scatter_add_p,  # the gradient of a look-up
    primitives.select_and_scatter_add_p,  # that of a max pool
)


def add_in_float32(function: Callable) -> Callable:
    """Returns the same function of pytrees of arrays, with the sums in it, and in what it calls, added up in float32.

    Their results are rounded to bfloat16, once. A gradient is to be taken inside `function`.
    """

    def with_exact_sums(*arguments: Any) -> Any:
        computation, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        return jax.tree.unflatten(jax.tree.structure(shapes), _evaluate(computation, *jax.tree.leaves(arguments)))

    return with_exact_sums


def _evaluate(computation: core.ClosedJaxpr, *arguments: Any) -> list[Any]:
    """Returns the results of a traced computation, equation by equation."""
    jaxpr = computation.jaxpr
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*computation.consts, *arguments), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        values.update(zip(equation.outvars, _compute(equation, *map(read, equation.invars)), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _compute(equation: core.JaxprEqn, *operands: Any) -> list[Any]:
    """Returns the results of one equation."""
    primitive = equation.primitive
    if primitive in _SUMS and operands[0].dtype == jnp.bfloat16:
        wide = [operand.astype(jnp.float32) if operand.dtype == jnp.bfloat16 else operand for operand in operands]
        add, params = primitive.bind, equation.params
        if primitive is primitives.scatter_add_p:  # its parameters hold an addition of bfloat16 numbers
            add, params = jax.lax.scatter_add, {name: params[name] for name in params if not name.startswith("update_")}
        return [add(*wide, **params).astype(jnp.bfloat16)]
    params = jax.tree.map(_rewrite, equation.params, is_leaf=lambda value: not isinstance(value, dict | tuple | list))
    results = primitive.bind(*operands, **primitive.get_bind_params(params))
    return results if primitive.multiple_results else [results]


def _rewrite(value: Any) -> Any:
    """Returns a parameter of an equation; a computation in it (of a loop, a branch, a call) has its sums replaced."""
    if isinstance(value, core.Jaxpr):
        return _rewrite(core.ClosedJaxpr(value, ())).jaxpr
    if not isinstance(value, core.ClosedJaxpr):
        return value
    inputs = [jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type) for aval in value.in_avals]
    return jax.make_jaxpr(functools.partial(_evaluate, value))(*inputs)
