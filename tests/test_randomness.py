"""The streams of random numbers: named, independent, and the same under every global switch."""

import contextlib
import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from rethink import randomness


@contextlib.contextmanager
def seed_offset(value):
    before = jax.config.jax_random_seed_offset
    jax.config.update("jax_random_seed_offset", value)
    yield
    jax.config.update("jax_random_seed_offset", before)


SWITCHES = {
    "x64": lambda: jax.enable_x64(True),
    "rbg": lambda: jax.default_prng_impl("rbg"),
    "unsafe_rbg": lambda: jax.default_prng_impl("unsafe_rbg"),
    "seed_offset": lambda: seed_offset(5),
}


def bits(key):
    return tuple(np.asarray(jax.random.key_data(key)).ravel().tolist())


def test_the_same_seed_and_name_give_the_same_key():
    assert bits(randomness.key_for(3, "labels", "train")) == bits(randomness.key_for(3, "labels", "train"))


def test_seeds_and_names_of_any_depth_and_order_give_keys_of_their_own():
    names = [
        (),
        ("labels",),
        ("pixels",),
        ("labels", "train"),
        ("train", "labels"),
        ("labels", "test"),
        ("labelstrain",),
    ]
    seeds = (0, 1, 2, randomness.SEED_LIMIT - 1)
    assert len({bits(randomness.key_for(seed, *path)) for seed in seeds for path in names}) == len(seeds) * len(names)


@pytest.mark.parametrize("seed", [-1, randomness.SEED_LIMIT, randomness.SEED_LIMIT + 1])
def test_a_seed_beyond_the_limits_is_refused_and_not_wrapped(seed):
    with pytest.raises(OverflowError):
        randomness.key_for(seed, "labels")


def test_keys_and_draws_are_those_of_every_earlier_version():
    assert bits(randomness.key_for(0)) == (0, 0)
    assert bits(randomness.key_for(0, "labels")) == (2846750044, 133954998)
    assert bits(randomness.key_for(4_000_000_000, "labels", "train")) == (743751824, 299770070)
    assert randomness.draw_permutation(randomness.key_for(0, "order"), 8).tolist() == [7, 0, 1, 3, 6, 5, 2, 4]


def test_the_key_of_an_example_depends_on_its_id_alone():
    key, ids = randomness.key_for(0, "labels"), np.array([7, 0, 2**32 - 1, 7, 12], np.uint32)
    keys = [bits(example) for example in randomness.example_keys(key, ids)]
    assert keys == [bits(jax.random.fold_in(key, example)) for example in ids]
    assert keys[0] == keys[3]
    assert len(set(keys)) == 4
    assert keys[::-1] == [bits(example) for example in randomness.example_keys(key, ids[::-1])]


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_a_permutation_has_every_number_once(count):
    order = randomness.draw_permutation(randomness.key_for(0, "order"), count)
    assert isinstance(order, np.ndarray)
    assert order.dtype == np.int32
    assert sorted(order.tolist()) == list(range(count))


def test_permutations_of_other_keys_differ():
    first, again, other = (randomness.draw_permutation(randomness.key_for(seed, "order"), 100) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, np.arange(100))


@pytest.mark.parametrize("switch", SWITCHES)
def test_no_global_switch_changes_a_key_or_a_permutation(switch):
    def draw():
        key = randomness.key_for(5, "order")
        ids = np.arange(20, dtype=np.uint32)
        order = randomness.draw_permutation(key, 1000)
        return bits(key), bits(randomness.example_keys(key, ids)), order.dtype, order.tolist()

    plain = draw()
    with SWITCHES[switch]():
        assert draw() == plain


def test_the_draws_do_not_depend_on_how_jax_is_configured():
    draw = (
        "from rethink import jax_options, randomness as r; jax_options.fix(); "
        "print(r.draw_permutation(r.key_for(5, 'order'), 100).tolist())"
    )
    root = pathlib.Path(randomness.__file__).parents[1]
    environment = {**os.environ, "JAX_THREEFRY_PARTITIONABLE": "0"}
    finished = subprocess.run([sys.executable, "-c", draw], cwd=root, env=environment, capture_output=True, text=True)
    assert finished.stdout.strip() == str(randomness.draw_permutation(randomness.key_for(5, "order"), 100).tolist())


def test_a_permutation_is_drawn_where_there_is_no_cpu(monkeypatch):
    plain = randomness.draw_permutation(randomness.key_for(5, "order"), 100)

    def refuse(backend):
        raise RuntimeError(f"Unknown backend: '{backend}' requested")

    monkeypatch.setattr(jax, "local_devices", refuse)
    np.testing.assert_array_equal(randomness.draw_permutation(randomness.key_for(5, "order"), 100), plain)


def test_nothing_else_in_the_project_seeds_or_draws_by_itself():
    root = pathlib.Path(randomness.__file__).parents[1]
    files = [path for folder in ("rethink", "rethink/configs") for path in (root / folder).rglob("*.py")] + [
        root / "main.py"
    ]
    seeding = re.compile(r"\b(np|numpy)\.random\b|^import random\b|^from random\b|PRNGKey|random\.seed\(", re.MULTILINE)
    assert len(files) > 10
    drawing = [path for path in files if seeding.search(path.read_text())]
    # Simulated verdicts, of no run and no data: millions of numbers at a time, in a loop without JAX.
    assert drawing == [root / "rethink" / "report" / "power.py"]
