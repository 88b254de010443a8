"""The options of JAX and Flax that the package relies on, whatever the environment or a user's program sets.

Variables of the environment set them too, such as JAX_NUMPY_RANK_PROMOTION=raise, and FLAX_FIX_RNG_SEPARATOR=1, by
which other parameters are drawn.
"""

import contextlib
from collections.abc import Iterator

import flax
import jax

_OPTIONS = {
    "jax_enable_x64": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_threefry_partitionable": True,
    "jax_transfer_guard": "allow",
}
_FLAX_OPTIONS = {
    "flax_fix_rng_separator": False,
    "flax_preserve_adopted_names": False,
    "flax_return_frozendict": False,
}


def fix() -> None:
    """Sets what a network computes by; before one is made or traced."""
    for option, value in _OPTIONS.items():
        jax.config.update(option, value)
    _set_flax(_FLAX_OPTIONS)


@contextlib.contextmanager
def fixed_flax() -> Iterator[None]:
    """Sets the options of Flax while the block lasts, for all threads: it has no others."""
    before = {option: getattr(flax.config, option) for option in _FLAX_OPTIONS}
    _set_flax(_FLAX_OPTIONS)
    try:
        yield
    finally:
        _set_flax(before)


@contextlib.contextmanager
def fixed_in_thread() -> Iterator[None]:
    """Sets the options of JAX for this thread alone while the block lasts: what it starts must set them too."""
    with contextlib.ExitStack() as stack:
        for option, value in _OPTIONS.items():
            stack.enter_context(getattr(jax, option.removeprefix("jax_"))(value))
        yield


def _set_flax(options: dict[str, bool]) -> None:
    for option, is_on in options.items():
        flax.config.update(option, is_on)
