"""Declared and realized rates: what is recorded, and that noise which does something else is no chance."""

import numpy as np
import pytest

from rethink.data.corruption.labels import LABEL_NOISE
from rethink.data.corruption.moments import make_moments
from rethink.data.corruption.noise import DataFacts
from rethink.data.corruption.rates import compare_rates
from rethink.data.corruption.spec import corrupt_split, make_corruption_spec
from rethink.data.dataset import Split
from rethink.schema.errors import UserError
from tests.data.corruption.test_spec import section

N = 2000


def corrupt(split, spec):
    """Returns the labels and how many images changed, as of `compare_rates`."""
    corrupted = corrupt_split(split, spec, make_moments(np.full(1, 90.0), np.full(1, 40.0)))
    labels = {
        "ids": split.ids,
        "true_labels": corrupted.true_labels,
        "given_labels": corrupted.labels,
        "resampled": corrupted.resampled,
    }
    return labels, int(corrupted.image_changed.sum())


def a_split(classes, n=N):
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, n).astype(np.int32)
    return Split(rng.integers(0, 256, (n, 4, 4, 1)).astype(np.uint8), labels, np.arange(n, dtype=np.uint32))


def compare(classes=10, seed=0, **fields):
    spec = make_corruption_spec(section(**fields), DataFacts(classes, seed), train=True)
    return compare_rates(spec, *corrupt(a_split(classes), spec), "train")


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("probability", [0.0, 0.001, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["uniform", "symmetric", "pair_flip"])
def test_the_rates_of_every_kind_of_noise_are_those_it_declares(kind, probability, classes):
    rates = compare(classes, labels=kind, label_probability=probability)
    changed = probability * (1 - 1 / classes) if kind == "uniform" else probability
    assert rates["labels_resampled"]["declared"] == probability
    assert rates["labels_changed"]["declared"] == pytest.approx(changed)
    counts = np.array(rates.pop("label_counts"))
    assert np.array_equal(counts.sum(axis=1), np.bincount(a_split(classes).labels))
    assert 1 - np.trace(counts) / N == pytest.approx(rates["labels_changed"]["realized"])
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


TRUE = np.arange(N) % 10
MIXED = TRUE // 10 + np.arange(N) // 10 % 10  # as often each label to each true one


@pytest.mark.parametrize(
    "fields, given, resampled, words",
    [
        ({}, TRUE, N, "labels_changed of train: 0 of 2,000, and the declared rate is 0.9"),
        ({}, (TRUE + 1) % 10, N, "labels_changed of train: 2,000 of 2,000"),
        ({}, MIXED, N - 1, "labels_resampled of train: 1,999 of 2,000, and the declared rate is 1"),
        # As many are changed as is declared, to other classes or from others.
        ({"labels": "pair_flip"}, (TRUE + 2) % 10, N, "0 of the 200 of class 0 are given as 1, .* rate is 1"),
        ({"labels": "symmetric"}, (TRUE + 1) % 10, N, "200 of the 200 of class 0 are given as 1, .* rate is 0.111"),
        (
            {"labels": "asymmetric:cifar10", "label_probability": 0.4},
            np.where(np.isin(TRUE, (0, 1)), (TRUE + 1) % 10, TRUE),
            0.4 * N,
            "of class 0 are given as 0, .* rate is 1:",
        ),
    ],
)
def test_noise_that_does_something_else_is_an_error_of_the_program(fields, given, resampled, words):
    spec = make_corruption_spec(section(**{"labels": "uniform", **fields}), DataFacts(10, 0), train=True)
    labels = {"ids": np.arange(N), "true_labels": TRUE, "given_labels": given, "resampled": np.arange(N) < resampled}
    with pytest.raises(RuntimeError, match=words):
        compare_rates(spec, labels, 0, "train")


def test_a_kind_whose_labels_are_not_those_it_declares_is_noticed(monkeypatch):
    broken = LABEL_NOISE["symmetric"]._replace(draw=lambda example, classes, table: example.label)
    monkeypatch.setitem(LABEL_NOISE, "broken", broken)
    with pytest.raises(RuntimeError, match="the label noise 'broken' does not do what it declares"):
        compare(labels="broken", label_probability=0.5)


@pytest.mark.parametrize("pixels", ["shuffled_pixels", "random_pixels"])
@pytest.mark.parametrize("side", [1, 4])
def test_images_that_no_permutation_changes_are_refused(pixels, side):
    images = np.broadcast_to(np.arange(50, dtype=np.uint8)[:, None, None, None], (50, side, side, 3))
    split = Split(images, np.zeros(50, np.int32), np.arange(50, dtype=np.uint32))
    spec = make_corruption_spec(section(pixels=pixels), DataFacts(10, 0), train=True)
    with pytest.raises(UserError, match=f"^corruption.pixels='{pixels}' leaves all 50 training images as they are"):
        compare_rates(spec, *corrupt(split, spec), "train")
