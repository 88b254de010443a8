"""Owns the update rule: the learning-rate schedule and the optax chain of a config.

Refuses penalties: weight decay is a regularizer, in regularization/explicit.py.
"""

from collections.abc import Callable

import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from rethink.schema.errors import UserError, pick

OPTIMIZERS: dict[str, Callable[[optax.Schedule, ConfigDict], optax.GradientTransformation]] = {
    "sgd": lambda rate, config: optax.sgd(rate, momentum=config.momentum, nesterov=config.nesterov),
    "rmsprop": lambda rate, config: optax.rmsprop(
        rate,
        decay=config.second_moment_decay,
        eps=config.epsilon,
        momentum=config.momentum,
        nesterov=config.nesterov,
        eps_in_sqrt=True,
    ),
    "adam": lambda rate, config: optax.adam(rate, eps=config.epsilon),
}
SCHEDULES = ("exponential", "cosine", "constant")
DECAY_UNITS = ("epochs", "steps")


def make_schedule(config: ConfigDict, *, steps_per_epoch: int, total_steps: int) -> optax.Schedule:
    """Returns step -> learning rate for the config section `optimizer`.

    `exponential` is a staircase: the rate falls by `decay_factor` at the end of each period, not within it
    (Zhang et al. 2017, appendix A: a factor of 0.95 per training epoch).
    """
    if config.schedule == "constant":
        return optax.constant_schedule(config.learning_rate)
    if config.schedule == "cosine":
        return optax.cosine_decay_schedule(config.learning_rate, total_steps)
    period = config.decay_every * (steps_per_epoch if config.decay_unit == "epochs" else 1)
    period = min(max(1, round(period)), 2**31 - 1)  # as the step, an int32
    # In integers: a quotient in floating point falls short of the whole number at some multiples of the period.
    return lambda step: config.learning_rate * config.decay_factor ** jnp.asarray(step // period, jnp.float32)


def make_optimizer(config: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Returns the optax transformation that the config section `optimizer` names.

    Raises:
      UserError: there is none, or it has no Nesterov's momentum and is asked for it.
    """
    if config.nesterov and config.name == "adam":
        raise UserError(
            "optimizer.nesterov=True has no effect with optimizer.name=adam: set --config.optimizer.nesterov=False, or "
            "--config.optimizer.name=sgd."
        )
    return pick(OPTIMIZERS, config.name, "optimizer.name")(schedule, config)
