"""The fields of a network's class, and which values of a config they take."""

import dataclasses
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn


def find_field_types(builder: Callable[..., nn.Module]) -> dict[str, Any]:
    """Returns field -> type of a Linen module's class, or of a partial of it; Any where the type can't be evaluated."""
    module_class: Any = getattr(builder, "func", builder)
    try:
        hints = typing.get_type_hints(module_class)
    except Exception:  # names that exist for type checkers alone
        hints = {}
    fields = (field.name for field in dataclasses.fields(module_class) if field.init)
    return {name: hints.get(name, Any) for name in fields if name not in ("parent", "name")}


def fits(value: Any, kind: Any) -> bool:
    """Returns whether a value of a config is of a type; what no config holds, such as a dtype, is left to the class."""
    origin, arguments = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin in (tuple, list, Sequence):
        if not isinstance(value, tuple | list):
            return False
        if origin is tuple and arguments and arguments[-1] is not ...:
            return len(value) == len(arguments) and all(map(fits, value, arguments))
        return all(fits(part, argument) for argument in arguments[:1] for part in value)
    return origin not in _VALUES or type(value) in _VALUES[origin]


# Type of a field -> types of the values that it takes.
_VALUES: dict[Any, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str,),
    type(None): (type(None),),
    Callable: (),
}
