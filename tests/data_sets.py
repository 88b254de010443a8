"""Opens data sets for tests: small TFDS sets written to disk, and what is read back of them."""

import io
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from rethink.configs import base
from rethink.data.registry import open_dataset
from rethink.schema.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = {name: RNG.integers(0, 256, (n, 6, 5, 3)).astype(np.uint8) for name, n in (("train", 23), ("test", 7))}
LABELS = {name: RNG.integers(0, 4, len(images)) for name, images in IMAGES.items()}


def section(**fields):
    """The config section `data` of the base config, with some fields set and no cache."""
    config = base.get_config().data
    config.update({"cache_dir": "", **fields})
    return config


def load(**fields):
    """Opens a set and loads both splits: (set, train, test)."""
    opened = open_dataset(section(**fields))
    return opened, opened.train.load(), opened.test.load()


def refusal(**fields):
    """The one line with which a set is refused."""
    with pytest.raises(UserError) as error:
        load(**fields)
    assert "\n" not in str(error.value)
    return str(error.value)


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def write_set(
    root, images=IMAGES, labels=LABELS, *, name="tiny", version="1.0.0", shape=None, features=None, shards=1, **options
):
    """Prepares a TFDS set below `root`, stored in the order given; returns its directory.

    Args:
      images: split -> arrays, or encoded bytes; labels: split -> numbers below 4.
      shape: as declared; the first image's without.
      features: replaces image and label, for sets of another kind; their values are 0.
      options: of `download_and_prepare`.
    """

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)

        def _info(self):
            first = next(iter(images.values()))
            image = tfds.features.Image(shape=shape or first[0].shape, encoding_format="png")
            own = {"image": image, "label": tfds.features.ClassLabel(num_classes=4)}
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features or own),
                supervised_keys=None if features else ("image", "label"),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in images}

        def _generate_examples(self, split):
            for i, (image, label) in enumerate(zip(images[split], labels[split], strict=True)):
                encoded = image if isinstance(image, bytes) else png(image)
                own = {"image": io.BytesIO(encoded), "label": int(label)}
                yield i, dict.fromkeys(features, 0) if features else own

    Tiny.name = name
    builder = Tiny(data_dir=root)
    config = tfds.download.DownloadConfig(num_shards=shards)
    builder.download_and_prepare(**{"file_format": "array_record", "download_config": config, **options})
    return pathlib.Path(builder.data_dir)


def assert_exact(split, name, rows=None):
    rows = np.arange(len(LABELS[name])) if rows is None else rows
    np.testing.assert_array_equal(split.images, IMAGES[name][rows], strict=True)
    np.testing.assert_array_equal(split.labels, LABELS[name][rows].astype(np.int32), strict=True)
    np.testing.assert_array_equal(split.ids, rows.astype(np.uint32), strict=True)
