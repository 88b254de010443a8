"""Threads of BLAS: one for a small product, all for a large one, and what was set before comes back."""

import pytest
from threadpoolctl import threadpool_info

from rethink.theory import blas_threads
from rethink.theory.linear import gradient_descent, least_norm


def threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture
def four_threads(monkeypatch):
    """As on a machine of four cores."""
    controller, _ = blas_threads._find_libraries()
    monkeypatch.setattr(blas_threads, "_find_libraries", lambda: (controller, 4))
    with controller.limit(limits=4):
        yield


def test_a_small_product_has_one_thread_and_a_large_one_within_has_all(four_threads):
    with blas_threads.for_product(100 * 4000 * 10):
        assert threads() == {1}
        with blas_threads.for_product(4000**3):
            assert threads() == {4}
        assert threads() == {1}
    assert threads() == {4}


def test_a_run_of_descent_steps_with_one_thread(four_threads, monkeypatch):
    seen = []
    multiply = gradient_descent.dgemm
    monkeypatch.setattr(gradient_descent, "dgemm", lambda *a, **k: seen.append(threads()) or multiply(*a, **k))
    basis = least_norm.decompose_features([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    gradient_descent.run_descent(basis, [1.0, 1.0], start=0.0, learning_rate=0.1, momentum=0.0, steps=3)
    assert seen == [{1}] * 3 and threads() == {4}
