"""Mixup: the shares that are drawn, the partners on several devices, and two images mixed by hand."""

import jax
import numpy as np
import pytest

from rethink.regularization.mixup import Mixup, _make_quantiles, mix


@pytest.mark.parametrize("alpha", [1e-37, 0.2, 1.0, 8.0, 1e37])
def test_shares_have_mean_and_variance_of_the_beta_distribution(alpha):
    shares = _make_quantiles(alpha)
    assert shares.dtype == np.float32 and 0 <= shares.min() and shares.max() <= 1
    assert shares.mean(dtype=np.float64) == pytest.approx(0.5, abs=1e-6)
    assert shares.var(dtype=np.float64) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=1e-4, abs=1e-12)


def test_every_share_is_drawn_as_often_as_another():
    """The quarters of Beta(1, 1) are those of 0..1; each is a binomial of n = 20,000."""
    keys = jax.random.split(jax.random.key(0), 20_000)
    shares = np.asarray(jax.jit(jax.vmap(Mixup(1.0, "devices").draw_share))(keys))
    counts = np.histogram(shares, bins=4, range=(0, 1))[0]
    assert np.all(np.abs(counts - 5000) < 4 * np.sqrt(20_000 * 0.25 * 0.75))


@pytest.mark.parametrize("devices", [1, 2, 3, 6])
def test_the_partner_is_the_next_row_of_the_batch_on_whichever_device(devices):
    batch = {"images": np.arange(12.0, dtype=np.float32).reshape(6, 2), "labels": np.arange(6, dtype=np.int32)}
    parts = jax.tree.map(lambda rows: rows.reshape(devices, -1, *rows.shape[1:]), batch)
    partners = jax.vmap(Mixup(0.2, "devices").take_partners, axis_name="devices")(parts)
    for name, rows in batch.items():
        np.testing.assert_array_equal(partners[name].reshape(rows.shape), np.roll(rows, -1, 0))


def test_two_images_and_their_losses_are_mixed_by_their_shares():
    own, partner = (np.float32([1, 0]), np.float32(2.0)), (np.float32([0, 0.5]), np.float32(4.0))
    image, loss = mix(own, partner, np.float32(0.25))
    np.testing.assert_array_equal(image, [0.25, 0.375])
    assert loss == 3.5
    assert mix(7.0, 7.0, np.float32(0.3)) == 7.0
