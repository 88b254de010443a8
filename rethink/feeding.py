"""Owns the way from a data set to the devices: which feed, corrupted how, which rows of it in which step.

Refuses to read, to draw and to place by itself: it joins data/ to training/feeds.py, as a config says.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from rethink.data import batches, corruption, sources, streaming
from rethink.data.census import Census
from rethink.training import feeds, parallel, step

FEEDS = ("auto", "resident", "streamed")
GIB = 2**30
BATCHES_PER_WORKER = 16  # an evaluation that is shorter is not worth the start of a process

Censuses = dict[str, Census]  # by split


def make_feed(name: str, config: ConfigDict, data: sources.DataSet, total_steps: int) -> tuple[feeds.Feed, Censuses]:
    """Returns the feed "resident" or "streamed" of a data set, and the census of each of its splits.

    A resident feed reads and corrupts all examples now, and their census is full; a streamed feed's fills up in the
    first pass over each split.
    """
    census = {split: Census() for split in data.splits}
    if name == "resident":
        return _resident_feed(config, data, census), census
    return _streamed_feed(config, data, total_steps, census), census


def choose_feed(config: ConfigDict, data: sources.DataSet, copies: int = 1) -> tuple[str, str]:
    """Returns ("resident" or "streamed", why): as the config section `data` says, or by the size as uint8.

    Args:
      copies: of the images, where runs that are trained together hold several.
    """
    size = copies * stored_size(data) / GIB
    if config.feed != "auto":
        return config.feed, f"{size:.2f} GiB"
    fits = size <= config.resident_limit_gib
    return "resident" if fits else "streamed", f"{size:.2f} GiB, limit {config.resident_limit_gib:g}"


def step_bytes(config: ConfigDict, data: sources.DataSet) -> int:
    """Returns the bytes of images that a process hands to the devices for each step: 0 for a resident feed."""
    if choose_feed(config.data, data)[0] == "resident":
        return 0
    part = parallel.own_part(config.train.batch_size)
    return (part.stop - part.start) * math.prod(data.train.image_shape)


def stored_size(data: sources.DataSet) -> int:
    """Returns the bytes of all splits' images as uint8."""
    return sum(len(split.ids) for split in data.splits.values()) * math.prod(data.train.image_shape)


def corrupted_splits(config: ConfigDict, data: sources.DataSet) -> dict[str, corruption.Corrupted]:
    """Returns every split of a data set in host memory, corrupted as the config says."""
    raw = {name: split.load() for name, split in data.splits.items()}
    moments = _moments(config, data, lambda: corruption.count_values(raw["train"].images))
    return {name: corruption.corrupt_split(raw.pop(name), _recipe(config, data, name), moments) for name in data.splits}


def fingerprints_of(splits: dict[str, corruption.Corrupted]) -> dict[str, str]:
    """Returns the fingerprints of whole splits, of images and labels, named as those of a training run."""
    found = {}
    for name, split in splits.items():
        census = Census()
        census.add(split)
        prefix = "" if name == "train" else f"{name}_"
        found.update({prefix + part: value for part, value in census.fingerprints(parallel.gather).items()})
    return found


def _resident_feed(config: ConfigDict, data: sources.DataSet, census: Censuses) -> feeds.ResidentFeed:
    splits = corrupted_splits(config, data)
    for name, split in splits.items():
        census[name].add(corruption.Corrupted(*(part[parallel.own_stride()] for part in split)))
        census[name].full = True
    rows = train_rows(config, data)
    part = parallel.own_part(config.train.batch_size)
    return feeds.ResidentFeed(
        splits,
        train_rows=lambda first_step, steps: rows(first_step, steps)[:, part],
        evaluation_rows={name: _evaluation_rows(config, data, name) for name in splits},
    )


def _streamed_feed(config: ConfigDict, data: sources.DataSet, total_steps: int, census: Censuses) -> feeds.StreamedFeed:
    rows = {name: _evaluation_rows(config, data, name) for name in data.splits}

    def read(name: str) -> Iterator[tuple[sources.Split, np.ndarray]]:
        """Yields (batch, weights) over a split."""
        numbers = [batch for batch, _ in rows[name]]
        parts = streaming.stream(
            data.splits[name],
            numbers.__getitem__,
            first=0,
            last=len(numbers),
            workers=min(config.data.workers, len(numbers) // BATCHES_PER_WORKER),
        )
        yield from zip(parts, (weights for _, weights in rows[name]), strict=True)

    def count_values() -> np.ndarray:
        with parallel.all_or_none():
            counts = np.zeros((data.train.image_shape[-1], 256), np.int64)
            for part, weights in read("train"):
                counts += corruption.count_values(part.images[weights > 0])
        return parallel.gather(counts).sum(axis=0)

    moments = _moments(config, data, count_values)
    recipes = {name: _recipe(config, data, name) for name in data.splits}

    def evaluation_stream(name: str) -> Iterator[tuple[sources.Split, np.ndarray]]:
        for part, weights in read(name):
            if weights.any() and not census[name].full:  # a process's share of the last batch may be all padding
                there = sources.Split(*(values[weights > 0] for values in part))
                census[name].add(corruption.corrupt_split(there, recipes[name], moments))
            yield part, weights
        census[name].full = True

    return feeds.StreamedFeed(
        train_stream=lambda first_step: streaming.stream(
            data.train,
            functools.partial(
                batches.train_batch, train_rows(config, data), parallel.own_part(config.train.batch_size)
            ),
            first=first_step,
            last=total_steps,
            workers=config.data.workers,
        ),
        evaluation_stream=evaluation_stream,
        batch_of={name: functools.partial(_corrupted_batch, recipes[name], moments) for name in data.splits},
    )


def _corrupted_batch(recipe: corruption.Recipe, moments: corruption.Moments, data: Any, item: Any) -> step.Batch:
    """Makes one device's batch of `item`, a Split, inside the program; a streamed feed has no `data`."""
    images, given, _ = recipe.apply(item.ids, item.images, item.labels, moments)
    return step.Batch(images, given, item.labels, item.ids)


def _recipe(config: ConfigDict, data: sources.DataSet, split: str) -> corruption.Recipe:
    return corruption.make_recipe(config.corruption, config.seed, data.num_classes, train=split != "test")


def _moments(config: ConfigDict, data: sources.DataSet, count_values: Callable[[], np.ndarray]) -> corruption.Moments:
    """Returns the moments of the clean training images, where the corruption asks for them."""
    if config.corruption.pixels == "gaussian":
        return corruption.measure_moments(count_values())
    return corruption.make_moments(*np.zeros((2, data.train.image_shape[-1])))


def train_rows(config: ConfigDict, data: sources.DataSet) -> Callable[[int, int], np.ndarray]:
    """Returns (first step, steps) -> rows of global batches."""
    return functools.partial(
        batches.train_rows,
        config.seed,
        num_examples=len(data.train.ids),
        batch_size=config.train.batch_size,
        remainder=config.data.remainder,
    )


def evaluation_batch_size(config: ConfigDict, data: sources.DataSet) -> int:
    """Returns the global size of evaluation batches, the same for all splits: none is longer than the longest."""
    longest = max(len(split.ids) for split in data.splits.values())
    return parallel.whole_batch(min(config.evaluate.batch_size, longest))


def _evaluation_rows(config: ConfigDict, data: sources.DataSet, split: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns this process's part of the batches (rows, weights) that cover a split once."""
    batch_size = evaluation_batch_size(config, data)
    part = parallel.own_part(batch_size)
    covering = batches.evaluation_rows(len(data.splits[split].ids), batch_size)
    return [(rows[part], weights[part]) for rows, weights in covering]
