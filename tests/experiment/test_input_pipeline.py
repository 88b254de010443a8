"""The input pipeline: what corruption did to the examples that a run trains on, and what it can't do."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rethink.configs import digits_true
from rethink.data import preprocessing
from rethink.data.dataset import Dataset, MemorySplit, Split
from rethink.data.registry import open_dataset
from rethink.experiment.input_pipeline import InputPipeline
from rethink.experiment.reporter import describe_input
from rethink.schema.errors import UserError
from rethink.training import devices
from rethink.training.step import Batch

FEEDS = pytest.mark.parametrize("feed", ["resident", "streamed"])


def make_pipeline(images, feed="resident", value_range=(0.0, 1.0), has_vectors=False, **fields):
    """Returns the pipeline of a data set of these images in train and test, [n, height, width, channels]."""
    config = digits_true.get_config("mlp_tiny")
    config.train.batch_size, config.preprocess.whiten = 8, "none"
    config.data.feed, config.data.workers, config.data.value_range = feed, 0, value_range
    config.corruption.update(fields)
    count = len(images)
    split = Split(images, np.arange(count, dtype=np.int32) % 10, np.arange(count, dtype=np.uint32))
    splits = {name: MemorySplit(split) for name in ("train", "test")}
    return InputPipeline(config, Dataset("made up", "none", tuple("0123456789"), count, splits, has_vectors))


def read_all(pipeline):
    """Reads every example once, in training's place; returns the feed."""
    feed = pipeline.make_feed(1)
    for split in pipeline.provenance:
        for _ in feed.evaluation(split):
            pass
    return feed


