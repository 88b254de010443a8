"""The table of networks: parameter counts of the paper, inputs they take, modules of the user's own, errors."""

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, Optional

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rethink.models import layers, registry, user_module
from rethink.models.field_types import find_field_types, fits
from rethink.models.user_module import (
    OwnState,
    check_network,
    count_parameters,
    inspect_state,
)
from rethink.regularization.batch_norm import NONE, BatchNorm
from rethink.regularization.explicit import NO_DROPOUT
from rethink.schema.errors import UserError

SCALE_AND_SHIFT = BatchNorm("per_device", True, True, 0.9, 1e-3, "running", None)
SHIFT = dataclasses.replace(SCALE_AND_SHIFT, scale=False)
ANY_SIZE = [name for name in registry.MODELS if name != "inception_v3"]  # whose smallest is tested in its own file


QUICKLY = {"xla_backend_optimization_level": 0}  # compiled, where it is no matter how a result is rounded


def build(name, norm=NONE, num_classes=10, dropout=NO_DROPOUT, init="lecun_normal", **kwargs):
    return registry.build_model(name, num_classes=num_classes, norm=norm, dropout=dropout, init=init, kwargs=kwargs)


def smallest(name):
    side = 8 if name in ANY_SIZE else 75
    return (side, side, 3)


def shapes(model, image_shape):
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    return jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), images)


@pytest.mark.parametrize(
    "name, norm, side, count",
    [
        ("mlp_1x512", NONE, 28, 1_209_866),
        ("mlp_3x512", NONE, 28, 1_735_178),
        ("alexnet", NONE, 28, 1_387_786),
        ("inception", SHIFT, 28, 1_649_402),
        ("inception", NONE, 28, 1_649_402),
        ("wide_resnet", SCALE_AND_SHIFT, 32, 369_498),
        ("mlp_tiny", NONE, 28, 2352 * 16 + 16 + 16 * 10 + 10),
        ("conv_tiny", SCALE_AND_SHIFT, 28, 27 * 8 + 16 + 8 * 10 + 10),
    ],
)
def test_parameter_counts(name, norm, side, count):
    assert count_parameters(shapes(build(name, norm), (side, side, 3))["params"]) == count


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "inception_v3" else ()) for name in registry.MODELS]
)
def test_a_shift_takes_the_place_of_each_bias_and_a_scale_comes_on_top(name):
    def count(norm):
        return count_parameters(shapes(build(name, norm), smallest(name))["params"])

    without = dataclasses.replace(SHIFT, shift=False)
    assert count(without) < count(SHIFT) < count(SCALE_AND_SHIFT)
    assert count(SHIFT) - count(without) == count(SCALE_AND_SHIFT) - count(SHIFT)
    if name != "wide_resnet":  # there a norm comes before its convolution, so that their widths differ
        assert count(SHIFT) == count(NONE)


@pytest.mark.parametrize("name", registry.MODELS)
def test_statistics_exist_only_with_a_norm(name):
    assert "batch_stats" not in shapes(build(name, NONE), smallest(name))
    assert "batch_stats" in shapes(build(name, SHIFT), smallest(name))


@pytest.mark.parametrize("image_shape", [(28, 28, 1), (9, 12, 3), (1, 1, 2)])
@pytest.mark.parametrize("name", ANY_SIZE)
def test_other_sizes_channels_and_classes(name, image_shape):
    check_network(build(name, SHIFT, num_classes=7), image_shape, 7)


