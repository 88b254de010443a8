"""The randomization tests: what is drawn, from which distribution, and that an example's id alone decides it."""

import functools

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import stats

from rethink import randomness
from rethink.data.corruption import spec
from rethink.data.corruption.labels import LABEL_NOISE, corrupt_labels
from rethink.data.corruption.pixels import PIXEL_CORRUPTION, corrupt_images, count_values, make_moments, measure_moments
from rethink.data.corruption.spec import CHUNK, corrupt_split, make_corruption_spec
from rethink.data.dataset import Split

N, K = 50_000, 10
FEW = 1001  # one shape for all that needs less, as most of the time goes into compilation
IDS = np.arange(N, dtype=np.uint32)
LABELS = np.random.default_rng(0).integers(0, K, N).astype(np.int32)
SWITCHES = {
    "x64": lambda: jax.enable_x64(True),
    "rbg": lambda: jax.default_prng_impl("rbg"),
}
PIXEL_KINDS = [
    (kind, together) for kind in PIXEL_CORRUPTION for together in (True, False) if together or kind.endswith("pixels")
]
MOMENTS = make_moments(np.array([125.3, 33.3, 240.0], np.float32), np.array([63.0, 78.6, 20.0], np.float32))


def redraw(probability, kind="uniform", *, seed=0, ids=IDS, labels=LABELS, num_classes=K):
    """Returns (given labels, resampled) as host arrays."""
    key = randomness.key_for(seed, "labels", "train")
    drawn = corrupt_labels(key, ids, labels, np.float32(probability), kind=kind, num_classes=num_classes)
    return jax.device_get(drawn)


def destroy(images, kind, *, together=True, seed=0, ids=None, moments=MOMENTS):
    """Returns the images with their pixels corrupted, as a host array."""
    ids = np.arange(len(images), dtype=np.uint32) if ids is None else ids
    key = randomness.key_for(seed, "pixels")
    return np.asarray(corrupt_images(key, ids, images, moments, kind=kind, channels_together=together))


def some_images(channels=3):
    return np.random.default_rng(1).integers(0, 256, (FEW, 8, 8, channels)).astype(np.uint8)


def standard_errors(fraction, expected, n):
    return abs(fraction - expected) / np.sqrt(expected * (1 - expected) / n)


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("num_classes", [2, 10])
@pytest.mark.parametrize("probability", [0.05, 0.4, 0.9])
def test_a_uniform_redraw_changes_the_share_of_labels_that_is_not_redrawn_as_it_was(probability, num_classes):
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


@pytest.mark.parametrize("kind", LABEL_NOISE)
def test_probability_0_is_the_identity(kind):
    assert_same(redraw(0.0, kind), (LABELS, np.zeros(N, bool)))


def test_no_corruption_is_the_identity_at_every_probability():
    assert_same(redraw(1.0, "none"), (LABELS, np.zeros(N, bool)))


@pytest.mark.parametrize("kind", ["uniform", "symmetric"])
def test_probability_1_redraws_all(kind):
    given, resampled = redraw(1.0, kind)
    assert resampled.all()
    changed = (given != LABELS).mean()
    assert changed == 1 if kind == "symmetric" else standard_errors(changed, 0.9, N) < 4


@pytest.mark.parametrize("kind", ["uniform", "symmetric"])
def test_the_redrawn_sets_of_growing_probabilities_are_nested_with_the_same_new_labels(kind):
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


def test_which_label_is_drawn_does_not_depend_on_which_are_redrawn():
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


@pytest.mark.parametrize("kind", LABEL_NOISE)
def test_labels_stay_int32_within_the_classes(kind):
    given, resampled = redraw(0.5, kind)
    assert (given.dtype, resampled.dtype) == (np.int32, bool)
    assert set(np.unique(given)) == set(range(K))


def test_labels_are_the_same_at_every_call_and_those_of_every_earlier_version():
    assert_same(redraw(0.5), redraw(0.5))
    assert redraw(1.0)[0][:12].tolist() == [0, 2, 7, 7, 7, 6, 3, 8, 5, 6, 2, 4]


@pytest.mark.parametrize("kind", ["uniform", "symmetric"])
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


def test_labels_are_the_same_eager_jitted_and_inside_another_program():
    ids, labels = IDS[:16], LABELS[:16]
    jitted = redraw(0.5, ids=ids, labels=labels)
    with jax.disable_jit():
        assert_same(redraw(0.5, ids=ids, labels=labels), jitted)

    @jax.jit
    def step(ids, labels):
        key = randomness.key_for(0, "labels", "train")
        return corrupt_labels(key, ids, labels, np.float32(0.5), kind="uniform", num_classes=K)

    assert_same(jax.device_get(step(ids, labels)), jitted)


