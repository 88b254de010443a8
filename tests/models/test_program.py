"""The fingerprint of a network follows what it computes, in its three parts, and nothing else."""

import functools
import importlib.util
import os
import subprocess
import sys

import jax
import pytest

from rethink.models import program
from rethink.models.user_module import check_network, inspect_state

NETWORK = '''
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

SCALE = np.array([1.0, 2.0], np.float32)

@jax.custom_vjp
def steer(x):
    return jnp.sin(x)

steer.defvjp(lambda x: (steer(x), x), lambda x, given: (given * jnp.cos(x),))

class Net(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images, *, train):
        """Returns logits."""
        x = nn.Dense(2, name="hidden")(images.reshape(len(images), -1))
        x = nn.relu(x) * SCALE
        y = steer(x)
        x = x + y
        x = nn.Dropout(0.5, deterministic=not train)(x)
        if train:
            x = x + jax.random.normal(self.make_rng("noise"), x.shape)
        if not train:
            x = 1.0 * x
        return nn.Dense(self.num_classes, bias_init=nn.initializers.zeros)(x)
'''
EDITS = [  # what is written instead of what -> the parts that change
    ("relu", "tanh", {"evaluation", "training"}),
    ("[1.0, 2.0]", "[1.0, 3.0]", {"evaluation", "training"}),
    ("given * jnp.cos(x)", "given", {"training"}),
    ("y = steer(x)", "y = jax.lax.stop_gradient(steer(x))", {"training"}),
    ("0.5", "0.4", {"training"}),
    ('"noise"', '"jitter"', {"training"}),
    ("1.0 * x", "1.5 * x", {"evaluation"}),
    ("initializers.zeros", "initializers.ones", {"initialization"}),
    ('"hidden"', '"other"', {"initialization"}),
    ("Dense(2,", "Dense(2, use_bias=False,", {"initialization", "evaluation", "training"}),
    ("y = ", "z = x * 2  # in vain\n\n        y = ", set()),
    ("y = steer(x)", "y = jax.jit(steer)(x)", set()),
    ("y = steer(x)", "y = jax.checkpoint(steer)(x)", set()),
    ("x = x + y", "jax.debug.print('{}', y)\n        x = x + y", set()),
]
NO_PROGRAM = [  # names, comments, docstrings, places in the file
    ("import jax\n", "import jax  # the framework\n\n\n"),
    ('"""Returns logits."""', '"""Returns the logits, float32."""'),
]


def fingerprint(folder, source, name="first", precision=jax.numpy.float32):
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Net(num_classes=3)
    own = inspect_state(model, (2, 2, 1), 3, "devices", precision)
    trace = check_network(model, (2, 2, 1), 3)
    hashes = program.fingerprint_program(model, (2, 2, 1), trace, "devices", own, precision)
    return {**hashes, "source": program.fingerprint_source(model)}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return fingerprint(tmp_path_factory.mktemp("original"), NETWORK)


@pytest.mark.parametrize("old, new, changed", EDITS)
def test_each_part_changes_with_what_it_computes(original, tmp_path, old, new, changed):
    assert old in NETWORK
    now = fingerprint(tmp_path, NETWORK.replace(old, new), "other")
    assert {part for part in program.PARTS if now[part] != original[part]} == changed
    assert now["source"] != original["source"]


def test_a_change_of_precision_is_seen_in_the_precision_of_the_run(original, tmp_path):
    edits = "nn.relu(x)", "nn.relu(x.astype(jnp.float32))"
    assert {**fingerprint(tmp_path, NETWORK.replace(*edits), "other"), "source": ""} == {**original, "source": ""}
    before, now = (
        fingerprint(tmp_path, source, "other", jax.numpy.bfloat16) for source in (NETWORK, NETWORK.replace(*edits))
    )
    assert {part for part in program.PARTS if now[part] != before[part]} == {"evaluation", "training"}


def test_names_comments_and_docstrings_count_for_nothing(original, tmp_path):
    renamed = NETWORK.replace("y = steer(x)", "steered = steer(x)").replace("x + y", "x + steered")
    assert {part for part, value in fingerprint(tmp_path, renamed, "other").items() if value != original[part]} == {
        "source"
    }
    source = functools.reduce(lambda text, edit: text.replace(*edit), NO_PROGRAM, NETWORK)
    assert source != NETWORK and fingerprint(tmp_path, source, "commented") == original


def test_what_was_traced_before_counts_for_nothing(original, tmp_path):
    jax.clear_caches()
    assert fingerprint(tmp_path, NETWORK) == original
    inside = []
    jax.vmap(lambda x: inside.append(fingerprint(tmp_path, NETWORK)) or x)(jax.numpy.ones(2))
    assert inside == [original]


def test_options_of_the_environment_count_for_nothing(original, tmp_path):
    with jax.default_matmul_precision("highest"), jax.enable_x64(True), jax.disable_jit(True):
        assert fingerprint(tmp_path, NETWORK) == original


def test_a_parameter_that_is_an_object_counts_by_its_fields():
    def hash_with(contracting):
        numbers = jax.lax.RaggedDotDimensionNumbers(((contracting, (1,)), ((), ())), (0,), (0,))
        return program._describe({"dimensions": numbers})

    assert hash_with((1,)) == hash_with((1,)) != hash_with((2,))


@pytest.mark.slow
def test_another_process_with_other_hash_seeds_and_devices_finds_the_same(original, tmp_path):
    (tmp_path / "network.txt").write_text(NETWORK)
    code = (
        "import pathlib, sys; sys.path.append(sys.argv[1]); from test_program import fingerprint; "
        "folder = pathlib.Path(sys.argv[2]); print(fingerprint(folder, (folder / 'network.txt').read_text()))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "3", "XLA_FLAGS": "--xla_force_host_platform_device_count=3"}
    words = [sys.executable, "-c", code, os.path.dirname(__file__), str(tmp_path)]
    printed = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(original)


def test_a_constant_counts_by_its_bytes_and_not_by_how_it_is_printed():
    many = jax.numpy.arange(3000.0)
    hashes = {
        str(program.hash_results(jax.make_jaxpr(lambda x, added=added: x + added)(many)))
        for added in (many, many.at[1500].add(1), many)
    }
    assert len(hashes) == 2
