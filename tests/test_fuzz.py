"""Any config at all: it gives a plan that makes sense, or one line that names the field, the value and the remedy.

Nothing is trained. The slow variants try some thousand sets of overrides, the fast ones a hundred.
"""

import datetime
import functools
import json
import math
import re

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from fuzzing import FIELDS, HUGE, overrides, scribbles
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from rethink.configs import digits_random
from rethink.experiment.setup import make_run_spec
from rethink.schema import grid, validation
from rethink.schema.errors import UserError
from rethink.training import devices, state, step

FEW, MANY = 100, 1000


def make_config(changes, sweep):
    config = digits_random.get_config("mlp_tiny")
    config.update_from_flattened_dict(changes)
    if sweep:
        config.cells.true = (("corruption.labels", "none"),)
        config.cells.random = (("corruption.labels", "uniform"),)
    return config


def outcome(config):
    """Returns (config, spec) of the runs that a config stands for, of a sweep the first and the last, or the line that
    refuses it."""
    try:
        validation.check_fields(config)
        configs = [run.config for run in grid.expand_grid(config)] if validation.is_sweep(config) else [config]
        ends = configs[:: max(1, len(configs) - 1)]
        for end in ends:
            validation.validate(end)
        return [(end, make_run_spec(end)) for end in ends]
    except UserError as error:
        return str(error)


REMEDY = re.compile(r"must be|Choices|set |choose|type |write|leave|give |Its Linen modules|define|at most|Take|add ")


def check_line(line, config, changes):
    """Checks that a refusal is one printable line, names a field and its value, and a way out; it may be that a change
    is named by its value only, where it is another field that does not go with it."""
    assert line.isprintable() and len(line) < 2000, line
    fields = {**FIELDS, **dict(validation.flatten(config)), **changes}
    assert any(field in line and is_shown(value, line) for field, value in fields.items()), (line, changes)
    assert any(field in line or is_shown(value, line) for field, value in changes.items()), (line, changes)
    assert REMEDY.search(line), line


def is_shown(value, line):
    return any(text in line for text in (str(value), repr(value), repr(value)[1:-1]))


def check_spec(config, spec):
    """Checks that a plan is one that can be carried out, and that no field that is set is passed over."""
    plan, data = spec.plan, spec.pipeline.dataset
    assert 1 <= plan.total_steps < 2**31 and 1 <= plan.steps_per_epoch
    assert min(plan.steps_per_call, plan.evaluate_every, plan.checkpoint_every, plan.log_every) >= 1
    ids = np.concatenate([split.ids for split in data.splits.values()])
    assert len(set(ids)) == len(ids) and all(len(split.ids) for split in data.splits.values())
    rows = spec.pipeline.train_rows(plan.total_steps - 1, 1)[0]
    assert len(rows) == config.train.batch_size and rows.max() < len(data.train.ids)
    assert len(rows) <= len(data.train.ids) and spec.pipeline.evaluation_batch_size <= len(ids)
    for at in (0, plan.total_steps // 2, plan.total_steps - 1):
        rates = float(spec.schedule(at)), float(spec.schedule(jnp.int32(at)))
        assert all(0 <= rate < math.inf for rate in rates) and (at or min(rates) > 0), rates
        assert rates[0] == pytest.approx(rates[1], rel=1e-3, abs=1e-30)
    stopping, augment = config.early_stopping, config.augmentation
    assert stopping.monitor != "none" or not stopping.patience
    assert stopping.monitor == "none" or plan.total_steps > plan.evaluate_every
    assert augment.padding < min(spec.input_shape[:2])
    assert not (config.optimizer.nesterov and config.optimizer.name == "adam")
    assert config.filter == "*" and config.seeds == 1
    assert re.fullmatch(r"[\w.+=-]+", config.name, re.ASCII)
    for field in ("optimizer.learning_rate", "optimizer.epsilon", "optimizer.decay_factor", "batch_norm.epsilon"):
        assert 0 < np.float32(dict(validation.flatten(config))[field]) < math.inf


def check_compiled(config, spec):
    """Checks that the functions can be built, that a step keeps the shapes of the state, and that nothing is giant."""

    before = jax.eval_shape(
        functools.partial(state.start_state, spec.network.model, spec.tx, spec.input_shape), jax.random.key(0)
    )

    def evaluation_step(given, batch):
        return given, spec.evaluation_step(given, batch, jnp.ones(batch.labels.shape))

    sizes = config.train.batch_size, spec.pipeline.evaluation_batch_size
    for size, program in zip(sizes, (spec.make_train_step(config.seed), evaluation_step), strict=True):
        labels = jax.ShapeDtypeStruct((1, size), jnp.int32)
        images = jax.ShapeDtypeStruct((1, size, *spec.pipeline.dataset.train.image_shape), jnp.uint8)
        ids = jax.ShapeDtypeStruct((1, size), jnp.uint32)
        encoding = jax.ShapeDtypeStruct((1, 2, images.shape[-1]), jnp.float32)
        batch = step.Batch(images, labels, labels, ids, encoding)
        mapped = jax.vmap(program, in_axes=(None, 0), out_axes=(None, 0), axis_name=devices.AXIS)
        jaxpr, (after, _) = jax.make_jaxpr(mapped, return_shape=True)(before, batch)
        assert shapes(after) == shapes(before)
        assert largest(jaxpr.jaxpr) < 2**30


def shapes(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): (leaf.shape, leaf.dtype) for path, leaf in leaves}