def test_labels_of_other_seeds_are_independent():
    first, _ = redraw(1.0)
    second, _ = redraw(1.0, seed=1)
    assert standard_errors((first == second).mean(), 1 / K, N) < 4


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("kind", ["uniform", "symmetric"])
def test_no_global_switch_changes_a_label(kind, switch):
    plain = redraw(0.5, kind, ids=IDS[:FEW], labels=LABELS[:FEW])
    with SWITCHES[switch]():
        assert_same(redraw(0.5, kind, ids=IDS[:FEW], labels=LABELS[:FEW]), plain)


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("kind, together", PIXEL_KINDS)
def test_no_global_switch_changes_a_pixel(kind, together, switch):
    images = some_images()
    plain = destroy(images, kind, together=together)
    with SWITCHES[switch]():
        np.testing.assert_array_equal(destroy(images, kind, together=together), plain, strict=True)


@pytest.mark.parametrize("kind, together", PIXEL_KINDS)
def test_the_pixels_of_an_example_depend_on_its_id_and_not_on_its_place(kind, together):
    images = some_images()
    ids = np.arange(len(images), dtype=np.uint32) * 13
    corrupt = functools.partial(destroy, kind=kind, together=together)
    whole = corrupt(images, ids=ids)
    assert (whole.dtype, whole.shape) == (np.uint8, images.shape)
    np.testing.assert_array_equal(corrupt(images, ids=ids), whole)
    order = np.random.default_rng(3).permutation(len(images))
    for rows in (order, order[:7], np.array([5] * 7)):
        np.testing.assert_array_equal(corrupt(images[rows], ids=ids[rows]), whole[rows])


@pytest.mark.parametrize("kind, together", [("random_pixels", True), ("gaussian", True)])
def test_pixels_are_the_same_inside_another_program(kind, together):
    images, ids = some_images(), np.arange(FEW, dtype=np.uint32)

    @jax.jit
    def step(ids, images):
        key = randomness.key_for(0, "pixels")
        seen = corrupt_images(key, ids, images, MOMENTS, kind=kind, channels_together=together)
        return seen, seen.astype(np.float32).mean()

    np.testing.assert_array_equal(step(ids, images)[0], destroy(images, kind, together=together))


@pytest.mark.parametrize("kind, together", [case for case in PIXEL_KINDS if case[0] != "none"])
def test_pixels_of_another_seed_differ(kind, together):
    images = some_images()
    assert (destroy(images, kind, together=together) != destroy(images, kind, together=together, seed=1)).any()


def test_no_pixels_are_touched_without_a_kind():
    images = some_images()
    np.testing.assert_array_equal(destroy(images, "none"), images, strict=True)


def index_images(n, together):
    """Images whose values name their place: of the pixel in every channel, or of the value itself."""
    places = np.arange(64).repeat(3) if together else np.arange(8 * 8 * 3)
    return np.broadcast_to(places.reshape(8, 8, 3).astype(np.uint8), (n, 8, 8, 3))


def places(images, together):
    """What stood where, read off index images that were corrupted: [n, places]."""
    pixels = images.reshape(len(images), -1, 3)
    if not together:
        return pixels.reshape(len(images), -1)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize("together", [True, False])
def test_shuffled_pixels_share_one_permutation(together):
    count = 64 if together else 192
    moved = places(destroy(index_images(FEW, together), "shuffled_pixels", together=together), together)
    assert (moved == moved[0]).all()
    assert sorted(moved[0]) == list(range(count))
    assert (moved[0] != np.arange(count)).mean() > 0.9

    images = some_images()
    shuffled = destroy(images, "shuffled_pixels", together=together, ids=np.arange(FEW, dtype=np.uint32) + 500)
    parts = images.reshape(FEW, count, -1)
    np.testing.assert_array_equal(shuffled.reshape(FEW, count, -1), parts[:, moved[0]])


@pytest.mark.parametrize("together", [True, False])
def test_random_pixels_have_a_permutation_for_each_image(together):
    count = 64 if together else 192
    moved = places(destroy(index_images(FEW, together), "random_pixels", together=together), together)
    assert (np.sort(moved, axis=1) == np.arange(count)).all()
    assert len({tuple(order) for order in moved}) == FEW
    some = moved[:60]
    same_place = (some[:, None] == some[None]).mean(axis=-1)[~np.eye(60, dtype=bool)]
    assert same_place.max() < 0.2


