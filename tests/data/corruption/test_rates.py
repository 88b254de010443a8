"""Declared and realized rates: what is recorded, and that noise which does something else is no chance."""

import numpy as np
import pytest

from rethink.data.corruption import labels as label_noise
from rethink.data.corruption.labels import LABEL_NOISE, LabelNoise
from rethink.data.corruption.moments import make_moments
from rethink.data.corruption.rates import Counts, compare_rates
from rethink.data.corruption.spec import corrupt_split, make_corruption_spec
from rethink.data.dataset import Split
from rethink.schema.errors import UserError
from tests.data.corruption.test_spec import section

N = 2000


def count(split, spec):
    corrupted = corrupt_split(split, spec, make_moments(np.full(1, 90.0), np.full(1, 40.0)))
    changed = (corrupted.labels != corrupted.true_labels).sum()
    return Counts(len(split.ids), int(corrupted.resampled.sum()), int(changed), int(corrupted.image_changed.sum()))


def a_split(classes, n=N):
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, n).astype(np.int32)
    return Split(rng.integers(0, 256, (n, 4, 4, 1)).astype(np.uint8), labels, np.arange(n, dtype=np.uint32))


def compare(classes=10, seed=0, **fields):
    spec = make_corruption_spec(section(**fields), seed, classes, train=True)
    return compare_rates(spec, count(a_split(classes), spec), "train")


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("probability", [0.0, 0.001, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["uniform", "symmetric"])
def test_the_rates_of_every_kind_of_noise_are_those_it_declares(kind, probability, classes):
    rates = compare(classes, labels=kind, label_probability=probability)
    changed = probability if kind == "symmetric" else probability * (1 - 1 / classes)
    assert rates["labels_resampled"]["declared"] == probability
    assert rates["labels_changed"]["declared"] == pytest.approx(changed)
    for rate in rates.values():
        error = np.sqrt(rate["declared"] * (1 - rate["declared"]) / N)
        assert abs(rate["realized"] - rate["declared"]) <= 5 * error


@pytest.mark.parametrize("pixels", ["shuffled_pixels", "random_pixels", "gaussian"])
def test_the_part_of_the_images_that_changed_is_recorded(pixels):
    assert compare(pixels=pixels) == {"images_changed": {"declared": 1.0, "realized": 1.0}}


def test_clean_examples_have_no_rates():
    assert compare() == {}


def test_the_rates_of_many_seeds_are_never_taken_for_an_error():
    for seed in range(40):
        compare(seed=seed, labels="uniform", label_probability=0.5)


@pytest.mark.parametrize(
    "counts, words",
    [
        (Counts(N, N, 0, 0), "labels_changed of train: 0 of 2,000, and the declared rate is 0.9"),
        (Counts(N, N, N, 0), "labels_changed of train: 2,000 of 2,000"),
        (Counts(N, N - 1, 1800, 0), "labels_resampled of train: 1,999 of 2,000, and the declared rate is 1"),
    ],
)
def test_noise_that_does_something_else_is_an_error_of_the_program(counts, words):
    spec = make_corruption_spec(section(labels="uniform"), 0, 10, train=True)
    with pytest.raises(RuntimeError, match=words):
        compare_rates(spec, counts, "train")


def test_a_kind_whose_labels_are_not_those_it_declares_is_noticed(monkeypatch):
    keeps = LabelNoise(label_noise.keep_label, lambda classes: 1.0)
    monkeypatch.setitem(LABEL_NOISE, "broken", LabelNoise(lambda key, label, classes: label, keeps.changed))
    with pytest.raises(RuntimeError, match="the label noise 'broken' does not do what it declares"):
        compare(labels="broken", label_probability=0.5)


@pytest.mark.parametrize("pixels", ["shuffled_pixels", "random_pixels"])
@pytest.mark.parametrize("side", [1, 4])
def test_images_that_no_permutation_changes_are_refused(pixels, side):
    images = np.broadcast_to(np.arange(50, dtype=np.uint8)[:, None, None, None], (50, side, side, 3))
    split = Split(images, np.zeros(50, np.int32), np.arange(50, dtype=np.uint32))
    spec = make_corruption_spec(section(pixels=pixels), 0, 10, train=True)
    with pytest.raises(UserError, match=f"^corruption.pixels='{pixels}' leaves all 50 training images as they are"):
        compare_rates(spec, count(split, spec), "train")
