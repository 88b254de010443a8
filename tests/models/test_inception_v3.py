"""Inception V3: parameter counts, the sizes of its grids, the auxiliary head, gradients; most without computing."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rethink.models import inception_v3, layers
from rethink.models.inception_v3 import InceptionV3
from rethink.models.user_module import check_network, count_parameters
from rethink.regularization.batch_norm import NONE, BatchNorm
from rethink.regularization.explicit import DROPOUT_STREAM, NO_DROPOUT, Dropout
from rethink.schema.errors import UserError

SHIFT = BatchNorm("per_device", False, True, 0.9, 1e-3, "running", None)
SCALE_AND_SHIFT = dataclasses.replace(SHIFT, scale=True)
KINDS = pytest.mark.parametrize("norm", [NONE, SHIFT], ids=lambda norm: norm.kind)


def build(norm=SHIFT, *, num_classes=1000, dropout=NO_DROPOUT, auxiliary_head=False):
    return InceptionV3(num_classes, norm, dropout, nn.initializers.he_normal(), auxiliary_head)


def images_of(side):
    return jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)


@functools.cache
def shapes(model, side, train=False):
    return jax.eval_shape(functools.partial(model.init, train=train), jax.random.key(0), images_of(side))


def apply_shapes(model, side, *, train):
    """Returns the shapes of the logits and of the collections that change."""
    mutable, rngs = ["batch_stats", "auxiliary_logits"], {DROPOUT_STREAM: jax.random.key(1)}
    apply = functools.partial(model.apply, train=train, mutable=mutable, rngs=rngs)
    return jax.eval_shape(apply, shapes(model, side), images_of(side))


def paths(tree):
    return {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.parametrize(
    "norm, auxiliary_head, count",
    [
        (SHIFT, False, 23_817_352),
        (SHIFT, True, 27_143_152),
        (NONE, False, 23_817_352),
        (NONE, True, 27_143_152),
        (SCALE_AND_SHIFT, False, 23_834_568),
        (SCALE_AND_SHIFT, True, 27_161_264),
    ],
)
def test_parameter_counts(norm, auxiliary_head, count):
    variables = shapes(build(norm, auxiliary_head=auxiliary_head), 299)
    assert count_parameters(variables["params"]) == count
    assert ("batch_stats" in variables) == norm.replaces_bias


GRIDS = {  # the features of each stage, and its side for images of 299, 96 and 75
    "stem": (192, 35, 9, 7),
    "mixed_5b": (256, 35, 9, 7),
    "mixed_5c": (288, 35, 9, 7),
    "mixed_5d": (288, 35, 9, 7),
    "mixed_6a": (768, 17, 4, 3),
    "mixed_6b": (768, 17, 4, 3),
    "mixed_6c": (768, 17, 4, 3),
    "mixed_6d": (768, 17, 4, 3),
    "mixed_6e": (768, 17, 4, 3),
    "mixed_7a": (1280, 8, 1, 1),
    "mixed_7b": (2048, 8, 1, 1),
    "mixed_7c": (2048, 8, 1, 1),
}


@pytest.mark.parametrize("index, side", list(enumerate((299, 96, 75))))
def test_grids(index, side):
    model = build()
    apply = functools.partial(model.apply, train=False, capture_intermediates=True, mutable=["intermediates"])
    logits, captured = jax.eval_shape(apply, shapes(model, side), images_of(side))
    assert logits.shape == (2, 1000) and logits.dtype == jnp.float32
    outputs = captured["intermediates"]
    for name, (features, *sides) in GRIDS.items():
        (output,) = outputs[name]["__call__"]
        assert output.shape == (2, sides[index], sides[index], features), name


def test_the_sizes_inside_the_stem():
    apply = functools.partial(build().apply, train=False, capture_intermediates=True, mutable=["intermediates"])
    _, captured = jax.eval_shape(apply, shapes(build(), 299), images_of(299))
    stem = captured["intermediates"]["stem"]
    sizes = [stem[name]["__call__"][0].shape[1:] for name in ("Conv_0", "Conv_1", "Conv_2", "Dense_0", "Conv_3")]
    assert sizes == [(149, 149, 32), (147, 147, 32), (147, 147, 64), (73, 73, 80), (71, 71, 192)]


@pytest.mark.parametrize(
    "name, windows",
    [
        ("mixed_5b", [(5, 5), (3, 3), (3, 3)]),
        ("mixed_6a", [(3, 3), (3, 3), (3, 3)]),
        ("mixed_6d", [(1, 7), (7, 1), (7, 1), (1, 7), (7, 1), (1, 7)]),
        ("mixed_7a", [(3, 3), (1, 7), (7, 1), (3, 3)]),
        ("mixed_7c", [(1, 3), (3, 1), (3, 3), (1, 3), (3, 1)]),
    ],
)
def test_windows_in_order(name, windows):
    layers_of = shapes(build(), 299)["params"][name]
    assert [layers_of[f"Conv_{index}"]["kernel"].shape[:2] for index in range(len(windows))] == windows
    assert f"Conv_{len(windows)}" not in layers_of


@pytest.mark.parametrize("train", [False, True])
def test_the_auxiliary_head_has_its_parameters_from_the_start_and_changes_no_other(train):
    with_head, without = shapes(build(auxiliary_head=True), 299, train), shapes(build(), 299, train)
    assert set(with_head) == {"params", "batch_stats"}  # nothing sown
    for collection in with_head:
        assert paths(with_head[collection]["auxiliary_head"])
        assert _without_head(with_head)[collection] == without[collection]


def _without_head(variables):
    return {
        collection: {name: leaves for name, leaves in modules.items() if name != "auxiliary_head"}
        for collection, modules in variables.items()
    }


def test_auxiliary_logits_are_sown_in_training_and_only_with_a_head():
    assert set(apply_shapes(build(), 75, train=True)[1]) == {"batch_stats"}
    assert not apply_shapes(build(NONE), 75, train=True)[1]
    model = build(auxiliary_head=True)
    assert "auxiliary_logits" not in apply_shapes(model, 299, train=False)[1]
    logits, changed = apply_shapes(model, 299, train=True)
    (auxiliary,) = jax.tree.leaves(changed["auxiliary_logits"])
    assert auxiliary.shape == logits.shape == (2, 1000) and auxiliary.dtype == jnp.float32
    # The head's statistics are updated as all others are.
    assert paths(changed["batch_stats"]) == paths(shapes(model, 299)["batch_stats"])


def test_evaluation_leaves_the_auxiliary_head_out():
    model, plain = build(auxiliary_head=True), build()
    without = _without_head(shapes(model, 299))

    def program(model, variables):
        return str(jax.make_jaxpr(functools.partial(model.apply, train=False))(variables, images_of(299)))

    assert program(model, without) == program(plain, without)  # the same, and needs no parameters of the head


def test_dropout_comes_before_the_last_layer_only():
    places = []

    @dataclasses.dataclass(frozen=True)
    class Recorder:
        def __call__(self, x, place, *, train):
            places.append((x.shape, place, train))
            return x

    shapes(build(dropout=Recorder()), 75, True)
    assert places == [((2, 2048), "last", True)]
    assert InceptionV3.dropout_places == ("last",)
    logits, _ = apply_shapes(build(dropout=Dropout(0.2, "last", None)), 75, train=True)
    assert logits.shape == (2, 1000)


@pytest.mark.parametrize("side", [0, 1, 74])
def test_images_that_are_too_small(side):
    with pytest.raises(UserError, match=f"inception_v3.*{side}x{side}x3.*smallest that works is 75x75"):
        check_network(build(), (side, side, 3), 1000)


def test_an_image_must_be_large_enough_both_ways():
    with pytest.raises(UserError, match="300x74x3"):
        check_network(build(), (300, 74, 3), 1000)
    check_network(build(num_classes=7), (75, 90, 1), 7)
    with pytest.raises(UserError, match="height, width, channels"):
        check_network(build(auxiliary_head=True), (299, 3), 1000)


@pytest.mark.parametrize("side", [60, 75, 298])
def test_images_that_are_too_small_for_the_auxiliary_head(side):
    with pytest.raises(UserError, match=f"auxiliary_head=True.*{side}x{side}.*299x299.*False"):
        check_network(build(auxiliary_head=True), (side, side, 3), 1000)


@pytest.mark.parametrize("side", [300, 331])
def test_the_auxiliary_head_takes_larger_images(side):
    check_network(build(auxiliary_head=True), (side, side, 3), 1000)


def test_the_mean_pool_does_not_count_padding():
    module = inception_v3.Mixed(((inception_v3.MEAN_POOL,),), NONE, nn.initializers.he_normal())
    x = jnp.arange(12.0).reshape(1, 3, 4, 1)
    pooled = module.apply({}, x, train=False)[0, :, :, 0]
    image = x[0, :, :, 0]
    assert pooled.shape == (3, 4)
    assert pooled[0, 0] == image[:2, :2].mean() and pooled[0, 1] == image[:2, :3].mean()
    assert pooled[1, 2] == image[:3, 1:4].mean() and pooled[2, 3] == image[1:, 2:].mean()


def test_windows_of_two_sides_and_valid_padding():
    class Convolution(nn.Module):
        window: int | tuple[int, int]
        stride: int
        padding: str

        @nn.compact
        def __call__(self, x):
            fields = {"stride": self.stride, "padding": self.padding, "kernel_init": nn.initializers.ones}
            return layers.convolution(x, 1, self.window, use_bias=False, **fields)

    x = jnp.arange(56.0).reshape(1, 7, 8, 1)
    image = np.asarray(x[0, :, :, 0])

    def convolve(*fields):
        return np.asarray(Convolution(*fields).init_with_output(jax.random.key(0), x)[0][0, :, :, 0])

    wide = convolve((1, 7), 1, "SAME")
    assert wide.shape == (7, 8) and wide[2, 3] == image[2, :7].sum() and wide[2, 0] == image[2, :4].sum()
    tall = convolve((7, 1), 1, "SAME")
    assert tall.shape == (7, 8) and tall[3, 2] == image[:, 2].sum() and tall[0, 2] == image[:4, 2].sum()
    halved = convolve(3, 2, "VALID")
    assert halved.shape == (3, 3) and halved[1, 2] == image[2:5, 4:7].sum()
    np.testing.assert_array_equal(convolve((1, 1), 2, "VALID"), image[::2, ::2])


def outputs_of_training(model, variables, images):
    """Returns params -> (logits, what is sown)."""

    def outputs(params):
        apply = functools.partial(model.apply, train=True, mutable=["batch_stats", "auxiliary_logits"])
        logits, changed = apply({**variables, "params": params}, images)
        return logits, changed.get("auxiliary_logits", {})

    return outputs


@KINDS
@pytest.mark.parametrize("auxiliary_head", [False, True])
def test_the_outputs_of_training_depend_on_every_parameter(norm, auxiliary_head):
    model = build(norm, auxiliary_head=auxiliary_head)
    variables = shapes(model, 299)

    def outputs(params, others, images):
        return outputs_of_training(model, others, images)(params)

    # Read from the end of the program, not computed.
    program = jax.make_jaxpr(outputs)(variables["params"], variables, images_of(299)).jaxpr
    needed = set(program.outvars)
    for step in reversed(program.eqns):
        if needed & set(step.outvars):
            needed |= {variable for variable in step.invars if not hasattr(variable, "val")}  # literals have a value
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    for (path, _), variable in zip(leaves, program.invars, strict=False):  # the parameters come first
        assert variable in needed, path


@pytest.mark.slow  # compiles for a minute
@pytest.mark.parametrize("auxiliary_head, side, batch", [(False, 75, 4), (True, 299, 2)])
def test_every_parameter_has_a_gradient(auxiliary_head, side, batch):
    model = build(num_classes=5, auxiliary_head=auxiliary_head)
    rng = np.random.default_rng(0)

    def draw(leaf):
        return rng.standard_normal(leaf.shape, dtype=np.float32) * np.sqrt(2 / max(1, np.prod(leaf.shape[:-1])))

    params = jax.tree.map(draw, shapes(model, side)["params"])
    statistics = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes(model, side)["batch_stats"])
    images = rng.standard_normal((batch, side, side, 3), dtype=np.float32)
    function = outputs_of_training(model, {"batch_stats": statistics}, images)

    @jax.jit
    @jax.grad
    def gradient(params):
        weights = jnp.arange(batch * 5.0).reshape(batch, 5)
        return sum((weights * logits).sum() for logits in jax.tree.leaves(function(params)))

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path