def largest(jaxpr):
    """Returns the bytes of the largest array in a program."""
    sizes = [math.prod(getattr(out.aval, "shape", ())) * 4 for equation in jaxpr.eqns for out in equation.outvars]
    inner = [largest(inside) for equation in jaxpr.eqns for inside in jax.extend.core.jaxprs_in_params(equation.params)]
    return max([0, *sizes, *inner])


def check(changes, sweep, compiled=False):
    made = make_config(changes, sweep)
    result = outcome(made)
    if isinstance(result, str):
        return check_line(result, made, changes)
    for config, spec in result:
        json.loads(validation.to_json(config))
        check_spec(config, spec)
        if compiled:
            check_compiled(config, spec)


def check_words(command, words):
    """Checks that a command line is a config of the right types, or refused in one line that shows what was wrong."""
    try:
        config = command(*words)
    except UserError as error:
        line = str(error)
        assert line.isprintable(), line
        named = ("config", "Unknown command line flag", "is no flag", "axes")
        assert any(words_of in line for words_of in named), (line, words)
        return None
    flat = dict(validation.flatten(config))
    assert {field: type(flat[field]) for field in FIELDS} == {field: type(value) for field, value in FIELDS.items()}
    return config


def fuzz(count):
    return effort(
        max_examples=count,
        deadline=datetime.timedelta(seconds=60),
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )


@fuzz(FEW)
@given(changes=overrides(), sweep=st.booleans())
def test_any_config_gives_a_plan_or_one_line(changes, sweep):
    check(changes, sweep)


@fuzz(FEW)
@given(words=scribbles())
def test_any_command_line_gives_a_config_or_one_line(command, words):
    config = check_words(command, words)
    if config and not config.cells and config.data.name == "digits":
        assert isinstance(outcome(config), list | str)


@fuzz(FEW)
@given(changes=overrides())
def test_an_override_says_what_is_set_in_a_file(command, changes):
    changes = {field: value for field, value in changes.items() if value is not None and value not in HUGE}
    config = command(*(f"--config.{field}={value}" for field, value in changes.items()))
    flat = dict(validation.flatten(config))
    assert {field: repr(flat[field]) for field in changes} == {field: repr(value) for field, value in changes.items()}


@pytest.mark.slow
@fuzz(MANY)
@given(changes=overrides(), sweep=st.booleans())
def test_every_plan_of_many_compiles(changes, sweep):
    check(changes, sweep, compiled=True)


@pytest.mark.slow
@fuzz(MANY)
@given(words=scribbles())
def test_any_command_line_of_many_gives_a_config_or_one_line(command, words):
    check_words(command, words)