def test_random_pixels_take_every_permutation_equally_often():
    n = 12_000
    corner = np.broadcast_to(np.arange(4, dtype=np.uint8).reshape(2, 2, 1), (n, 2, 2, 1))
    _, counts = np.unique(destroy(corner, "random_pixels").reshape(n, 4), axis=0, return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["shuffled_pixels", "random_pixels"])
def test_moved_pixels_keep_their_values(kind):
    images = some_images()
    together = destroy(images, kind, together=True)[:60]
    apart = destroy(images, kind, together=False)[:60]
    images = images[:60]

    def triples(pixels):
        return [sorted(map(tuple, image.reshape(-1, 3).tolist())) for image in pixels]

    assert triples(together) == triples(images)
    for original, mixed in zip(images, apart, strict=True):
        np.testing.assert_array_equal(np.sort(mixed.ravel()), np.sort(original.ravel()))
        assert (np.sort(mixed[..., 0].ravel()) != np.sort(original[..., 0].ravel())).any()
    assert triples(apart) != triples(images)


def clipped_gaussian(mean, std):
    """The probabilities of 0..255 when a Gaussian is rounded and clipped."""
    edges = stats.norm.cdf(np.arange(-0.5, 256), mean, std)
    edges[0], edges[-1] = 0, 1
    return np.diff(edges)


def test_gaussian_images_have_the_distribution_of_a_rounded_and_clipped_gaussian():
    images = destroy(np.zeros((FEW, 8, 8, 3), np.uint8), "gaussian")
    values = np.arange(256)
    for channel, (mean, std) in enumerate(zip(MOMENTS.mean, MOMENTS.std, strict=True)):
        seen, chances = images[..., channel].ravel(), clipped_gaussian(mean, std)
        expected = chances @ values
        variance = chances @ (values - expected) ** 2
        fourth = chances @ (values - expected) ** 4
        assert abs(seen.mean() - expected) < 4 * np.sqrt(variance / seen.size)
        assert abs(seen.var() - variance) < 4 * np.sqrt((fourth - variance**2) / seen.size)
        for end in (0, 255):
            if chances[end] > 1e-3:
                assert standard_errors((seen == end).mean(), chances[end], seen.size) < 4
        common = chances * seen.size > 10
        counts = np.bincount(seen, minlength=256)[common]
        wanted = chances[common] / chances[common].sum() * counts.sum()
        assert stats.chisquare(counts, wanted).pvalue > 1e-3


def test_gaussian_values_are_independent_of_each_other_and_of_the_image():
    zeros, others = np.zeros((FEW, 8, 8, 3), np.uint8), some_images()
    images = destroy(zeros, "gaussian")
    np.testing.assert_array_equal(destroy(others, "gaussian"), images)
    assert len(np.unique(images.reshape(FEW, -1), axis=0)) == FEW
    values = images[:, :2, :2].reshape(FEW, 12).astype(float)
    correlation = np.corrcoef(values.T)[~np.eye(12, dtype=bool)]
    assert abs(correlation).max() < 5 / np.sqrt(FEW)


def test_gaussian_images_without_spread_are_the_mean():
    flat = make_moments(np.array([7.4, 300.0, -3.0], np.float32), np.zeros(3, np.float32))
    images = destroy(some_images(), "gaussian", moments=flat)
    np.testing.assert_array_equal(images, np.broadcast_to(np.uint8([7, 255, 0]), images.shape))