@pytest.mark.parametrize(
    "name, kwargs",
    [
        ("alexnet", {"features": (4, 5), "hidden_sizes": (8,)}),
        ("inception", {"modules": ((4, 5), 6, (3, 4))}),
        ("wide_resnet", {"depth": 10}),
    ],
)
def test_networks_compute_finite_logits_that_depend_on_every_parameter(name, kwargs):
    norm = dataclasses.replace(SCALE_AND_SHIFT, evaluation="batch")
    model = build(name, norm, num_classes=3, **kwargs)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, 8, 8, 3), dtype=np.float32)
    variables = jax.tree.map(  # instead of `init`, whose draws take longer to compile than the network
        lambda leaf: 0.2 * rng.standard_normal(leaf.shape, dtype=np.float32), shapes(model, (8, 8, 3))
    )

    def weighted_sum(params):
        logits = model.apply({**variables, "params": params}, images, train=False)
        return (jnp.arange(12.0).reshape(4, 3) * logits).sum()

    gradients = jax.jit(jax.grad(weighted_sum), compiler_options=QUICKLY)(variables["params"])
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, path


@pytest.mark.parametrize("name", ANY_SIZE)
def test_every_kernel_is_drawn_by_the_given_initializer(name):
    model = registry.MODELS[name](
        num_classes=10, norm=SHIFT, dropout=NO_DROPOUT, kernel_init=nn.initializers.constant(7.0)
    )
    # Compiled, as only the parameters are returned, the network is left out.
    draw = jax.jit(
        lambda key: model.init(key, jnp.zeros((1, 8, 8, 3)), train=False)["params"], compiler_options=QUICKLY
    )
    params = draw(jax.random.key(0))
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        assert np.all(leaf == (7.0 if path[-1].key == "kernel" else 0.0)), path


def test_initializers_have_the_variance_of_their_reference():
    @jax.jit
    def measure(key):
        return {init: draw(key, (256, 512)).var() for init, draw in registry.INITIALIZERS.items()}

    expected = {"lecun_normal": 1 / 256, "he_normal": 2 / 256, "glorot_uniform": 2 / (256 + 512)}
    assert jax.tree.map(float, measure(jax.random.key(0))) == pytest.approx(expected, rel=0.02)
    assert build("mlp_tiny", init="he_normal").kernel_init is registry.INITIALIZERS["he_normal"]


def test_a_one_by_one_convolution_is_a_matrix_product_with_the_same_result():
    class Pointwise(nn.Module):
        @nn.compact
        def __call__(self, x):
            return layers.convolution(x, 5, 1, stride=2, use_bias=True, kernel_init=nn.initializers.lecun_normal())

    x = jax.random.normal(jax.random.key(1), (2, 5, 6, 3))
    variables = Pointwise().init(jax.random.key(0), x)
    assert variables["params"]["Dense_0"]["kernel"].shape == (3, 5)
    kernel, bias = variables["params"]["Dense_0"]["kernel"], jnp.arange(5.0)
    variables = {"params": {"Dense_0": {"kernel": kernel, "bias": bias}}}
    convolution = nn.Conv(5, (1, 1), strides=2)
    expected = convolution.apply({"params": {"kernel": kernel[None, None], "bias": bias}}, x)
    np.testing.assert_allclose(Pointwise().apply(variables, x), expected, atol=1e-5)


def test_equal_settings_build_equal_models():
    assert build("alexnet", SHIFT) == build("alexnet", SHIFT) and hash(build("alexnet")) == hash(build("alexnet"))
    assert build("alexnet", SHIFT) != build("alexnet")


def test_kwargs_reach_the_fields():
    assert build("wide_resnet", depth=10, width=2).width == 2
    assert build("mlp_1x512", hidden_sizes=(4, 5)).hidden_sizes == (4, 5)