def grey(count=32):
    """Images of one grey each, of many greys."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 4, 1))


@FEEDS
def test_what_was_done_is_recorded_beside_what_was_declared(feed):
    images = np.random.default_rng(0).integers(0, 256, (32, 4, 4, 1)).astype(np.uint8)
    fields = {"labels": "symmetric", "label_probability": 1.0, "pixels": "random_pixels", "seed": 9}
    pipeline = make_pipeline(images, feed, **fields)
    read_all(pipeline)
    all_of_them = {"declared": 1.0, "realized": 1.0}
    names = ("labels_resampled", "labels_changed", "images_changed")
    rates = pipeline.compare_rates()
    assert np.array(rates["train"].pop("label_counts")).sum() == 32
    assert rates == {"seed": 9, "train": dict.fromkeys(names, all_of_them), "test": {}}


@FEEDS
@pytest.mark.parametrize("pixels", ["shuffled_pixels", "random_pixels"])
def test_a_permutation_that_changes_no_image_is_refused(pixels, feed):
    pipeline = make_pipeline(grey(), feed, pixels=pixels)
    read_all(pipeline)
    with pytest.raises(UserError, match=f"^corruption.pixels='{pixels}' leaves all 32 training images as they are"):
        pipeline.compare_rates()


@FEEDS
def test_noise_without_a_spread_is_refused(feed):
    with pytest.raises(UserError, match="^corruption.pixels='gaussian' draws with the spread .* one and the same"):
        make_pipeline(np.full((32, 4, 4, 1), 7, np.uint8), feed, pixels="gaussian").make_feed(1)
    read_all(make_pipeline(grey(), feed, pixels="gaussian"))


def test_gaussian_images_have_the_moments_of_the_training_images_and_colours_of_pixels_are_refused():
    images = np.random.default_rng(1).integers(0, 120, (400, 8, 8, 3)).astype(np.uint8)
    pipeline = make_pipeline(images, pixels="gaussian", test_pixels=True)
    splits = devices.fetch(pipeline.make_feed(1).splits)
    for split in splits.values():
        assert split.encoding.shape == (2, 3)  # the same of each example, and kept once
        seen = 255 * np.asarray(pipeline.evaluation_view(split._replace(images=jnp.asarray(split.images))), np.float64)
        wanted = images.reshape(-1, 3).astype(np.float64)
        values = seen.reshape(-1, 3)
        assert (abs(values.mean(axis=0) - wanted.mean(axis=0)) < 4 * wanted.std(axis=0) / len(values) ** 0.5).all()
        assert (abs(values.var(axis=0) / wanted.var(axis=0) - 1) < 4 * (2 / len(values)) ** 0.5).all()
        assert values.min() < -40
    shown = preprocessing.round_images(splits["train"].images, splits["train"].encoding)
    assert shown.min() == 0 and (splits["test"].images != splits["train"].images).any()
    pipeline.config.augmentation.hue = 0.1
    with pytest.raises(UserError, match="^augmentation.hue=0.1 is for colours in 0..1, and"):
        pipeline.check_input_shape()


CONDITIONS = {
    "true": {},
    "labels": {"labels": "uniform"},
    "partial": {"labels": "uniform", "label_probability": 0.5},
    "shuffled_pixels": {"pixels": "shuffled_pixels"},
    "random_pixels": {"pixels": "random_pixels"},
    "gaussian": {"pixels": "gaussian"},
    "gaussian_clipped": {"pixels": "gaussian_clipped"},
}


@pytest.mark.slow
def test_every_condition_of_the_paper_changes_only_what_it_names():
    prints_of, true_labels = {}, {}
    for name, fields in CONDITIONS.items():
        config = digits_true.get_config("mlp_tiny")
        config.data.train_examples = 360  # as many as for testing, so that each kind is compiled once
        config.corruption.update(fields)
        pipeline = InputPipeline(config, open_dataset(config.data))
        true_labels[name] = pipeline.corrupt_splits()["train"].true_labels
        prints_of[name] = {**pipeline.fingerprint_splits(), "order": pipeline.fingerprint_order(12)}
        np.testing.assert_array_equal(true_labels[name], true_labels["true"])
    changed = {
        name: {part for part, value in prints_of[name].items() if value != prints_of["true"][part]}
        for name in CONDITIONS
    }
    assert changed == {
        "true": set(),
        "labels": {"labels"},
        "partial": {"labels"},
        "shuffled_pixels": {"images", "test_images"},  # the one permutation is that of the test images too
        "random_pixels": {"images"},
        "gaussian": {"images"},
        "gaussian_clipped": {"images"},
    }
    assert len({prints["images"] for prints in prints_of.values()}) == 5
    assert len({prints["labels"] for prints in prints_of.values()}) == 3


RNG = np.random.default_rng(5)
STORED = {
    "uint8": (RNG.integers(0, 256, (20, 4, 5, 2)).astype(np.uint8), {}),
    "uint16": (RNG.integers(0, 2**16, (20, 4, 5, 4)).astype(np.uint16), {}),
    "float32": (RNG.uniform(-1, 3, (20, 4, 5, 5)).astype(np.float32), {"value_range": (-1.0, 3.0)}),
    "0..1": (RNG.uniform(0, 1, (20, 4, 5, 1)).astype(np.float32), {}),
    "vectors": (1e3 * RNG.normal(size=(20, 1, 1, 7)).astype(np.float32), {"has_vectors": True}),
    "whole vectors": (RNG.integers(0, 2**16, (20, 1, 1, 7)).astype(np.uint16), {"has_vectors": True}),
}
SEEN = {  # by hand
    "uint8": lambda x: x / np.float32(255),
    "uint16": lambda x: x / np.float32(65535),
    "float32": lambda x: (x + 1) / 4,
    "0..1": lambda x: x,
    "vectors": lambda x: x.reshape(20, 7),
    "whole vectors": lambda x: x.reshape(20, 7).astype(np.float32),
}


def view_all(pipeline):
    """Returns the feed, and what the model sees of all training examples in evaluation."""
    feed = pipeline.make_feed(1)
    views = []
    for data, item, weights in feed.evaluation("train"):
        batch = feed.batch_of["train"](*jax.tree.map(lambda leaf: leaf[0], (data, item)))
        views.append(np.asarray(pipeline.evaluation_view(batch))[weights[0] > 0])
    for _ in feed.evaluation("test"):
        pass
    return feed, np.concatenate(views)


@pytest.mark.parametrize("kind", STORED)
def test_images_of_every_type_are_seen_as_they_are_declared(kind):
    images, fields = STORED[kind]
    pipeline = make_pipeline(images, **fields)
    _, seen = view_all(pipeline)
    assert seen.dtype == np.float32 and seen.shape[1:] == pipeline.check_input_shape()
    np.testing.assert_allclose(seen, SEEN[kind](images), rtol=3e-7, atol=0)
    if kind in ("0..1", "vectors", "whole vectors"):
        np.testing.assert_array_equal(seen, SEEN[kind](images), strict=True)
    assert pipeline.stored_size == 2 * images.nbytes


@pytest.mark.parametrize(
    "kind, pixels",
    [
        ("uint8", "none"),
        ("float32", "random_pixels"),
        ("vectors", "gaussian"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                *((kind, "none") for kind in list(STORED)[1:]),
                ("uint16", "gaussian_clipped"),
                ("float32", "gaussian_clipped"),
                ("whole vectors", "shuffled_pixels"),
            ]
        ),
    ],
)
def test_every_type_gives_the_same_bits_resident_and_streamed(kind, pixels):
    images, fields = STORED[kind]
    seen, fingerprints = {}, {}
    for feed in ("resident", "streamed"):
        pipeline = make_pipeline(images, feed, pixels=pixels, **fields)
        _, seen[feed] = view_all(pipeline)
        fingerprints[feed] = pipeline.fingerprint_splits()
        assert pipeline.compare_rates()["train"] == (
            {} if pixels == "none" else {"images_changed": {"declared": 1.0, "realized": 1.0}}
        )
    np.testing.assert_array_equal(seen["resident"], seen["streamed"], strict=True)
    assert fingerprints["resident"] == fingerprints["streamed"]
    if pixels.startswith("gaussian"):
        return
    # A permutation of each channel, or, of vectors, of each vector's values.
    true = SEEN[kind](images)
    axes = (1,) if true.ndim == 2 else (1, 2)
    flat = [
        np.sort(values.reshape(20, math.prod(true.shape[a] for a in axes), -1), axis=1)
        for values in (seen["resident"], true)
    ]
    np.testing.assert_allclose(*flat, rtol=3e-7)


@pytest.fixture
def noise_files(tmp_path):
    """A folder with a matrix, and with labels whose clean ones are, or are not, those of `make_pipeline`."""
    given = np.random.default_rng(0).integers(0, 10, 20)
    np.savetxt(tmp_path / "matrix.txt", np.full((10, 10), 0.1))
    np.savez(tmp_path / "labels.npz", label=given, clean=np.arange(20) % 10)
    np.savez(tmp_path / "others.npz", label=given, clean=given)
    return tmp_path


@pytest.mark.parametrize(
    "kind",
    [
        "file:{}/labels.npz",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("asymmetric:cifar10", "matrix:{}/matrix.txt", "instance")
        ),
    ],
)
def test_label_noise_gives_the_same_bits_resident_and_streamed(noise_files, kind):
    images = STORED["uint16"][0]
    labels, prints = {}, {}
    for feed in ("resident", "streamed"):
        pipeline = make_pipeline(images, feed, labels=kind.format(noise_files), label_probability=0.7)
        batches = read_all(pipeline)
        rates, prints[feed] = pipeline.compare_rates(), pipeline.fingerprint_splits()
        assert rates["test"] == {}
        assert np.trace(rates["train"]["label_counts"]) < len(images)
        data, items = batches.train(0, 1)  # as the step makes them
        labels[feed] = batches.batch_of["train"](
            jax.tree.map(lambda leaf: leaf[0], data), jax.tree.map(lambda leaf: leaf[0, 0], items)
        ).labels
        batches.close()
    np.testing.assert_array_equal(labels["resident"], labels["streamed"], strict=True)
    assert prints["resident"] == prints["streamed"]
    assert ("label_file" in prints["resident"]) == ("{}" in kind)


@FEEDS
def test_clean_labels_that_are_not_the_true_ones_are_refused(noise_files, feed):
    pipeline = make_pipeline(STORED["uint16"][0], feed, labels=f"file:{noise_files}/others.npz")
    read_all(pipeline)
    with pytest.raises(UserError, match="the clean labels in this file are not the true ones of"):
        pipeline.compare_rates()


@FEEDS
@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5])
def test_a_value_that_no_image_may_hold_is_named(feed, value):
    images = RNG.uniform(0, 1, (20, 2, 2, 1)).astype(np.float32)
    images[13, 1, 0, 0] = value
    outside = r"outside data.value_range=\(0, 1\): say .*--config.data.value_range='\(-0.5, 0.9\d*\)'"
    with pytest.raises(UserError, match=f"example 13 holds {value:g}.*{'finite' if value != -0.5 else outside}"):
        read_all(make_pipeline(images, feed))
    if value == -0.5:
        read_all(make_pipeline(images, feed, value_range=(-0.5, 1.0)))
        read_all(make_pipeline(images.reshape(20, 1, 1, 4), feed, has_vectors=True))


@pytest.mark.parametrize(
    "images, fields, message",
    [
        (np.zeros((20, 2, 2, 1), np.uint8), {"value_range": (0.0, 2.0)}, "no effect on images of uint8"),
        (np.zeros((20, 1, 1, 4), np.float32), {"value_range": (0.0, 2.0), "has_vectors": True}, "feature vectors"),
        (np.zeros((20, 2, 2, 1), np.float32), {"value_range": (1.0, 1.0)}, "is no range"),
        (np.zeros((20, 2, 2, 1), np.float32), {"value_range": (0.0, 1.0, 2.0)}, "is no range"),
    ],
)
def test_a_range_that_is_none_or_has_no_effect_is_refused(images, fields, message):
    with pytest.raises(UserError, match=f"^data.value_range=.*{message}"):
        make_pipeline(images, **fields)


@pytest.mark.parametrize(
    "field, value, remedy",
    [
        ("preprocess.crop", 3, "preprocess.crop=0"),
        ("preprocess.whiten", "per_image", "preprocess.whiten=none"),
        ("preprocess.whiten", "symmetric", "preprocess.whiten=none"),
        ("augmentation.crop", "random", "augmentation.crop=none"),
        ("augmentation.flip", True, "augmentation.flip=False"),
        ("augmentation.brightness", 0.5, "augmentation.brightness=0.0"),
        ("corruption.pixels", "gaussian_clipped", "corruption.pixels=gaussian"),
    ],
)
def test_what_takes_images_is_refused_for_vectors(field, value, remedy):
    pipeline = make_pipeline(STORED["vectors"][0], has_vectors=True)
    section, name = field.split(".")
    pipeline.config[section][name] = value
    with pytest.raises(UserError, match=f"^{field}='?{value}'? .* feature vectors: set --config.{remedy}.$"):
        pipeline.check_input_shape()


def test_all_that_takes_images_is_named_at_once_and_auto_whitens_images_alone():
    vectors, images = (make_pipeline(STORED[kind][0], **STORED[kind][1]) for kind in ("vectors", "float32"))
    for pipeline in (vectors, images):
        pipeline.config.preprocess.whiten = "auto"
    assert (vectors.whitening, images.whitening) == ("none", "per_image")
    assert vectors.check_input_shape() == (7,)
    images.config.preprocess.crop = 3
    assert describe_input(images) == "3x3x5, the centre of 4x5, whitened per image"
    assert describe_input(vectors) == "7 features, as they are"
    vectors.config.preprocess.update(crop=3, whiten="per_image")
    with pytest.raises(UserError, match="set --config.preprocess.crop=0 --config.preprocess.whiten=none.$"):
        vectors.check_input_shape()


def test_augmented_images_stay_within_what_they_span():
    images, fields = STORED["float32"]
    pipeline = make_pipeline(images, **fields)
    pipeline.config.augmentation.brightness = 1.0
    pipeline = InputPipeline(pipeline.config, pipeline.dataset)
    splits = pipeline.corrupt_splits()["train"]
    batch = Batch(*(jnp.asarray(getattr(splits, name)) for name in Batch._fields))
    seen = np.asarray(pipeline.train_view(0)(jnp.int32(1), batch))
    assert seen.min() == 0 and seen.max() == 1 and len(np.unique(seen)) > 20
