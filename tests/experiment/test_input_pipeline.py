"""The input pipeline: what corruption did to the examples that a run trains on, and what it can't do."""

import jax.numpy as jnp
import numpy as np
import pytest

from rethink.configs import digits_true
from rethink.data import preprocessing
from rethink.data.dataset import Dataset, MemorySplit, Split
from rethink.data.registry import open_dataset
from rethink.experiment.input_pipeline import InputPipeline
from rethink.schema.errors import UserError

FEEDS = pytest.mark.parametrize("feed", ["resident", "streamed"])


def make_pipeline(images, feed="resident", **fields):
    """Returns the pipeline of a data set of these images in train and test, uint8 [n, height, width, channels]."""
    config = digits_true.get_config("mlp_tiny")
    config.train.batch_size, config.preprocess.whiten = 8, "none"
    config.data.feed, config.data.workers = feed, 0
    config.corruption.update(fields)
    count = len(images)
    split = Split(images, np.arange(count, dtype=np.int32) % 10, np.arange(count, dtype=np.uint32))
    splits = {name: MemorySplit(split) for name in ("train", "test")}
    return InputPipeline(config, Dataset("made up", "none", tuple("0123456789"), count, splits))


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
    assert pipeline.compare_rates() == {"seed": 9, "train": dict.fromkeys(names, all_of_them), "test": {}}


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
    feed = pipeline.make_feed(1)
    for split in feed.splits.values():
        assert split.encoding.shape == (2, 3)  # the same of each example, and kept once
        seen = 255 * np.asarray(pipeline.evaluation_view(split._replace(images=jnp.asarray(split.images))), np.float64)
        wanted = images.reshape(-1, 3).astype(np.float64)
        values = seen.reshape(-1, 3)
        assert (abs(values.mean(axis=0) - wanted.mean(axis=0)) < 4 * wanted.std(axis=0) / len(values) ** 0.5).all()
        assert (abs(values.var(axis=0) / wanted.var(axis=0) - 1) < 4 * (2 / len(values)) ** 0.5).all()
        assert values.min() < -40
    shown = preprocessing.round_images(feed.splits["train"].images, feed.splits["train"].encoding)
    assert shown.min() == 0 and (feed.splits["test"].images != feed.splits["train"].images).any()
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


def test_every_condition_of_the_paper_changes_only_what_it_names():
    prints_of, true_labels = {}, {}
    for name, fields in CONDITIONS.items():
        config = digits_true.get_config("mlp_tiny")
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