OWN_MODULE = """
import flax.linen as nn
from flax import linen

class Own(nn.Module):
    num_classes: int
    width: int = 3
    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(self.num_classes)(nn.Dense(self.width)(images.reshape(len(images), -1)))

class WithNorm(nn.Module):
    num_classes: int
    norm: object
    kernel_init: object
    @nn.compact
    def __call__(self, images, *, train):
        return self.norm(nn.Dense(self.num_classes, kernel_init=self.kernel_init)(images.mean((1, 2))), train=train)

class TooNarrow(Own):
    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(self.num_classes - 1)(images.mean((1, 2)))

class NoTrain(nn.Module):
    num_classes: int
    def __call__(self, images):
        return images

class NoCall(nn.Module):
    num_classes: int

class Needs(nn.Module):
    num_classes: int
    width: int
    def __call__(self, images, *, train):
        return images

class NoClasses(nn.Module):
    def __call__(self, images, *, train):
        return images

class MoreArguments(nn.Module):
    def __call__(self, images, labels, *, train):
        return images

class PositionalOnly(nn.Module):
    def __call__(self, images, train, /):
        return images

class Positional(Own):
    @nn.compact
    def __call__(self, images, train):
        return nn.Dense(self.num_classes)(images.mean((1, 2)))

class Breaks(Own):
    @nn.compact
    def __call__(self, images, *, train):
        raise KeyError("no such thing")

class NoParameters(Own):
    @nn.compact
    def __call__(self, images, *, train):
        return images.reshape(len(images), -1)[:, : self.num_classes]

class NotLinen:
    pass
"""


