"""The design of a run: fields that are valid alone, and are refused together or with these data, in one line."""

import re

import jax
import jax.numpy as jnp
import pytest

from rethink.configs import digits_true
from rethink.experiment import setup
from rethink.experiment.setup import make_run_spec
from rethink.schema import validation
from rethink.schema.errors import UserError
from rethink.training import devices, state, step


def make_config(model="mlp_tiny", **fields):
    config = digits_true.get_config(model)
    config.update_from_flattened_dict({field.replace("__", "."): value for field, value in fields.items()})
    validation.validate(config)
    return config


WATCHED = {"early_stopping__monitor": "oracle", "train__total_epochs": 3.0}
TOGETHER = [  # fields -> what the line says
    (
        {"train__batch_size": 1438},
        ["train.batch_size=1438", "1437 training", "--config.train.batch_size to at most 1437"],
    ),
    ({"train__batch_size": 2**20, "data__remainder": "drop"}, ["train.batch_size=1048576", "at most 1437"]),
    ({"data__train_examples": 100}, ["train.batch_size=128", "data.train_examples=100", "at most 100"]),
    ({"data__validation_fraction": 0.95}, ["the 71 training examples", "data.validation_fraction=0.95", "at most 71"]),
    ({"data__validation_fraction": 0.9999}, ["data.validation_fraction=0.9999 holds out all", "0.1"]),
    ({"data__test_fraction": 0.9999}, ["data.test_fraction=0.9999 takes 1797 of the 1797"]),
    ({"data__test_split": "train"}, ["both 'train'", "--config.data.test_split"]),
    ({"preprocess__crop": 9}, ["preprocess.crop=9", "at most 8"]),
    ({"preprocess__crop": 1}, ["preprocess.whiten=per_image", "--config.preprocess.crop to 2"]),
    (
        {"augmentation__crop": "random", "augmentation__padding": 4096},
        ["augmentation.padding=4096", "8x8", "--config.augmentation.padding to at most 7"],
    ),
    ({"augmentation__padding": 2}, ["augmentation.padding=2", "--config.augmentation.crop=random"]),
    ({"augmentation__saturation": 0.1}, ["augmentation.saturation=0.1", "3 channels"]),
    ({"dropout__rate": 0.5, "dropout__place": "hidden", "model": "conv_tiny"}, ["dropout.place='hidden'", "=last"]),
    ({"early_stopping__patience": 3}, ["early_stopping.patience=3", "--config.early_stopping.monitor=validation"]),
    ({"early_stopping__monitor": "validation"}, ["early_stopping.monitor=validation", "data.validation_fraction=0.1"]),
    ({**WATCHED, "evaluate__every_epochs": 3.0}, ["early_stopping.monitor=oracle", "--config.evaluate.every_epochs"]),
    ({**WATCHED, "evaluate__every_epochs": 1e6}, ["early_stopping.monitor=oracle", "--config.evaluate.every_epochs"]),
    (
        {"optimizer__name": "adam", "optimizer__nesterov": True},
        ["optimizer.nesterov=True", "--config.optimizer.name=sgd"],
    ),
    (
        {"augmentation__mixup": 0.2, "train__batch_size": 1},
        ["augmentation.mixup=0.2", "train.batch_size=1", "--config.augmentation.mixup=0.0"],
    ),
    ({"data__feed": "streamd"}, ["data.feed='streamd'", "'streamed'"]),
]


@pytest.mark.parametrize("fields, words", TOGETHER)
def test_what_does_not_go_together_is_refused_in_one_line(fields, words):
    with pytest.raises(UserError) as caught:
        make_run_spec(make_config(**fields))
    assert str(caught.value).isprintable()
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"train__batch_size": 1437},
        {"train__batch_size": 1437, "data__remainder": "drop"},
        {"augmentation__crop": "random", "augmentation__padding": 7},
        {"augmentation__crop": "inception", "preprocess__crop": 1, "preprocess__whiten": "symmetric"},
        {**WATCHED, "evaluate__every_epochs": 1.5},
        {"train__total_epochs": 1e6, "train__batch_size": 1},
        {"weight_decay__kind": "l2"},
        {"weight_decay__kind": "decoupled"},
    ],
)
def test_what_goes_together_at_the_edge_is_not_refused(fields):
    design = make_run_spec(make_config(**fields))
    assert 1 <= design.plan.total_steps < 2**31


def test_steps_that_the_programs_cannot_count_are_refused(monkeypatch):
    monkeypatch.setattr(setup, "MOST_STEPS", 1200)
    assert make_run_spec(make_config(train__total_epochs=100.0)).plan.total_steps == 1200
    with pytest.raises(UserError, match="train.total_epochs=101.0 makes 1,212 steps .* to at most 100"):
        make_run_spec(make_config(train__total_epochs=101.0))