@pytest.mark.parametrize("channels", [1, 3])
def test_moments_are_those_of_numpy_in_float64(channels):
    images = (some_images(channels) // np.arange(1, channels + 1)).astype(np.uint8)
    moments = measure_moments(count_values(images))
    exact = images.astype(np.float64)
    for measured, wanted in ((moments.mean, exact.mean(axis=(0, 1, 2))), (moments.std, exact.std(axis=(0, 1, 2)))):
        assert (measured.dtype, measured.shape) == (np.float64, (channels,))
        np.testing.assert_allclose(measured, wanted, rtol=np.finfo(np.float32).eps)


def test_images_that_are_all_alike_have_no_spread():
    moments = measure_moments(count_values(np.full((7, 5, 3, 2), 201, np.uint8)))
    assert moments.mean.tolist() == [201, 201]
    assert moments.std.tolist() == [0, 0]


def section(**fields):
    """A config section `corruption`."""
    default = {
        "labels": "none",
        "label_probability": 1.0,
        "pixels": "none",
        "channels_together": True,
        "test_labels": False,
    }
    return ConfigDict({**default, **fields})


def a_split(n, side=8):
    rng = np.random.default_rng(n)
    images = rng.integers(0, 256, (n, side, side, 3)).astype(np.uint8)
    return Split(images, rng.integers(0, K, n).astype(np.int32), rng.permutation(10 * n)[:n].astype(np.uint32))


def corrupt(split, *, train, seed=0, **fields):
    recipe = make_corruption_spec(section(**fields), seed, K, train=train)
    return corrupt_split(split, recipe, MOMENTS)


@pytest.mark.parametrize("labels", LABEL_NOISE)
@pytest.mark.parametrize("pixels", PIXEL_CORRUPTION)
def test_the_test_split_is_as_stored_but_for_the_shared_permutation(pixels, labels):
    split = a_split(FEW)
    seen = corrupt(split, train=False, pixels=pixels, labels=labels)
    assert_same((seen.labels, seen.true_labels, seen.ids), (split.labels, split.labels, split.ids))
    assert not seen.resampled.any()
    if pixels == "shuffled_pixels":
        assert_same([seen.images], [corrupt(split, train=True, pixels=pixels).images])
        assert (seen.images != split.images).any()
    else:
        assert_same([seen.images], [split.images])


@pytest.mark.parametrize("labels", ["uniform", "symmetric"])
@pytest.mark.parametrize("pixels", PIXEL_CORRUPTION)
def test_the_train_split_has_labels_and_pixels_corrupted_each_as_if_alone(pixels, labels):
    split = a_split(FEW)
    both = corrupt(split, train=True, pixels=pixels, labels=labels, label_probability=0.5)
    only_labels = corrupt(split, train=True, labels=labels, label_probability=0.5)
    only_pixels = corrupt(split, train=True, pixels=pixels)
    assert_same([both.images], [only_pixels.images])
    assert_same((both.labels, both.resampled), (only_labels.labels, only_labels.resampled))
    assert_same((both.true_labels, both.ids), (split.labels, split.ids))
    assert_same((only_labels.images, only_pixels.labels), (split.images, split.labels))
    assert 0.3 < both.resampled.mean() < 0.7
    assert (both.images != split.images).any() == (pixels != "none")


def test_test_labels_are_corrupted_where_the_config_says_so_and_not_as_in_train():
    split = a_split(FEW)
    train = corrupt(split, train=True, labels="uniform")
    test = corrupt(split, train=False, labels="uniform", test_labels=True)
    assert test.resampled.all()
    assert standard_errors((test.labels != split.labels).mean(), 0.9, FEW) < 4
    assert standard_errors((test.labels == train.labels).mean(), 1 / K, FEW) < 4
    train, test = (
        corrupt(split, train=train, labels="uniform", label_probability=0.5, test_labels=True)
        for train in (True, False)
    )
    assert standard_errors((train.resampled == test.resampled).mean(), 0.5, FEW) < 4


def test_the_probability_and_the_channels_of_the_config_are_those_that_count():
    resampled = corrupt(a_split(FEW), train=True, labels="uniform", label_probability=0.2).resampled
    assert standard_errors(resampled.mean(), 0.2, FEW) < 4
    together, apart = (
        corrupt(a_split(FEW), train=True, pixels="random_pixels", channels_together=choice).images
        for choice in (True, False)
    )
    assert (together != apart).any()


def test_labels_and_pixels_of_another_seed_differ():
    split = a_split(FEW)
    first, other = (corrupt(split, train=True, seed=seed, labels="uniform", pixels="random_pixels") for seed in (0, 1))
    assert (first.labels != other.labels).any()
    assert (first.images != other.images).any()


def assert_as_if_at_once(split, **fields):
    recipe = make_corruption_spec(section(**fields), 0, K, train=True)
    images, labels, resampled = jax.device_get(recipe.apply(split.ids, split.images, split.labels, MOMENTS))
    whole = corrupt_split(split, recipe, MOMENTS)
    assert_same(whole, (images, labels, split.labels, split.ids, resampled))
    assert all(isinstance(part, np.ndarray) for part in whole)


def test_a_split_of_many_chunks_is_as_if_corrupted_at_once():
    assert_as_if_at_once(a_split(2 * CHUNK + FEW, side=2), labels="uniform", label_probability=0.5)


@pytest.mark.parametrize("kind, together", PIXEL_KINDS)
def test_chunks_change_no_kind_of_pixels(kind, together, monkeypatch):
    monkeypatch.setattr(spec, "CHUNK", 7)
    assert_as_if_at_once(a_split(FEW), pixels=kind, channels_together=together)