FAILING = {  # a module that can't be imported; it fails in line 2
    "syntax": "import jax\ndef f(:\n",
    "name": "import jax\nfrom jax import no_such_name\n",
    "zero": "import jax\n1 / 0\n",
    "leaves": "import sys\nsys.exit('gone')\n",
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "nets.py").write_text(OWN_MODULE)
    (tmp_path / "own_package" / "broken.py").write_text("import no_such_dependency\n")
    for module, text in FAILING.items():
        (tmp_path / "own_package" / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_package.nets"


def test_a_module_of_the_users_own(own):
    check_network(build(f"{own}:Positional", num_classes=4), (6, 6, 1), 4)
    model = build(f"{own}:Own", num_classes=4, width=5)
    check_network(model, (6, 6, 1), 4)
    assert count_parameters(shapes(model, (6, 6, 1))["params"]) == 36 * 5 + 5 + 5 * 4 + 4


def test_a_module_of_the_users_own_is_given_the_norm_if_it_has_the_field(own):
    model = build(f"{own}:WithNorm", SHIFT)
    assert model.norm is SHIFT
    assert "batch_stats" in shapes(model, (6, 6, 1))


@pytest.mark.parametrize(
    "text, said",
    [
        ("No key (https://flax.io/a.html#b).", "No key."),
        (f"{'word ' * 50}end. {'More ' * 20}", f"{'word ' * 50}end."),
        (f"See https://x.org/{'a' * 400} {'word ' * 70}", f"See {'word ' * 59}".strip()),
        ("a" * 400, "a" * 300),
    ],
)
def test_an_error_of_another_library_is_cut_between_sentences_or_words_and_has_no_links(text, said):
    try:
        raise ValueError(text)
    except ValueError as error:
        assert user_module.describe_error(error).startswith(f"{said} (ValueError, ")


@pytest.mark.parametrize(
    "name, kwargs, words",
    [
        ("inceptoin", {}, ["model.name", "inception", "wide_resnet", "package.module:ClassName"]),
        ("own_package.nets:Onw", {}, ["model.name", "'Onw'", "Own, WithNorm"]),
        ("own_package.net:Own", {}, ["model.name", "own_package.net", "PYTHONPATH"]),
        ("own_package.broken:Own", {}, ["model.name", "no_such_dependency"]),
        ("own_package.syntax:Own", {}, ["model.name", "SyntaxError, ", "syntax.py:2)"]),
        ("own_package.name:Own", {}, ["model.name", "no_such_name", "ImportError, ", "name.py:2)"]),
        ("own_package.zero:Own", {}, ["model.name", "division by zero (ZeroDivisionError, ", "zero.py:2)"]),
        ("own_package.leaves:Own", {}, ["model.name", "calls sys.exit('gone') (SystemExit, ", "leaves.py:2)"]),
        ("own_package.nets:", {}, ["model.name", "package.module:ClassName"]),
        ("/tmp/nets.py:Own", {}, ["model.name", "package.module:ClassName"]),
        ("own_package.nets:NotLinen", {}, ["model.name", "flax.linen.Module"]),
        ("own_package.nets:NoTrain", {}, ["model.name", "'train'", "__call__(self, images, *, train)"]),
        ("own_package.nets:NoCall", {}, ["no __call__", "__call__(self, images, *, train)"]),
        ("own_package.nets:MoreArguments", {}, ["'labels'", "__call__(self, images, *, train)"]),
        ("own_package.nets:PositionalOnly", {}, ["'train'", "positional only", "__call__(self, images, *, train)"]),
        ("own_package.nets:Own", {"depth": 3}, ["model.kwargs.depth", "no field", "width: int"]),
        ("own_package.nets:Own", {"width": "3"}, ["model.kwargs.width='3'", "no int", "Its fields: width: int"]),
        ("own_package.nets:WithNorm", {"width": 3}, ["Its fields: none"]),
        ("own_package.nets:Needs", {}, ["without a value, width", "--config.model.kwargs.width=VALUE"]),
        ("own_package.nets:NoClasses", {}, ["no field num_classes", "add num_classes: int"]),
        ("mlp_1x512", {"width": 3}, ["model.kwargs.width", "hidden_sizes: "]),
        ("mlp_1x512", {"hidden_sizes": 3}, ["model.kwargs.hidden_sizes=3", "hidden_sizes: "]),
        ("mlp_1x512", {"num_classes": 3}, ["model.kwargs", "num_classes"]),
        ("wide_resnet", {"depth": 27}, ["model.kwargs.depth=27", "28"]),
        ("wide_resnet", {"depth": "x"}, ["model.kwargs.depth='x' is no int", "width: int"]),
        ("math:pi", {}, ["model.name='math:pi'", "flax.linen.Module", "type float"]),
    ],
)
def test_mistakes_are_named_with_their_remedy(own, name, kwargs, words):
    with pytest.raises(UserError) as caught:
        registry.build_model(name, num_classes=10, norm=NONE, dropout=NO_DROPOUT, init="lecun_normal", kwargs=kwargs)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    "kind, taken, refused",
    [
        (int, [3], [True, 3.0, "3", None, (3,)]),
        (float, [3, 0.5], [True, "0.5", None]),
        (bool, [False], [0, "no", None]),
        (str, ["relu"], [3, None]),
        (float | None, [None, 0.5], ["none"]),
        (Optional[int], [None, 3], [0.5]),  # noqa: UP045
        (tuple[int, ...], [(), (3,), [3, 4]], [3, (0.5,), "3"]),
        (tuple[int, float], [(3, 0.5)], [(3,), (3, 4, 5), (0.5, 3)]),
        (Sequence[tuple[int, int]], [((1, 2), (3, 4))], [(1, 2)]),
        (Literal["a", "b"], ["a"], ["c"]),
        (tuple, [(3, "a")], [3]),
        (Callable[..., int], [], ["tanh"]),
        (Any, [3, "bfloat16", None], []),
        (jnp.dtype, ["bfloat16"], []),
    ],
)
def test_values_of_a_models_fields_are_of_their_types(kind, taken, refused):
    assert all(fits(value, kind) for value in taken)
    assert not any(fits(value, kind) for value in refused)


def test_types_that_cannot_be_evaluated_allow_anything():
    class Unknown(nn.Module):
        width: "NoSuchType" = 3  # noqa: F821

    assert find_field_types(Unknown) == {"width": Any}


def test_the_working_directory_is_on_the_path_last_and_what_hides_its_files_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", os.getcwd())])
    for name in ("net_in_working_directory", "fractions", "optax", "time"):
        (tmp_path / f"{name}.py").write_text(OWN_MODULE)
    assert registry.find_builder("net_in_working_directory:Own").__name__ == "Own"
    assert sys.path[-1] == str(tmp_path)
    for name in ("fractions", "optax", "time"):
        with pytest.raises(UserError, match=f"takes {name} from .*, not from {tmp_path}/{name}.py: rename yours"):
            registry.find_builder(f"{name}:Own")
    (tmp_path / "optax").mkdir()
    with pytest.raises(UserError, match=f"takes optax from .*, not from {tmp_path}/optax: rename yours"):
        registry.find_builder("optax.nets:Own")


