"""Label noise: what is drawn, from which distribution, and that an example's id alone decides it."""

import jax
import numpy as np
import pytest
from scipy import stats

from rethink import randomness
from rethink.data.corruption.labels import corrupt_labels
from rethink.schema.errors import UserError

N, K = 50_000, 10
PLAIN = ("none", "uniform", "symmetric", "pair_flip")  # kinds without a table; of the others: test_noise_kinds.py
FEW = 1001  # one shape for all that needs less, as most of the time goes into compilation
IDS = np.arange(N, dtype=np.uint32)
LABELS = np.random.default_rng(0).integers(0, K, N).astype(np.int32)
SWITCHES = {
    "x64": lambda: jax.enable_x64(True),
    "rbg": lambda: jax.default_prng_impl("rbg"),
}


def redraw(probability, kind="uniform", *, seed=0, ids=IDS, labels=LABELS, num_classes=K):
    """Returns (given labels, resampled) as host arrays."""
    key = randomness.key_for(seed, "labels", "train")
    drawn = corrupt_labels(key, ids, labels, np.float32(probability), kind=kind, num_classes=num_classes)
    return jax.device_get(drawn)


def standard_errors(fraction, expected, n):
    return abs(fraction - expected) / np.sqrt(expected * (1 - expected) / n)


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("num_classes", [2, 10])
@pytest.mark.parametrize("probability", [0.05, 0.4, 0.9])
def test_a_uniform_redraw_changes_the_share_of_labels_that_is_not_resampled_as_it_was(probability, num_classes):
    labels = LABELS % num_classes
    given, resampled = redraw(probability, labels=labels, num_classes=num_classes)
    assert standard_errors(resampled.mean(), probability, N) < 4
    assert standard_errors((given != labels).mean(), probability * (num_classes - 1) / num_classes, N) < 4
    assert not (given != labels)[~resampled].any()


@pytest.mark.parametrize("probability", [0.05, 0.4, 0.9])
def test_a_symmetric_redraw_never_gives_the_true_class(probability):
    given, resampled = redraw(probability, "symmetric")
    assert standard_errors((given != LABELS).mean(), probability, N) < 4
    np.testing.assert_array_equal(given != LABELS, resampled)


@pytest.mark.parametrize("kind", PLAIN)
def test_probability_0_is_the_identity(kind):
    assert_same(redraw(0.0, kind), (LABELS, np.zeros(N, bool)))


def test_no_corruption_is_the_identity_at_every_probability():
    assert_same(redraw(1.0, "none"), (LABELS, np.zeros(N, bool)))


@pytest.mark.parametrize("kind", PLAIN[1:])
def test_probability_1_redraws_all(kind):
    given, resampled = redraw(1.0, kind)
    assert resampled.all()
    changed = (given != LABELS).mean()
    assert changed == 1 if kind != "uniform" else standard_errors(changed, 0.9, N) < 4


@pytest.mark.parametrize("kind", PLAIN[1:])
def test_the_resampled_sets_of_growing_probabilities_are_nested_with_the_same_new_labels(kind):
    levels = [redraw(probability, kind) for probability in (0.1, 0.3, 0.8, 1.0)]
    for (fewer, inner), (more, outer) in zip(levels[:-1], levels[1:], strict=True):
        assert outer[inner].all()
        assert outer.sum() > inner.sum()
        np.testing.assert_array_equal(fewer[inner], more[inner])


def test_uniform_labels_are_uniform_whatever_the_true_class():
    given, _ = redraw(1.0)
    counts = np.zeros((K, K))
    np.add.at(counts, (LABELS, given), 1)
    assert stats.chisquare(counts.sum(axis=0)).pvalue > 1e-3
    assert stats.chi2_contingency(counts).pvalue > 1e-3


def test_which_label_is_drawn_does_not_depend_on_which_are_resampled():
    given, resampled = redraw(0.1)
    assert stats.chisquare(np.bincount(given[resampled], minlength=K)).pvalue > 1e-3


def test_symmetric_labels_are_uniform_over_the_other_classes():
    given, _ = redraw(1.0, "symmetric")
    shifts = np.bincount((given - LABELS) % K, minlength=K)
    assert shifts[0] == 0
    assert stats.chisquare(shifts[1:]).pvalue > 1e-3


def test_two_classes_are_swapped_by_a_symmetric_redraw():
    labels = LABELS % 2
    given, _ = redraw(1.0, "symmetric", labels=labels, num_classes=2)
    np.testing.assert_array_equal(given, 1 - labels)


@pytest.mark.parametrize("kind", PLAIN)
def test_labels_stay_int32_within_the_classes(kind):
    given, resampled = redraw(0.5, kind)
    assert (given.dtype, resampled.dtype) == (np.int32, bool)
    assert set(np.unique(given)) == set(range(K))


def test_labels_are_the_same_at_every_call_and_those_of_every_earlier_version():
    assert_same(redraw(0.5), redraw(0.5))
    assert redraw(1.0)[0][:12].tolist() == [0, 2, 7, 7, 7, 6, 3, 8, 5, 6, 2, 4]


@pytest.mark.parametrize("kind", PLAIN[1:])
def test_the_label_of_an_example_depends_on_its_id_and_not_on_its_place(kind):
    whole = redraw(0.5, kind)
    order = np.random.default_rng(2).permutation(N)
    for rows in (order, order[:FEW], np.repeat(order[:FEW:7], 7)):
        part = redraw(0.5, kind, ids=IDS[rows], labels=LABELS[rows])
        assert_same(part, [values[rows] for values in whole])


def test_labels_of_high_ids_are_no_copies_of_those_of_low_ids():
    low = redraw(1.0, ids=IDS[:FEW], labels=LABELS[:FEW])[0]
    high = redraw(1.0, ids=IDS[:FEW] + np.uint32(2**31), labels=LABELS[:FEW])[0]
    assert standard_errors((low == high).mean(), 1 / K, FEW) < 4


@pytest.mark.slow
def test_labels_are_the_same_eager_and_jitted():
    ids, labels = IDS[:16], LABELS[:16]
    jitted = redraw(0.5, ids=ids, labels=labels)
    with jax.disable_jit():
        assert_same(redraw(0.5, ids=ids, labels=labels), jitted)


def test_labels_are_the_same_inside_another_program():
    ids, labels = IDS[:FEW], LABELS[:FEW]

    @jax.jit
    def step(ids, labels):
        key = randomness.key_for(0, "labels", "train")
        return corrupt_labels(key, ids, labels, np.float32(0.5), kind="uniform", num_classes=K)

    assert_same(jax.device_get(step(ids, labels)), redraw(0.5, ids=ids, labels=labels))


def test_labels_of_other_seeds_are_independent():
    first, _ = redraw(1.0)
    second, _ = redraw(1.0, seed=1)
    assert standard_errors((first == second).mean(), 1 / K, N) < 4


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("kind", PLAIN[1:])
def test_no_global_switch_changes_a_label(kind, switch):
    plain = redraw(0.5, kind, ids=IDS[:FEW], labels=LABELS[:FEW])
    with SWITCHES[switch]():
        assert_same(redraw(0.5, kind, ids=IDS[:FEW], labels=LABELS[:FEW]), plain)


@pytest.mark.parametrize("kind", ["pair_flop", "", "Uniform"])
def test_an_unknown_kind_of_noise_is_refused(kind):
    with pytest.raises(UserError, match=f"^corruption.labels='{kind}' is unknown.*Choices: none, uniform, symmetric"):
        redraw(0.5, kind, ids=IDS[:FEW], labels=LABELS[:FEW])
