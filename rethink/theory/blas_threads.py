"""How many threads BLAS and LAPACK take for a product of matrices: by its size one, or as many as they have.

Threads of OpenBLAS wait for each other by spinning. Where a core is busy with something else, a small product then
takes many times as long as with one thread. The sum of a product may round otherwise with another number of threads.
"""

import contextlib
import functools

import scipy.linalg  # noqa: F401  its BLAS is another one than NumPy's, and counts only once it is loaded
from threadpoolctl import ThreadpoolController

ONE_THREAD = 2**28  # multiplications up to which a product takes one: some 20 ms of a core


def for_product(multiplications: float) -> contextlib.AbstractContextManager:
    """Returns a context in which BLAS takes the threads that suit a product of so many multiplications.

    A block within it that names a larger product gets all threads again. More than the process began with, such as
    OPENBLAS_NUM_THREADS sets, are never taken.
    """
    controller, most = _find_libraries()
    return controller.limit(limits=1 if multiplications <= ONE_THREAD else most)


@functools.cache
def _find_libraries() -> tuple[ThreadpoolController, int]:
    """Returns the loaded libraries of BLAS, and how many threads they began with."""
    controller = ThreadpoolController().select(user_api="blas")
    return controller, max((library["num_threads"] for library in controller.info()), default=1)