def test_an_unknown_initializer_is_named():
    with pytest.raises(UserError, match="model.init='lecun'.*lecun_normal"):
        build("mlp_tiny", init="lecun")


@pytest.mark.parametrize("name", ANY_SIZE)
def test_images_that_no_network_can_take(name):
    with pytest.raises(UserError, match="0x5x3.*smallest that works is 1x1"):
        check_network(build(name), (0, 5, 3), 10)
    with pytest.raises(UserError, match="height, width, channels"):
        check_network(build(name), (28, 28), 10)


@pytest.mark.parametrize(
    "name, kwargs, words",
    [
        ("mlp_tiny", {"hidden_sizes": (0,)}, ["model.name: MLP", "division by zero", "mlp.py:", "model.kwargs"]),
        (
            "mlp_tiny",
            {"hidden_sizes": (10**7, 10**7)},
            ["model.name: MLP", "100,000,420,000,004", "take a smaller one"],
        ),
        ("conv_tiny", {"features": -3}, ["model.name: TinyConv", "tiny.py:"]),
        ("own_package.nets:Breaks", {}, ["model.name: Breaks", "no such thing' (KeyError, ", "nets.py:"]),
        ("own_package.nets:NoParameters", {}, ["model.name: NoParameters", "nothing to train"]),
    ],
)
def test_a_network_that_fails_is_named_with_the_place(own, name, kwargs, words):
    with pytest.raises(UserError) as caught:
        check_network(build(name, num_classes=4, **kwargs), (6, 6, 1), 4)
    assert str(caught.value).isprintable()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_shapes_of_the_parameters_need_no_computing(own):
    params = check_network(build("mlp_tiny", num_classes=4), (6, 6, 1), 4).variables["params"]
    assert count_parameters(params) == 36 * 16 + 16 + 16 * 4 + 4


@pytest.mark.parametrize("name, expected", [("mlp_3x512", False), ("conv_tiny", True), ("alexnet", True)])
def test_the_trace_of_a_network_shows_whether_it_has_convolutions(name, expected):
    assert check_network(build(name), (28, 28, 3), 10).has_convolutions == expected


def test_logits_of_another_width_are_refused(own):
    with pytest.raises(UserError, match=r"float32\[2, 4\]"):
        check_network(build(f"{own}:TooNarrow", num_classes=4), (6, 6, 1), 4)


class Kept(nn.Module):
    """A linear map with what a user's network may keep beside its parameters."""

    num_classes: int = 3
    norm: BatchNorm = NONE
    own_norm: bool = False
    dropout: bool = False
    kind: str = "none"

    @nn.compact
    def __call__(self, images, *, train):
        x = self.norm(images.reshape(len(images), -1), train=train)
        if self.own_norm:
            x = nn.BatchNorm(use_running_average=not train)(x)
        if self.dropout:
            x = nn.Dropout(0.5, deterministic=not train)(x)
        if self.kind == "memory":
            self.variable("memory", "last", jnp.zeros, x.shape[-1]).value = x[0]
        if self.kind == "batch":
            self.variable("memory", "last", lambda: x).value = x
        if self.kind == "keys":
            self.variable("memory", "key", lambda: jax.random.key(0))
        if self.kind in ("sown", "mixed"):
            self.sow("losses", "mean", x.mean())
        if self.kind == "mixed":
            self.variable("losses", "last", jnp.zeros, ())
        if self.kind == "fails" and train:
            raise ValueError("not in training")
        return nn.Dense(self.num_classes)(x)


