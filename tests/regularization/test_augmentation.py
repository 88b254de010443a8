"""Data augmentation: what is drawn, what depends on what, and every operation against an independent one."""

import colorsys
import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from rethink import randomness
from rethink.configs import base
from rethink.data import preprocessing
from rethink.regularization import augmentation
from rethink.regularization.augmentation import Augmentation
from rethink.schema.errors import UserError

RNG = np.random.default_rng(0)
KEY = randomness.key_for(0, "augmentation")
CLEAN, decode = preprocessing.clean_encoding(3), preprocessing.decode_images
OFF = Augmentation("none", 0, False, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
COLOURS = {"brightness": 0.2, "contrast": 0.3, "saturation": 0.4, "hue": 0.1}
STRENGTHS = {"zoom": 0.3, "rotation": 30.0, **COLOURS}
EVERYTHING = {"crop": "inception", "flip": True, **STRENGTHS}
CASES = {"windows": {"crop": "random", "padding": 2, "flip": True}, "everything": EVERYTHING}


def augment(images, *, key=KEY, ids=None, size=None, **changes):
    """Returns the augmented uint8 images as an array; their ids are 0, 1, ... and the size is theirs, unless given."""
    ids = np.arange(len(images), dtype=np.uint32) if ids is None else ids
    chosen = dataclasses.replace(OFF, **changes)
    return np.asarray(chosen(key, ids, images, CLEAN, decode=decode, size=size or images.shape[1:3]))


def random_images(count, height, width, low=0, high=256):
    return RNG.integers(low, high, (count, height, width, 3)).astype(np.uint8)


def many(image, count):
    return np.broadcast_to(np.asarray(image, np.uint8), (count, *np.shape(image)))


def ramp(height, width, step):
    """An image whose first two channels are `step` times row and column, so that a warp can be read off it."""
    row, column = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return step * np.stack([row, column, 0 * row], axis=-1)


@jax.jit
def divide(image):
    return image.astype(np.float32) / 255


def unit(image):
    """A uint8 image in 0..1, to the last bit: a compiled division by 255 is not always rounded as NumPy's."""
    return np.asarray(divide(np.asarray(image, np.uint8)))


@pytest.mark.parametrize("size", [(8, 8), (5, 5), (4, 4)])
def test_without_augmentation_an_image_is_seen_as_in_evaluation(size):
    images = random_images(3, 8, 9)
    seen = augment(images, size=size)
    expected = jax.jit(lambda images: preprocessing.crop_centre(images, size[0]))(unit(images))
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen, expected)


def test_the_config_without_changes_is_off_and_any_change_is_on():
    assert augmentation.from_config(base.get_config().augmentation) == OFF
    assert OFF.is_off
    for name, value in EVERYTHING.items():
        assert not dataclasses.replace(OFF, **{name: value}).is_off


