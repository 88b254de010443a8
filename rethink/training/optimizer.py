"""The update rule of a config: the schedule of the learning rate, and the optimizer.

Weight decay is not here: it is a regularizer, in regularization/explicit.py.
"""

from collections.abc import Callable
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
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


MOST_PARTS = 10**6  # of a step or an epoch, in which `decay_every` is exact: six decimal places, or quotients like 5/3


def _exponential(config: ConfigDict, steps_per_epoch: int, total_steps: int) -> optax.Schedule:
    """Returns a staircase: the rate falls by `decay_factor` at the end of each period, not within it.

    A period need not be whole: after a step floor(step / period) periods have ended, without any rounding.
    Source: Zhang et al. (2017), appendix A: a factor of 0.95 per training epoch.
    """
    unit = pick(DECAY_UNITS, config.decay_unit, "optimizer.decay_unit")(steps_per_epoch)
    period = Fraction(str(config.decay_every)).limit_denominator(MOST_PARTS) * unit
    # In integers: a quotient in floating point falls short of the whole number at some multiples of the period.
    steps, periods = period.as_integer_ratio()  # so many steps are so many periods
    ends = [-(-steps * n // periods) for n in range(1, min(periods, int(total_steps / period) + 1))]
    steps = min(steps, 2**31 - 1)  # as the step, an int32

    def count_periods(step: int | jax.Array) -> jax.Array:
        """Returns how many have ended, float32: whole rounds of `steps`, and those that end within the last one."""
        rounds = jnp.asarray(step // steps, jnp.float32)
        if not ends:
            return rounds
        within = jnp.searchsorted(np.array(ends, np.int32), step % steps, side="right")
        return periods * rounds + within

    return lambda step: config.learning_rate * config.decay_factor ** count_periods(step)


# (config section `optimizer`, steps per epoch, total steps) -> step -> learning rate
SCHEDULES: dict[str, Callable[[ConfigDict, int, int], optax.Schedule]] = {
    "exponential": _exponential,
    "cosine": lambda config, steps_per_epoch, total_steps: optax.cosine_decay_schedule(
        config.learning_rate, total_steps
    ),
    "constant": lambda config, steps_per_epoch, total_steps: optax.constant_schedule(config.learning_rate),
}
DECAY_UNITS: dict[str, Callable[[int], int]] = {  # steps per epoch -> steps per unit
    "epochs": lambda steps_per_epoch: steps_per_epoch,
    "steps": lambda steps_per_epoch: 1,
}


def make_schedule(config: ConfigDict, *, steps_per_epoch: int, total_steps: int) -> optax.Schedule:
    """Returns step -> learning rate, of int or int32, for the config section `optimizer`.

    Raises:
      UserError: the schedule or its unit is unknown.
    """
    return pick(SCHEDULES, config.schedule, "optimizer.schedule")(config, steps_per_epoch, total_steps)


def make_optimizer(config: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Returns the optax transformation that the config section `optimizer` names.

    Raises:
      UserError: there is none of this name, or Nesterov's momentum is on and it has none.
    """
    if config.nesterov and config.name == "adam":
        raise UserError(
            "optimizer.nesterov=True has no effect with optimizer.name=adam: set --config.optimizer.nesterov=False, or "
            "--config.optimizer.name=sgd."
        )
    return pick(OPTIMIZERS, config.name, "optimizer.name")(schedule, config)
