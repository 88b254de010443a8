"""Matrix products a b^T, where the kernel models spend their time: by BLAS, or on an accelerator where jax sees one.

Nothing stays on the accelerator: operands and result lie in host memory.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg.blas

from rethink.theory import blas_threads


def multiply_transposed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns a b^T, [m, n] for a [m, d] and b [n, d] of one dtype, float32 or float64: the dtype of the result."""
    if _has_accelerator():
        return multiply_on_accelerator(a, b)
    with blas_threads.for_product(a.size * len(b)):
        return a @ b.T


def add_product(c: np.ndarray, a: np.ndarray, b: np.ndarray, *, factor: float) -> None:
    """Adds factor * a b^T to c in place.

    Args:
      c: float32 [m, n] in Fortran order.
      a, b: float32 [m, d] and [n, d]; in either order BLAS reads them where they are.
    """
    if _has_accelerator():
        c += np.float32(factor) * multiply_on_accelerator(a, b)
        return
    (a, a_transposed), (b, b_transposed) = _in_fortran_order(a), _in_fortran_order(b)
    with blas_threads.for_product(a.size * c.shape[1]):
        result = scipy.linalg.blas.sgemm(
            factor, a, b, beta=1.0, c=c, trans_a=a_transposed, trans_b=not b_transposed, overwrite_c=True
        )
    if not np.shares_memory(result, c):
        raise ValueError("c is no float32 matrix in Fortran order")


def multiply_on_accelerator(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns a b^T by jax, in the dtype that it has on the host: no shortened mantissas, no global x64 switch."""
    with jax.enable_x64(a.dtype == np.float64):
        return np.array(jnp.matmul(jnp.asarray(a), jnp.asarray(b).T, precision=jax.lax.Precision.HIGHEST))


@functools.cache
def _has_accelerator() -> bool:
    return jax.default_backend() != "cpu"


def _in_fortran_order(a: np.ndarray) -> tuple[np.ndarray, bool]:
    """Returns a or its transpose, whichever lies in Fortran order, and whether it is the transpose."""
    return (a, False) if a.flags.f_contiguous else (a.T, True)