ACROSS = BatchNorm("across_devices", True, True, 0.9, 1e-3, "running", "devices")


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({}, OwnState()),
        ({"own_norm": True}, OwnState(batch_norm=True)),
        ({"norm": ACROSS}, OwnState()),
        ({"norm": ACROSS, "own_norm": True}, OwnState(batch_norm=True)),
        ({"kind": "memory"}, OwnState(collections=("memory",))),
        ({"norm": dataclasses.replace(ACROSS, evaluation="batch")}, OwnState()),
        ({"dropout": True}, OwnState(streams=("dropout",))),
        ({"kind": "sown"}, OwnState(outputs=("losses",))),
    ],
)
def test_what_a_users_network_keeps_and_draws_by_itself_is_seen(fields, expected):
    assert inspect_state(Kept(**fields), (2, 2, 1), 3, "devices") == expected


class WithMethod(nn.Module):
    """A linear map behind a method that has the name of the field `norm`."""

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(3)(self.norm(images.reshape(len(images), -1), train))

    def norm(self, x, train):
        return nn.BatchNorm(use_running_average=not train)(x)


class Constant(nn.Module):
    """A linear map behind a shift and a batch norm that training leaves as they are."""

    @nn.compact
    def __call__(self, images, *, train):
        x = images.reshape(len(images), -1) + self.variable("constants", "shift", jnp.ones, ()).value
        return nn.Dense(3)(nn.BatchNorm(use_running_average=True)(x))


class Spectral(nn.Module):
    """A linear map of norm 1, whose singular vector is in the collection of batch norm's statistics."""

    norm: BatchNorm = NONE

    @nn.compact
    def __call__(self, images, *, train):
        x = self.norm(images.reshape(len(images), -1), train=train)
        return nn.SpectralNorm(nn.Dense(3))(x, update_stats=train)


@pytest.mark.parametrize(
    "model, expected",
    [
        (WithMethod(), OwnState(batch_norm=True)),
        (Constant(), OwnState()),
        (Spectral(), OwnState(collections=("batch_stats",))),
        (Spectral(norm=ACROSS), OwnState(collections=("batch_stats",))),
    ],
)
def test_only_what_training_changes_is_seen_under_the_name_of_what_it_is(model, expected):
    assert inspect_state(model, (2, 2, 1), 3, "devices") == expected


@pytest.mark.parametrize(
    "kind, words",
    [
        ("batch", "keeps a collection 'memory' .*one shape for any batch"),
        ("keys", "keeps a collection 'memory' .*holds no numbers"),
        ("mixed", "keeps a collection 'losses' .*one shape for any batch"),
        ("fails", "fails in training on images .*not in training"),
    ],
)
def test_what_cannot_be_kept_from_step_to_step_is_refused(kind, words):
    with pytest.raises(UserError, match=words):
        inspect_state(Kept(kind=kind), (2, 2, 1), 3, "devices")


class Changed(nn.Module):
    """A linear map with whatever `change`, (module, logits, train) -> output, does."""

    change: Callable

    @nn.compact
    def __call__(self, images, *, train):
        return self.change(self, nn.Dense(3)(images.reshape(len(images), -1)), train)


def scan_dropout(net, logits, train):
    def drop(module, x, _):
        return nn.Dropout(0.5, deterministic=not train)(x), None

    return nn.scan(drop, variable_broadcast="params", length=2)(net, logits, None)[0]


def add_noise(net, logits):
    return logits + jax.random.normal(net.make_rng("noise"), logits.shape) + net.make_rng().ndim