def test_small_strengths_change_little():
    images = random_images(12, 9, 8, 60, 200)
    seen = augment(images, size=(6, 6), **dict.fromkeys(STRENGTHS, 1e-6))
    np.testing.assert_allclose(seen, augment(images, size=(6, 6)), atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_the_draws_are_those_of_the_key_and_of_the_example(case):
    images, ids = many(random_images(1, 9, 8)[0], 12), np.array([7, 2**32 - 1, 7, 0] * 3, np.uint32)
    seen = augment(images, ids=ids, size=(6, 6), **CASES[case])
    np.testing.assert_array_equal(augment(images, ids=ids, size=(6, 6), **CASES[case]), seen)
    np.testing.assert_allclose(seen[0], seen[2], atol=1e-5)
    other = augment(images, key=jax.random.fold_in(KEY, 1), ids=ids, size=(6, 6), **CASES[case])
    different = [seen[0], seen[1], seen[3], other[0], other[1], other[3]]
    assert all(np.abs(one - two).max() > 0.02 for one, two in itertools.combinations(different, 2))
    assert seen.dtype == np.float32 and seen.min() >= 0 and seen.max() <= 1


@pytest.mark.parametrize("case", CASES)
def test_the_batch_around_an_example_changes_nothing(case):
    """Copies are equal bit for bit; sums of floats may round otherwise in a batch of another size."""
    images, ids = random_images(12, 9, 8), RNG.permutation(1000)[:12].astype(np.uint32)
    whole = augment(images, ids=ids, size=(6, 6), **CASES[case])
    same = np.testing.assert_array_equal if case == "windows" else np.testing.assert_allclose
    tolerance = {} if case == "windows" else {"rtol": 0, "atol": 2e-5}
    order = RNG.permutation(12)
    same(augment(images[order], ids=ids[order], size=(6, 6), **CASES[case]), whole[order], **tolerance)
    for part in (slice(0, 1), slice(1, 12)):
        same(augment(images[part], ids=ids[part], size=(6, 6), **CASES[case]), whole[part], **tolerance)


def test_a_switch_to_64_bits_changes_no_draw():
    images = random_images(12, 9, 8)
    narrow = augment(images, size=(6, 6), **CASES["everything"])
    with jax.enable_x64(True):
        wide = augment(images, size=(6, 6), **CASES["everything"])
    assert wide.dtype == np.float32
    np.testing.assert_allclose(wide, narrow, atol=2e-5)


@pytest.mark.parametrize("shape, padding, size", [((5, 6), 0, (4, 3)), ((3, 3), 1, (3, 3)), ((4, 4), 2, (6, 8))])
def test_a_random_crop_is_any_window_of_the_padded_image(shape, padding, size):
    count = 450
    image = random_images(1, *shape, 1)[0]
    padded = unit(np.pad(image, ((padding, padding), (padding, padding), (0, 0))))
    rows, columns = (padded.shape[axis] - size[axis] + 1 for axis in (0, 1))
    counts = {
        padded[top : top + size[0], left : left + size[1]].tobytes(): 0
        for top, left in itertools.product(range(rows), range(columns))
    }
    for window in augment(many(image, count), size=size, crop="random", padding=padding):
        counts[window.tobytes()] += 1
    expected = count / (rows * columns)
    assert len(counts) == rows * columns
    assert all(abs(seen - expected) < 5 * expected**0.5 for seen in counts.values())


def test_half_of_the_images_are_flipped_and_the_windows_stay():
    image = random_images(1, 4, 5)[0]
    seen = augment(many(image, 400), flip=True)
    flipped, kept = ([np.array_equal(one, unit(side)) for one in seen] for side in (image[:, ::-1], image))
    assert sum(flipped) + sum(kept) == 400 and abs(sum(flipped) - 200) < 50
    windows = augment(many(image, 400), size=(3, 3), crop="random")
    both = augment(many(image, 400), size=(3, 3), crop="random", flip=True)
    np.testing.assert_array_equal(both, [w[:, ::-1] if f else w for w, f in zip(windows, flipped, strict=True)])


@pytest.mark.parametrize(
    "scale, degrees", [(1.0, 0.0), (0.7, 0.0), (1.4, 0.0), (1.0, 25.0), (1.2, -90.0), (0.8, 140.0)]
)
@pytest.mark.parametrize("shape", [(12, 12), (9, 14)])
def test_a_warp_is_that_of_scipy(scale, degrees, shape):
    image = RNG.uniform(0, 1, (*shape, 2)).astype(np.float32)
    cos, sin = np.cos(np.deg2rad(degrees)) / scale, np.sin(np.deg2rad(degrees)) / scale
    matrix, middle = np.array([[cos, sin], [-sin, cos]]), (np.array(shape) - 1) / 2
    channels = [
        scipy.ndimage.affine_transform(image[..., c], matrix, middle - matrix @ middle, order=1, mode="nearest")
        for c in (0, 1)
    ]
    seen = augmentation.warp_image(image, np.float32(scale), np.float32(np.deg2rad(degrees)))
    np.testing.assert_allclose(seen, np.stack(channels, axis=-1), atol=2e-5)


@pytest.mark.parametrize("degrees", [10.0, -25.0, 60.0])
def test_a_positive_angle_turns_as_pillow_does(degrees):
    image = RNG.uniform(0, 1, (15, 15)).astype(np.float32)
    expected = Image.fromarray(image).rotate(degrees, Image.Resampling.BILINEAR)
    seen = np.asarray(augmentation.warp_image(image[..., None], np.float32(1), np.float32(np.deg2rad(degrees))))[..., 0]
    np.testing.assert_allclose(seen[4:11, 4:11], np.asarray(expected)[4:11, 4:11], atol=1e-4)


def test_scale_and_angle_fill_their_ranges_whatever_else_is_on():
    def scale_and_degrees(**changes):
        seen = augment(many(ramp(25, 25, 10), 200), size=(21, 21), **changes) * 25.5
        along_row, along_column = seen[:, 11, 10] - seen[:, 10, 10], seen[:, 10, 11] - seen[:, 10, 10]
        assert np.abs(along_row[:, 0] - along_column[:, 1]).max() < 1e-3
        return 1 / np.hypot(*along_row[:, :2].T), np.rad2deg(np.arctan2(-along_row[:, 1], along_row[:, 0]))

    scale, _ = scale_and_degrees(zoom=0.2)
    assert 0.8 <= scale.min() < 0.83 and 1.17 < scale.max() <= 1.2
    _, degrees = scale_and_degrees(rotation=40.0)
    assert -40.01 < degrees.min() < -36 and 36 < degrees.max() < 40.01
    both = scale_and_degrees(zoom=0.2, rotation=40.0, crop="random")
    np.testing.assert_allclose(both, [scale, degrees], rtol=1e-3, atol=0.01)


def pillow(image, window, size):
    top, left, height, width = (int(side) for side in window)
    box = (left, top, left + width, top + height)
    planes = (Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(image, -1, 0))
    resized = [np.asarray(plane.resize(size[::-1], Image.Resampling.BILINEAR, box=box)) for plane in planes]
    return np.stack(resized, axis=-1)


def windows_of(shape, keys):
    return np.asarray(jax.jit(jax.vmap(lambda key: augmentation.draw_inception_window(key, shape)))(keys))


@pytest.mark.parametrize("shape", [(64, 64), (48, 80)])
def test_an_inception_window_has_a_random_area_aspect_and_place(shape):
    top, left, height, width = windows_of(shape, jax.random.split(KEY, 1000)).T
    assert np.all((top >= 0) & (left >= 0) & (top + height <= shape[0]) & (left + width <= shape[1]))
    area, aspect = height * width / (shape[0] * shape[1]), np.log(width / height)
    rounding = 1 / np.minimum(height, width)
    assert np.all((area >= 0.08 - rounding) & (area <= 1) & (np.abs(aspect) <= np.log(4 / 3) + rounding))
    assert area.min() < 0.1 and area.max() > 0.75 and aspect.min() < -0.26 and aspect.max() > 0.26
    assert np.mean(area < 0.3) > 0.2 and np.mean(np.sign(aspect[area < 0.3])) == pytest.approx(0, abs=0.2)
    place = (top / np.maximum(shape[0] - height, 1))[height < shape[0] - 10]
    assert place.min() == 0 and place.max() == 1 and place.mean() == pytest.approx(0.5, abs=0.06)


def test_the_inception_crop_shows_the_drawn_window():
    images = random_images(20, 24, 24)
    keys = randomness.example_keys(KEY, np.arange(20, dtype=np.uint32))
    crop_keys = jax.vmap(lambda key: jax.random.split(key, 8)[augmentation.OPERATIONS.index("crop")])(keys)
    seen = augment(images, size=(9, 11), crop="inception")
    expected = [
        pillow(image, window, (9, 11))
        for image, window in zip(unit(images), windows_of((24, 24), crop_keys), strict=True)
    ]
    np.testing.assert_allclose(seen, expected, atol=2e-5)


@pytest.mark.parametrize("shape, largest", [((4, 80), (4, 5)), ((80, 4), (5, 4))])
def test_where_no_draw_fits_the_window_is_the_largest_in_the_middle(shape, largest):
    windows = windows_of(shape, jax.random.split(KEY, 1000))
    last = windows[(windows[:, 2] == largest[0]) & (windows[:, 3] == largest[1])]
    middle = [(shape[0] - largest[0]) // 2, (shape[1] - largest[1]) // 2, *largest]
    assert np.all(last == middle, axis=1).sum() > 250


@pytest.mark.parametrize("window", [(0, 0, 20, 24), (3, 5, 14, 12), (2, 1, 6, 7), (12, 20, 8, 4), (0, 3, 5, 21)])
def test_a_window_is_resized_as_by_pillow(window):
    image = unit(random_images(1, 20, 24)[0])
    seen = augmentation.resize_window(image, np.array(window, np.int32), (9, 11))
    np.testing.assert_allclose(seen, pillow(image, window, (9, 11)), atol=2e-5)


def each_pixel(function, image):
    """Applies a function of (r, g, b) in 0..1 to each pixel."""
    return np.apply_along_axis(lambda pixel: function(*pixel), -1, np.asarray(image, np.float64))


def change_hsv(r, g, b, *, factor, shift):
    hue, saturation, value = colorsys.rgb_to_hsv(r, g, b)
    return colorsys.hsv_to_rgb((hue + shift) % 1, min(saturation * factor, 1), value)


def test_colours_change_by_the_drawn_amounts_in_the_order_of_tensorflow():
    """Each draw is read off an image that the other operations leave alone, while all of them are on."""
    count = 40
    uniform = augment(many(np.full((6, 6, 3), 128), count), **STRENGTHS, flip=True, crop="random", size=(5, 5))
    brightness = uniform[:, 0, 0, 0] - 128 / 255
    np.testing.assert_allclose(uniform - brightness[:, None, None, None], 128 / 255, atol=1e-5)

    grey = np.repeat(RNG.integers(100, 150, (6, 6, 1)), 3, axis=-1)
    contrast = augment(many(grey, count), **COLOURS).std(axis=(1, 2, 3)) / unit(grey).std()

    reddish = [180 / 255, 120 / 255, 100 / 255]
    turned = augment(many(np.full((2, 2, 3), [180, 120, 100]), count), **{**COLOURS, "brightness": 0.0})
    hsv = each_pixel(colorsys.rgb_to_hsv, turned[:, 0, 0])
    was = colorsys.rgb_to_hsv(*reddish)
    shift, factor = (hsv[:, 0] - was[0] + 0.5) % 1 - 0.5, hsv[:, 1] / was[1]

    for drawn, strength in zip((brightness, contrast - 1, factor - 1, shift), COLOURS.values(), strict=True):
        assert np.abs(drawn).max() <= strength + 1e-4 and drawn.min() < -strength / 2 and drawn.max() > strength / 2

    images = random_images(count, 6, 6, 60, 196)
    expected = unit(images) + brightness[:, None, None, None]
    mean = expected.mean(axis=(1, 2), keepdims=True)
    expected = contrast[:, None, None, None] * (expected - mean) + mean
    for seen, image, one, other in zip(augment(images, **COLOURS), expected, factor, shift, strict=True):
        changed = each_pixel(lambda r, g, b, f=one, s=other: change_hsv(r, g, b, factor=f, shift=s), image)
        np.testing.assert_allclose(seen, np.clip(changed, 0, 1), atol=2e-4)


def test_the_result_is_clipped_at_the_end():
    seen = augment(random_images(40, 6, 6), **COLOURS)
    assert np.isfinite(seen).all() and seen.min() == 0 and seen.max() == 1


@pytest.mark.parametrize(
    "changes, shape, size, words",
    [
        ({"crop": "random"}, (8, 8, 3), (8, 8), ["augmentation.crop=random", "8x8", "--config.preprocess.crop"]),
        ({"padding": 2}, (8, 8, 3), (8, 8), ["augmentation.padding=2", "--config.augmentation.crop=random"]),
        ({"padding": 6, "crop": "random"}, (8, 8, 3), (7, 6), ["augmentation.padding=6", "7x6", "at most 5"]),
        ({"padding": 2, "crop": "inception"}, (8, 8, 3), (8, 8), ["padding=2", "crop=inception"]),
        ({"saturation": 0.5}, (8, 8, 1), (8, 8), ["augmentation.saturation=0.5", "3 channels", "have 1"]),
        ({"hue": 0.1}, (8, 8, 4), (8, 8), ["augmentation.hue=0.1", "--config.augmentation.hue=0.0"]),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(changes, shape, size, words):
    with pytest.raises(UserError) as error:
        dataclasses.replace(OFF, **changes).check_images(shape, size)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_an_unknown_crop_is_named():
    with pytest.raises(UserError, match="augmentation.crop='centre' is unknown.*Choices: none, random, inception"):
        dataclasses.replace(OFF, crop="centre")


@pytest.mark.parametrize("shape, padding", [((8, 9, 1), 0), ((9, 8, 1), 0), ((8, 8, 1), 1)])
def test_what_can_be_done_is_not_refused(shape, padding):
    dataclasses.replace(OFF, crop="random", padding=padding, brightness=0.2, rotation=5.0).check_images(shape, (8, 8))
    dataclasses.replace(OFF, contrast=0.2).check_images(shape, shape[:2])


def test_values_beyond_0_to_1_are_kept_and_padding_is_0():
    encoding = np.array([[-200, -150, 20], [3, 2.5, 0.5]], np.float32)
    images, ids = random_images(40, 6, 6), np.arange(40, dtype=np.uint32)
    values = np.asarray(jax.jit(preprocessing.decode_images)(images, encoding))
    cropped = dataclasses.replace(OFF, crop="random", padding=2, flip=True)(
        KEY, ids, images, encoding, decode=decode, size=(6, 6)
    )
    assert all(
        set(seen.ravel()) <= {0.0, *image.ravel()} for seen, image in zip(np.asarray(cropped), values, strict=True)
    )
    assert cropped.min() < -0.5 and cropped.max() > 1.5 and (cropped == 0).all(axis=-1).any(axis=(1, 2)).mean() > 0.8
    brighter = dataclasses.replace(OFF, brightness=0.5)(KEY, ids, images, encoding, decode=decode, size=(6, 6))
    lowest, highest = np.minimum(encoding[0] / 255, 0), np.maximum((encoding[0] + 255 * encoding[1]) / 255, 1)
    np.testing.assert_allclose(brighter.min(axis=(0, 1, 2))[:2], lowest[:2], rtol=1e-6)
    np.testing.assert_allclose(brighter.max(axis=(0, 1, 2))[:2], highest[:2], rtol=1e-6)
    assert brighter[..., 2].min() >= 0 and brighter[..., 2].max() <= 1


@pytest.mark.parametrize("changes", [{"crop": "random"}, {"crop": "random", "flip": True, **COLOURS}])
def test_no_pixel_is_decoded_that_the_crop_leaves_out(changes):
    """A stored image is mostly larger than its crop: what is computed of all of it is computed in vain."""
    images, ids = random_images(2, 17, 17), np.arange(2, dtype=np.uint32)
    view = functools.partial(dataclasses.replace(OFF, **changes), decode=decode, size=(8, 8))
    traced = str(jax.make_jaxpr(view)(KEY, ids, images, CLEAN))
    assert "u8[2,17,17,3]" in traced and "f32[2,8,8,3]" in traced
    assert "f32[2,17,17,3]" not in traced
