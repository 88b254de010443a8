"""TODO."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from rethink import randomness
from rethink.data import batches, preprocessing, streaming
from rethink.data.corruption.pixels import Moments, count_values, make_moments, measure_moments
from rethink.data.corruption.spec import Corrupted, CorruptionSpec, corrupt_split, make_corruption_spec
from rethink.data.dataset import Dataset, Split
from rethink.data.provenance import Provenance
from rethink.regularization import augmentation
from rethink.training import devices, distributed, feeds, step


def _view(config: ConfigDict) -> Callable[[jax.Array], jax.Array]:
    """Returns images -> what the model sees in evaluation."""
    return functools.partial(
        preprocessing.preprocess_images, crop=config.preprocess.crop, whitening=config.preprocess.whiten
    )


def _training_view(
    config: ConfigDict, seed: Any, augment: augmentation.Augmentation, size: tuple[int, int]
) -> Callable[[jax.Array, step.Batch], jax.Array]:
    """Returns (step, batch) -> what the model sees in training: another augmentation for each step and example."""
    view = _view(config)
    if augment.is_off:
        return lambda _, batch: view(batch.images)
    key = randomness.key_for(seed, "augmentation")

    def training_view(at: jax.Array, batch: step.Batch) -> jax.Array:
        images = augment(jax.random.fold_in(key, at), batch.ids, batch.images, size=size)
        return preprocessing.whiten_images(images, config.preprocess.whiten)

    return training_view


FEEDS = ("auto", "resident", "streamed")
GIB = 2**30
BATCHES_PER_WORKER = 16  # an evaluation that is shorter is not worth the start of a process

Provenances = dict[str, Provenance]  # by split


def make_feed(name: str, config: ConfigDict, data: Dataset, total_steps: int) -> tuple[feeds.Feed, Provenances]:
    """Returns the feed "resident" or "streamed" of a data set, and the provenance of each of its splits.

    A resident feed reads and corrupts all examples now, and their provenance is full; a streamed feed's fills up in the
    first pass over each split.
    """
    provenance = {split: Provenance() for split in data.splits}
    if name == "resident":
        return _resident_feed(config, data, provenance), provenance
    return _streamed_feed(config, data, total_steps, provenance), provenance


def choose_feed(config: ConfigDict, data: Dataset, copies: int = 1) -> tuple[str, str]:
    """Returns ("resident" or "streamed", why): as the config section `data` says, or by the size as uint8.

    Args:
      copies: of the images, where runs that are trained together hold several.
    """
    size = copies * stored_size(data) / GIB
    if config.feed != "auto":
        return config.feed, f"{size:.2f} GiB"
    fits = size <= config.resident_limit_gib
    return "resident" if fits else "streamed", f"{size:.2f} GiB, limit {config.resident_limit_gib:g}"


def bytes_per_step(config: ConfigDict, data: Dataset) -> int:
    """Returns the bytes of images that a process hands to the devices for each step: 0 for a resident feed."""
    if choose_feed(config.data, data)[0] == "resident":
        return 0
    part = devices.process_slice(config.train.batch_size)
    return (part.stop - part.start) * math.prod(data.train.image_shape)


def stored_size(data: Dataset) -> int:
    """Returns the bytes of all splits' images as uint8."""
    return sum(len(split.ids) for split in data.splits.values()) * math.prod(data.train.image_shape)


def corrupt_splits(config: ConfigDict, data: Dataset) -> dict[str, Corrupted]:
    """Returns every split of a data set in host memory, corrupted as the config says."""
    raw = {name: split.load() for name, split in data.splits.items()}
    moments = _moments(config, data, lambda: count_values(raw["train"].images))
    return {name: corrupt_split(raw.pop(name), _corruption_spec(config, data, name), moments) for name in data.splits}


def fingerprint_splits(splits: dict[str, Corrupted]) -> dict[str, str]:
    """Returns the fingerprints of whole splits, of images and labels, named as those of a training run."""
    found = {}
    for name, split in splits.items():
        provenance = Provenance()
        provenance.add(split)
        prefix = "" if name == "train" else f"{name}_"
        found.update({prefix + part: value for part, value in provenance.fingerprints(distributed.all_gather).items()})
    return found


