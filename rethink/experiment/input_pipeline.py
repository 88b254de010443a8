"""The way of an image from the data set to the model: rows, feed, corruption, crop, augmentation, whitening.

Each op stands in a module of its own, in data/ or regularization/; here they are put together. Nothing is trained.

    dataset -> rows -> corruption (once, or in each step) -> [augmentation | centre crop] -> whitening -> model
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from rethink import randomness
from rethink.data import batches, fingerprints, preprocessing, streaming
from rethink.data.corruption import rates
from rethink.data.corruption.moments import Moments, measure_moments, no_moments, tally_values
from rethink.data.corruption.noise import DataFacts
from rethink.data.corruption.pixels import GAUSSIAN
from rethink.data.corruption.spec import Corrupted, CorruptionSpec, corrupt_split, make_corruption_spec, resolve_seed
from rethink.data.dataset import Dataset, Split
from rethink.data.equal_images import count_equal_images
from rethink.data.provenance import Provenance
from rethink.regularization import augmentation
from rethink.schema.errors import UserError, pick
from rethink.training import devices, distributed, feeds, step

GIB = 2**30
BATCHES_PER_WORKER = 16  # an evaluation that is shorter is not worth the start of a process


class InputPipeline:
    """The input of one run, from the open data set to the model.

    Attributes:
      train_rows: (first step, steps) -> rows of global batches, int32 [steps, batch]; picklable, for worker processes.
      feed_kind: "resident" or "streamed"; feed_reason: why, for the screen.
      provenance: split -> what is recorded of this process's examples: complete at once with a resident feed, after the
        first evaluation of the split with a streamed one.
    """

    def __init__(self, config: ConfigDict, dataset: Dataset):
        """Reads no example yet."""
        self.config, self.dataset = config, dataset
        self.train_rows: Callable[[int, int], np.ndarray] = functools.partial(
            batches.select_train_rows,
            config.seed,
            num_examples=len(dataset.train.ids),
            batch_size=config.train.batch_size,
            remainder=config.data.remainder,
        )
        self.feed_kind, self.feed_reason = self.choose_feed()
        self._specs: dict[str, CorruptionSpec] = {}
        self.provenance = {split: Provenance() for split in dataset.splits}
        self._span = preprocessing.value_span(dataset.train.image_dtype, dataset.has_vectors, config.data.value_range)
        self._decode = functools.partial(preprocessing.decode_images, span=self._span)
        self._augment = augmentation.from_config(config.augmentation)

    # Sizes, and which feed suits them.

    @property
    def stored_size(self) -> int:
        """Bytes of all splits' images as stored."""
        return sum(len(split.ids) for split in self.dataset.splits.values()) * self.dataset.image_bytes

    @property
    def evaluation_batch_size(self) -> int:
        """Examples in a global batch of evaluation, the same for all splits: at most as many as in the longest."""
        longest = max(len(split.ids) for split in self.dataset.splits.values())
        return devices.round_up_batch(min(self.config.evaluate.batch_size, longest))

    @property
    def bytes_per_step(self) -> int:
        """Bytes of images that this process hands to its devices for each training step: 0 with a resident feed."""
        if self.feed_kind == "resident":
            return 0
        share = devices.process_slice(self.config.train.batch_size)
        return (share.stop - share.start) * self.dataset.image_bytes

    def choose_feed(self) -> tuple[str, str]:
        """Returns ("resident" or "streamed", why): as `data.feed` says, where that is "auto" by the stored size.

        Raises:
          UserError: `data.feed` is unknown.
        """
        config, size = self.config.data, self.stored_size / GIB
        pick({"auto": None, **FEEDS}, config.feed, "data.feed")
        if config.feed != "auto":
            return config.feed, f"{size:.2f} GiB"
        is_small = size <= config.resident_limit_gib
        return "resident" if is_small else "streamed", f"{size:.2f} GiB, limit {config.resident_limit_gib:g}"

    # Corruption: of whole splits in host memory, or of each batch on the devices.

    def corruption_spec(self, split: str) -> CorruptionSpec:
        """Returns what is done to the examples of a split; "validation" is corrupted as "train"."""
        if split not in self._specs:
            dataset, source = self.dataset, self.dataset.splits[split]
            facts = DataFacts(
                num_classes=dataset.num_classes,
                seed=resolve_seed(self.config),
                class_names=dataset.class_names,
                name=dataset.name,
                positions=dataset.train_positions
                or dataset.full_train_examples + sum(bad.split == "train" for bad in dataset.bad_files),
                ids=source.ids,
                paths=source.paths,
                image_shape=source.image_shape,
                value_span=self._span,
                has_vectors=dataset.has_vectors,
                is_folded=bool(self.config.data.classes),
            )
            self._specs[split] = make_corruption_spec(self.config.corruption, facts, train=split != "test")
        return self._specs[split]

    def corrupt_splits(self) -> dict[str, Corrupted]:
        """Returns every split, read and corrupted in host memory; takes this process's share into the provenance."""
        raw = {name: self._check_values(name, split.load()) for name, split in self.dataset.splits.items()}
        if self.dataset.has_vectors:
            preprocessing.warn_of_scales(raw["train"].images)
        moments = self._moments(lambda: tally_values(raw["train"].images))
        splits = {}
        for name, provenance in self.provenance.items():
            stored, share = raw.pop(name), devices.process_stride()
            splits[name] = corrupt_split(stored, self.corruption_spec(name), moments)
            provenance.add(splits[name].take(share), stored.images[share])
            provenance.complete = True
        return splits

    def _check_values(self, split: str, examples: Split) -> Split:
        """Returns examples of a split, whose values are those that `preprocessing.check_values` lets pass."""
        config, has_vectors = self.config.data, self.dataset.has_vectors
        where = f"data.name='{config.name}', {split}"
        preprocessing.check_values(
            examples.images, examples.ids, config.value_range, has_vectors=has_vectors, where=where
        )
        return examples

    def _moments(self, tally_train_values: Callable[[], np.ndarray]) -> Moments:
        """Returns the moments of the clean training images, zeros where the corruption does not read them.

        Args:
          tally_train_values: as of `tally_values`.

        Raises:
          UserError: noise is to be drawn with the spread of images that have none.
        """
        kind = self.config.corruption.pixels
        if kind in GAUSSIAN:
            dtype = self.dataset.train.image_dtype
            moments = measure_moments(tally_train_values(), dtype, None if kind == "gaussian" else self._span)
            if not moments.std.any():
                raise UserError(
                    f"corruption.pixels='{kind}' draws with the spread of the training images, which all have one and "
                    "the same value: set --config.corruption.pixels=none, or choose other data."
                )
            return moments
        return no_moments(self.dataset.train.image_shape[-1])

    # What the model sees.

    @property
    def whitening(self) -> str:
        """The name in `preprocessing.WHITENINGS` of what is done to images; "none" of vectors where `auto` says."""
        return preprocessing.resolve_whitening(self.config.preprocess.whiten, self.dataset.has_vectors)

    def check_input_shape(self) -> tuple[int, ...]:
        """Returns the shape of the model's input: (height, width, channels), or (features,) of feature vectors.

        Raises:
          UserError: crop, whitening, augmentation or corruption can't be done to these images, or have no effect on
            them.
        """
        image_shape = self.dataset.train.image_shape
        if self.dataset.has_vectors:
            self._check_vector_settings()
            return image_shape[-1:]
        size = preprocessing.crop_size(image_shape, self.config.preprocess.crop)
        preprocessing.check_whitening((*size, image_shape[-1]), self.whitening)
        self._augment.check_images(image_shape, size)
        for name in ("saturation", "hue"):
            if self.config.corruption.pixels == "gaussian" and self.config.augmentation[name]:
                raise UserError(
                    f"augmentation.{name}={self.config.augmentation[name]:g} is for colours in 0..1, and "
                    "corruption.pixels='gaussian' goes beyond: set --config.corruption.pixels=gaussian_clipped, or "
                    f"--config.augmentation.{name}=0.0."
                )
        return (*size, image_shape[-1])

    def _check_vector_settings(self) -> None:
        """Checks that nothing is set that takes images.

        Raises:
          UserError: the fields that do.
        """
        config = self.config
        settings = {
            "preprocess.crop": (config.preprocess.crop, 0),
            "preprocess.whiten": (self.whitening, "none"),
            **{f"augmentation.{name}": (value, type(value)()) for name, value in config.augmentation.items()},
            "augmentation.crop": (config.augmentation.crop, "none"),
        }
        off = {field: pair for field, pair in settings.items() if pair[0] != pair[1]}
        if off:
            given = " and ".join(f"{field}={value}" for field, (value, _) in off.items())
            wanted = " ".join(f"--config.{field}={plain}" for field, (_, plain) in off.items())
            raise UserError(
                f"{given} take images, and data.name='{config.data.name}' has feature vectors: set {wanted}."
            )
        if config.corruption.pixels == "gaussian_clipped":
            raise UserError(
                "corruption.pixels='gaussian_clipped' clips to the range of pixels, and "
                f"data.name='{config.data.name}' has feature vectors: set --config.corruption.pixels=gaussian."
            )

    def evaluation_view(self, batch: step.Batch) -> jax.Array:
        """Returns the model's input in evaluation: float32 [batch, *input shape]."""
        return self.view_images(batch.images, batch.encoding)

    def view_images(self, images: jax.Array, encoding: jax.Array) -> jax.Array:
        """Returns `evaluation_view` of images, corrupted, with what their values stand for."""
        if self.dataset.has_vectors:
            return self._decode(images, encoding).reshape(len(images), -1)
        crop = self.config.preprocess.crop
        return preprocessing.preprocess_images(images, encoding, crop=crop, whitening=self.whitening, span=self._span)

    def show_samples(self, samples: Corrupted | step.Batch) -> dict[str, np.ndarray]:
        """Returns what samples.npz has of examples: `images` to look at, uint8, or `vectors`, float32 [n, features]."""
        images, encoding = np.asarray(samples.images), np.asarray(samples.encoding)
        if self.dataset.has_vectors:
            values = np.asarray(self._decode(jax.numpy.asarray(images), jax.numpy.asarray(encoding)))
            return {"vectors": values.reshape(len(values), -1)}
        return {"images": preprocessing.round_images(images, encoding, self._span)}

    def train_view(self, seed: Any) -> Callable[[jax.Array, step.Batch], jax.Array]:
        """Returns (step, batch) -> the model's input in training, float32 [batch, *input shape].

        Each step and example draws another augmentation, which takes the place of the centre crop.

        Args:
          seed: an int, or a uint32 scalar inside a compiled function.
        """
        if self._augment.is_off:
            return lambda _, batch: self.evaluation_view(batch)
        key = randomness.key_for(seed, "augmentation")
        size = preprocessing.crop_size(self.dataset.train.image_shape, self.config.preprocess.crop)

        def view(step_number: jax.Array, batch: step.Batch) -> jax.Array:
            key_of_step = jax.random.fold_in(key, step_number)
            images = self._augment(key_of_step, batch.ids, batch.images, batch.encoding, decode=self._decode, size=size)
            return preprocessing.whiten_images(images, self.whitening)

        return view

    # Feeds: how batches reach the devices.

    def make_feed(self, total_steps: int) -> feeds.Feed:
        """Returns the feed of kind `feed_kind`; a resident one reads and corrupts all examples now."""
        return FEEDS[self.feed_kind](self, total_steps)

    def evaluation_rows(self, split: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns (rows int32, weights float32), both [batch], of this process: the batches cover a split once."""
        share = devices.process_slice(self.evaluation_batch_size)
        covering = batches.cover_examples(len(self.dataset.splits[split].ids), self.evaluation_batch_size)
        return [(rows[share], weights[share]) for rows, weights in covering]

    def _make_resident_feed(self, total_steps: int) -> feeds.ResidentFeed:
        splits = self.corrupt_splits()
        share = devices.process_slice(self.config.train.batch_size)
        return feeds.ResidentFeed(
            splits,
            train_rows=lambda first_step, steps: self.train_rows(first_step, steps)[:, share],
            evaluation_rows={name: self.evaluation_rows(name) for name in splits},
        )

    def _make_streamed_feed(self, total_steps: int) -> feeds.StreamedFeed:
        # Splits are read in the order of evaluation, a share by each process.
        rows = {name: self.evaluation_rows(name) for name in self.dataset.splits}
        share = devices.process_slice(self.config.train.batch_size)
        workers = {name: min(self.config.data.workers, len(rows[name]) // BATCHES_PER_WORKER) for name in rows}
        evaluated = devices.process_slice(self.evaluation_batch_size)
        streaming.check_shared_memory(
            self.dataset.image_bytes,  # training's workers keep theirs while an evaluation is made
            self.config.data.workers * (share.stop - share.start)
            + max(workers.values()) * (evaluated.stop - evaluated.start),
        )

        def read_split(name: str) -> Iterator[tuple[Split, np.ndarray]]:
            """Yields (examples as stored, weights) of this process's share of a split."""
            numbers = [batch for batch, _ in rows[name]]
            parts = streaming.stream_batches(
                self.dataset.splits[name],
                numbers.__getitem__,
                first=0,
                last=len(numbers),
                workers=workers[name],
            )
            checked = (self._check_values(name, part) for part in parts)
            yield from zip(checked, (weights for _, weights in rows[name]), strict=True)

        def tally_train_values() -> np.ndarray:
            with distributed.sync_errors():
                pieces = (tally_values(part.images[weights > 0]) for part, weights in read_split("train"))
                tally = functools.reduce(np.add, pieces)
            return distributed.all_gather(tally).sum(axis=0)

        # Corruption: gaussian pixels need the moments of the whole train split, added up in a pass over it.
        moments = self._moments(tally_train_values)
        specs = {name: self.corruption_spec(name) for name in self.dataset.splits}

        def stream_evaluation(name: str) -> Iterator[tuple[Split, np.ndarray]]:
            """Yields as `read_split`; the first pass is corrupted on the host too, for the provenance."""
            provenance = self.provenance[name]
            for examples, weights in read_split(name):
                # A process's share of the last batch may be all padding.
                if weights.any() and not provenance.complete:
                    unpadded = Split(*(values[weights > 0] for values in examples))
                    provenance.add(corrupt_split(unpadded, specs[name], moments), unpadded.images)
                yield examples, weights
            provenance.complete = True

        # Training reads the rows of each step; corruption is computed on the devices.
        return feeds.StreamedFeed(
            train_stream=lambda first_step: streaming.stream_batches(
                self.dataset.train,
                functools.partial(batches.select_process_rows, self.train_rows, share),
                first=first_step,
                last=total_steps,
                workers=self.config.data.workers,
            ),
            evaluation_stream=stream_evaluation,
            batch_of={name: functools.partial(_corrupt_batch, specs[name], moments) for name in specs},
        )

    # What proves that two runs trained on the same examples, in the same order.

    def fingerprint_splits(self) -> dict[str, str]:
        """Returns name -> fingerprint of the images and labels of all splits, over all processes, which all call it."""
        return self.fingerprint_label_file() | {
            name if split == "train" else f"{split}_{name}": value
            for split, provenance in self.provenance.items()
            for name, value in provenance.merge_fingerprints(distributed.all_gather).items()
        }

    def fingerprint_label_file(self) -> dict[str, str]:
        """Returns the SHA-256 of the file that label noise reads, {} where it reads none; no example is read for it."""
        digest = self.corruption_spec("train").label_file
        return {"label_file": digest} if digest else {}

    def gather_labels(self) -> dict[str, dict[str, np.ndarray]]:
        """Returns split -> the labels of its examples, as `Provenance.gather_labels`; all processes call it."""
        return {split: values.gather_labels(distributed.all_gather) for split, values in self.provenance.items()}

    def compare_rates(self, labels: Mapping[str, Mapping[str, np.ndarray]] | None = None) -> dict[str, Any]:
        """Returns the manifest's field `corruption`: its seed, and split -> declared and realized rates.

        All processes call it.

        Args:
          labels: of `gather_labels`, None to gather them.

        Raises:
          UserError, RuntimeError: as `rates.compare_rates`.
        """
        labels = self.gather_labels() if labels is None else labels
        changed = {
            split: values.count_changed_images(distributed.all_gather) for split, values in self.provenance.items()
        }
        with distributed.sync_errors():
            compared = {
                split: rates.compare_rates(self.corruption_spec(split), of_split, changed[split], split)
                for split, of_split in labels.items()
            }
        return {"seed": resolve_seed(self.config), **compared}

    def count_equal_images(self) -> dict[str, int]:
        """Returns the manifest's field `equal_images`, over all processes, which all call it."""
        return count_equal_images(
            {split: values.gather_digests(distributed.all_gather) for split, values in self.provenance.items()}
        )

    def fingerprint_order(self, steps_per_epoch: int) -> str:
        """Returns the fingerprint of the first epoch's rows."""
        return fingerprints.fingerprint_order([self.train_rows(0, steps_per_epoch)])


def _corrupt_batch(spec: CorruptionSpec, moments: Moments, data: Any, item: Any) -> step.Batch:
    """Returns one device's batch of `item`, a Split, inside the step; a streamed feed has no `data`."""
    images, given, _ = spec.apply(item.ids, item.images, item.labels, moments)
    return step.Batch(images, given, item.labels, item.ids, jax.numpy.asarray(spec.encoding(moments)))


FEEDS: dict[str, Callable[[InputPipeline, int], feeds.Feed]] = {
    "resident": InputPipeline._make_resident_feed,
    "streamed": InputPipeline._make_streamed_feed,
}
