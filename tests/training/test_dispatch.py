"""How many steps a dispatch makes."""

import jax
import pytest

from rethink.training import dispatch


@pytest.mark.parametrize("platform, convolves, suits", [("cpu", True, 1), ("cpu", False, 16), ("gpu", True, 32)])
def test_a_call_makes_the_steps_that_suit_or_what_the_config_says(monkeypatch, platform, convolves, suits):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    found = [dispatch.steps_per_call(wanted, log_every=64, step_bytes=0, convolves=convolves) for wanted in (0, 7)]
    assert found == [suits, 7]


def test_rows_come_as_often_as_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    found = [dispatch.steps_per_call(0, log_every=every, step_bytes=0, convolves=True) for every in (1, 20, 50)]
    assert found == [1, 20, 32]


def test_a_call_brings_no_more_data_than_the_host_can_hold(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    image_net = 1600 * 342 * 342 * 3  # of which 32 batches would take 18 GB
    assert [
        dispatch.steps_per_call(0, log_every=64, step_bytes=size, convolves=True) for size in (image_net, 2**25)
    ] == [1, 8]
