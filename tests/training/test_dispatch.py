"""How many steps a dispatch makes."""

import jax
import pytest

from rethink.configs import base
from rethink.training import dispatch


@pytest.fixture
def count_steps(monkeypatch):
    """Returns (platform, fields) -> the steps of a dispatch."""

    def count(platform, *, wanted=0, log_every=64, step_bytes=0, convolves=True):
        monkeypatch.setattr(jax, "default_backend", lambda: platform)
        config = base.get_config()
        config.train.steps_per_call, config.log.every_steps = wanted, log_every
        return dispatch.steps_per_call(config, step_bytes, has_convolutions=convolves)

    return count


@pytest.mark.parametrize("platform, convolves, suits", [("cpu", True, 1), ("cpu", False, 16), ("gpu", True, 32)])
def test_a_call_makes_the_steps_that_suit_or_what_the_config_says(count_steps, platform, convolves, suits):
    assert [count_steps(platform, wanted=wanted, convolves=convolves) for wanted in (0, 7)] == [suits, 7]


def test_rows_come_as_often_as_they_are_asked_for(count_steps):
    assert [count_steps("gpu", log_every=every) for every in (1, 20, 50)] == [1, 20, 32]


def test_a_call_brings_no_more_data_than_the_host_can_hold(count_steps):
    image_net = 1600 * 342 * 342 * 3  # of which 32 batches would take 18 GB
    assert [count_steps("gpu", step_bytes=size) for size in (image_net, 2**25)] == [1, 8]