@pytest.mark.parametrize("configured, size", [(1, 1), (1000, 1000), (1437, 1437), (2**20, 1437)])
def test_an_evaluation_batch_is_no_larger_than_the_longest_split(configured, size):
    config = make_config(evaluate__batch_size=configured)
    assert make_run_spec(config).pipeline.evaluation_batch_size == size


@pytest.mark.parametrize("unit", ["epochs", "steps"])
def test_the_rate_of_a_decay_in_a_far_future_can_be_computed(unit):
    schedule = make_run_spec(make_config(optimizer__decay_every=1e9, optimizer__decay_unit=unit)).schedule
    assert float(schedule(10**9 - 1)) == float(schedule(jnp.int32(10**9 - 1))) == pytest.approx(0.1)


def test_a_decay_that_touches_nothing_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    (tmp_path / "own_scale.py").write_text(
        "import flax.linen as nn\n\nclass Scale(nn.Module):\n    num_classes: int\n\n    @nn.compact\n"
        "    def __call__(self, images, *, train):\n"
        "        scale = self.param('scale', nn.initializers.ones, (64, self.num_classes))\n"
        "        return images.reshape(len(images), -1) @ scale\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    make_run_spec(make_config("own_scale:Scale"))
    for kind in ("l2", "decoupled"):
        with pytest.raises(UserError, match=f"weight_decay.kind={kind} touches nothing"):
            make_run_spec(make_config("own_scale:Scale", weight_decay__kind=kind))


PRODUCTS = ("dot_general", "conv_general_dilated")


def trace_steps(config):
    """Returns the traced steps of training and of evaluation, on one device of two."""
    spec = make_run_spec(config)
    start = jax.eval_shape(lambda: state.start_state(spec.network.model, spec.tx, spec.input_shape, jax.random.key(0)))
    shape, labels = spec.pipeline.dataset.train.image_shape, jax.ShapeDtypeStruct((2, 4), jnp.int32)
    ids = jax.ShapeDtypeStruct((2, 4), jnp.uint32)
    encoding = jax.ShapeDtypeStruct((2, 2, shape[-1]), jnp.float32)
    batch = step.Batch(jax.ShapeDtypeStruct((2, 4, *shape), jnp.uint8), labels, labels, ids, encoding)

    def evaluate(given, batch):
        return spec.evaluation_step(given, batch, jnp.ones(4))

    for function in (spec.make_train_step(config.seed), evaluate):
        mapped = jax.jit(jax.vmap(function, in_axes=(None, 0), axis_name=devices.AXIS))
        yield mapped.trace(start, batch)


def products(jaxpr):
    """Yields the matrix products and convolutions of a computation, and of all that it calls."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in PRODUCTS:
            yield equation
        for inside in jax.extend.core.jaxprs_in_params(equation.params):
            yield from products(inside)


PRECISIONS = [
    ("float32", "auto", "HIGHEST"),
    ("float32", "high", "HIGH"),
    ("float32", "default", "DEFAULT"),
    ("bfloat16", "auto", "DEFAULT"),
    ("bfloat16", "highest", "HIGHEST"),
]


@pytest.mark.parametrize(
    "model, precision, matmul, resolved",
    [
        pytest.param(model, *precision, marks=pytest.mark.slow if model == "alexnet" and number != 1 else ())
        for model in ("mlp_tiny", "conv_tiny", "alexnet")
        for number, precision in enumerate(PRECISIONS)
    ],
)
def test_every_product_of_training_and_evaluation_has_the_precision_that_is_configured(
    model, precision, matmul, resolved
):
    config = make_config(model, train__precision=precision, train__matmul_precision=matmul, augmentation__rotation=9.0)
    # A network's own precision is kept: local response normalization asks for the highest.
    allowed = {resolved, "HIGHEST"} if model == "alexnet" else {resolved}
    for trace, fewest in zip(trace_steps(config), (3, 1), strict=True):  # forward, and the gradients
        found = [equation.params["precision"] for equation in products(trace.jaxpr.jaxpr)]
        assert len(found) >= fewest and {value.name for pair in found for value in pair} == allowed
        # So has what the compiler is given.
        lines = [
            line
            for line in trace.lower().as_text().splitlines()
            if re.search("stablehlo.(dot_general|convolution)", line)
        ]
        named = [set(re.findall("DEFAULT|HIGHEST|HIGH", line)) for line in lines]
        assert len(named) == len(found) and all(named) and set.union(*named) == allowed


def test_processes_with_different_examples_are_refused(monkeypatch):
    config = make_config()
    own = setup._describe_examples(setup.open_dataset_once(config))
    config.data.train_examples = 100
    monkeypatch.setattr(
        setup.distributed, "all_gather_text", lambda text: [text, own] if len(text) == len(own) else [""]
    )
    with pytest.raises(UserError, match="processes of this run have different examples in digits .*same files"):
        setup.open_dataset_once(config)