@pytest.mark.parametrize(
    "change",
    [
        lambda net, logits, train: add_noise(net, logits) if train else logits,
        lambda net, logits, train: add_noise(net, logits) if net.has_rng("noise") else logits,
    ],
)
def test_random_streams_of_any_name_are_seen(change):
    assert inspect_state(Changed(change), (2, 2, 1), 3, "devices") == OwnState(streams=("noise", "params"))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda net, x, train: x[:, :2] if train else x, r"float32\[2, 2\] in training: .* float32\[2, 3\]"),
        (lambda net, x, train: x[: 1 + net.is_initializing(), :2], r"float32\[1, 2\] in evaluation: .*\[2, 3\]"),
        (lambda net, x, train: net.sow("auxiliary_logits", "a", x[:, :2]) * x, r"float32\[2, 2\] in training"),
        (lambda net, x, train: (x, x) if train else x, "maps 2 images to a tuple in training"),
        (lambda net, x, train: x.astype(jnp.float16) if train else x, r"float16\[2, 3\] in training"),
        (lambda net, x, train: x + 1j if train else x, r"complex64\[2, 3\] in training"),
        (
            lambda net, x, train: nn.Dense(3)(x) if train else x,
            "in training .*kernel.*models.py:.*call each layer there",
        ),
        (
            lambda net, x, train: x + net.variable("memory", "last", jnp.zeros, ()).value if train else x,
            "fails in training .*memory.*make each there too",
        ),
        (lambda net, x, train: add_noise(net, x), "fails in evaluation .*noise.*only training may draw"),
        (scan_dropout, "fails in training .*dropout.*split_rngs={'dropout': True}"),
        (lambda net, x, train: -x if train and x.sum() else x, "fails in training .*TracerBoolConversionError"),
        (lambda net, x, train: exit("gone") if train else x, "fails in training .*calls sys.exit.'gone'. .SystemExit"),
        (lambda net, x, train: x.reshape(128, 3) if train else x, "fails in training .*reshape.*test_models.py:"),
    ],
)
def test_a_network_whose_training_and_evaluation_do_not_fit_together_is_refused(change, words):
    with pytest.raises(UserError, match=words) as caught:
        inspect_state(Changed(change), (2, 2, 1), 3, "devices")
    assert "https" not in str(caught.value)


def test_a_network_is_traced_in_the_precision_of_its_run():
    assert inspect_state(Kept(kind="memory"), (2, 2, 1), 3, "devices", jnp.bfloat16).collections == ("memory",)
    in_float32 = Changed(lambda net, x, train: jax.lax.add(x, jnp.zeros(x.shape, jnp.float32)))
    inspect_state(in_float32, (2, 2, 1), 3, "devices")
    with pytest.raises(UserError, match="fails in evaluation .*same dtypes"):
        inspect_state(in_float32, (2, 2, 1), 3, "devices", jnp.bfloat16)


@pytest.mark.parametrize("batches, words", [((4, 2), "training on 4 images"), ((2, 6), "evaluation on 6 images")])
def test_a_network_is_traced_with_the_batches_of_its_run(batches, words):
    for_two = Changed(lambda net, x, train: x + jnp.zeros((2, 1)))
    assert inspect_state(for_two, (2, 2, 1), 3, "devices") == OwnState()
    with pytest.raises(UserError, match=f"fails in {words} .*: it must take any number of images, as it takes 2"):
        inspect_state(for_two, (2, 2, 1), 3, "devices", batches=batches)
    assert inspect_state(Changed(lambda net, x, train: x), (2, 2, 1), 3, "devices", batches=batches) == OwnState()


@pytest.mark.parametrize("dtype", ["int32", "complex64", "bfloat16"])
def test_only_parameters_that_can_be_trained_are_taken(dtype):
    model = Changed(lambda net, x, train: x + net.param("count", lambda key: jnp.ones((), dtype)).real.astype(x.dtype))
    with pytest.raises(UserError, match=f"parameter count of {dtype}.*only float32.*self.variable"):
        check_network(model, (2, 2, 1), 3)


@pytest.mark.parametrize(
    "name, said",
    [
        ("nets.my_net.py:MyNet", r"without \.py, nets\.my_net:MyNet"),
        ("imports_what_is_not_there:MyNet", r"No module named 'nothing_here' \(\S*imports_what_is_not_there\.py:2\)"),
    ],
)
def test_a_class_that_can_not_be_imported_is_told_where_it_fails(name, said, tmp_path, monkeypatch):
    (tmp_path / "imports_what_is_not_there.py").write_text("import math\nimport nothing_here\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=f"^model.name='{name}'.*{said}"):
        registry.find_builder(name)