def _resident_feed(config: ConfigDict, data: Dataset, provenance: Provenances) -> feeds.ResidentFeed:
    splits = corrupt_splits(config, data)
    for name, split in splits.items():
        provenance[name].add(Corrupted(*(part[devices.process_stride()] for part in split)))
        provenance[name].complete = True
    rows = train_rows(config, data)
    part = devices.process_slice(config.train.batch_size)
    return feeds.ResidentFeed(
        splits,
        train_rows=lambda first_step, steps: rows(first_step, steps)[:, part],
        evaluation_rows={name: _evaluation_rows(config, data, name) for name in splits},
    )


def _streamed_feed(config: ConfigDict, data: Dataset, total_steps: int, provenance: Provenances) -> feeds.StreamedFeed:
    rows = {name: _evaluation_rows(config, data, name) for name in data.splits}

    def read(name: str) -> Iterator[tuple[Split, np.ndarray]]:
        """Yields (batch, weights) over a split."""
        numbers = [batch for batch, _ in rows[name]]
        parts = streaming.stream_batches(
            data.splits[name],
            numbers.__getitem__,
            first=0,
            last=len(numbers),
            workers=min(config.data.workers, len(numbers) // BATCHES_PER_WORKER),
        )
        yield from zip(parts, (weights for _, weights in rows[name]), strict=True)

    def count_train_values() -> np.ndarray:
        with distributed.sync_errors():
            counts = np.zeros((data.train.image_shape[-1], 256), np.int64)
            for part, weights in read("train"):
                counts += count_values(part.images[weights > 0])
        return distributed.all_gather(counts).sum(axis=0)

    moments = _moments(config, data, count_train_values)
    recipes = {name: _corruption_spec(config, data, name) for name in data.splits}

    def evaluation_stream(name: str) -> Iterator[tuple[Split, np.ndarray]]:
        for part, weights in read(name):
            if (
                weights.any() and not provenance[name].complete
            ):  # a process's share of the last batch may be all padding
                there = Split(*(values[weights > 0] for values in part))
                provenance[name].add(corrupt_split(there, recipes[name], moments))
            yield part, weights
        provenance[name].complete = True

    return feeds.StreamedFeed(
        train_stream=lambda first_step: streaming.stream_batches(
            data.train,
            functools.partial(
                batches.select_process_rows, train_rows(config, data), devices.process_slice(config.train.batch_size)
            ),
            first=first_step,
            last=total_steps,
            workers=config.data.workers,
        ),
        evaluation_stream=evaluation_stream,
        batch_of={name: functools.partial(_corrupted_batch, recipes[name], moments) for name in data.splits},
    )


def _corrupted_batch(recipe: CorruptionSpec, moments: Moments, data: Any, item: Any) -> step.Batch:
    """Makes one device's batch of `item`, a Split, inside the program; a streamed feed has no `data`."""
    images, given, _ = recipe.apply(item.ids, item.images, item.labels, moments)
    return step.Batch(images, given, item.labels, item.ids)


def _corruption_spec(config: ConfigDict, data: Dataset, split: str) -> CorruptionSpec:
    return make_corruption_spec(config.corruption, config.seed, data.num_classes, train=split != "test")


def _moments(config: ConfigDict, data: Dataset, count_values: Callable[[], np.ndarray]) -> Moments:
    """Returns the moments of the clean training images, where the corruption asks for them."""
    if config.corruption.pixels == "gaussian":
        return measure_moments(count_values())
    return make_moments(*np.zeros((2, data.train.image_shape[-1])))


def train_rows(config: ConfigDict, data: Dataset) -> Callable[[int, int], np.ndarray]:
    """Returns (first step, steps) -> rows of global batches."""
    return functools.partial(
        batches.select_train_rows,
        config.seed,
        num_examples=len(data.train.ids),
        batch_size=config.train.batch_size,
        remainder=config.data.remainder,
    )


def evaluation_batch_size(config: ConfigDict, data: Dataset) -> int:
    """Returns the global size of evaluation batches, the same for all splits: none is longer than the longest."""
    longest = max(len(split.ids) for split in data.splits.values())
    return devices.round_up_batch(min(config.evaluate.batch_size, longest))


def _evaluation_rows(config: ConfigDict, data: Dataset, split: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns this process's part of the batches (rows, weights) that cover a split once."""
    batch_size = evaluation_batch_size(config, data)
    part = devices.process_slice(batch_size)
    covering = batches.cover_examples(len(data.splits[split].ids), batch_size)
    return [(rows[part], weights[part]) for rows, weights in covering]
