"""The sample images of a page: a few training examples of each condition, corrupted, before crop and whitening.

Images larger than a thumbnail are made smaller; small ones are scaled up by the browser, without smoothing.
"""

import base64
import io
import zipfile
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from rethink.report.page.run_index import RunRecord

MOST = 8  # images of a condition
LARGEST = 96  # pixels a side
ARRAYS = ("images", "given_labels", "true_labels")


class Sample(NamedTuple):
    """An image as a data URI of a PNG, with the label that the network is given and the true one."""

    uri: str
    given: int
    true: int


class Condition(NamedTuple):
    """What is randomized: data set, pixels and labels, and the run whose samples show it."""

    data: str
    pixels: str
    labels: str
    record: RunRecord
    samples: Sequence[Sample]


def read_conditions(records: Sequence[RunRecord]) -> list[Condition]:
    """Returns one run's samples for each (data set, pixels, labels), in the order of the runs."""
    conditions: dict[tuple[str, str, str], Condition] = {}
    for record in records:
        key = _name_condition(record)
        if not record.problem and key not in conditions and (samples := read_samples(record)):
            conditions[key] = Condition(*key, record, samples)
    return list(conditions.values())


def _name_condition(record: RunRecord) -> tuple[str, str, str]:
    config = record.run.config
    pixels, labels = (str(config.get(f"corruption.{part}", "none")) for part in ("pixels", "labels"))
    pixels = "true" if pixels == "none" else pixels
    probability = config.get("corruption.label_probability", 1.0)
    labels = "true" if labels == "none" else f"{labels}, each resampled with probability {probability}"
    return str(config.get("data.name", "unknown")), pixels, labels


def read_samples(record: RunRecord) -> list[Sample]:
    """Returns the samples that a run has kept; none where it kept none, or where they can't be read."""
    path = record.run.folder / "samples.npz"
    if not path.is_file():
        return []
    try:
        with np.load(path, allow_pickle=False) as arrays:
            columns = [arrays[name][:MOST] for name in ARRAYS]
        return [Sample(image_uri(image), int(given), int(true)) for image, given, true in zip(*columns, strict=True)]
    except (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile):
        return []


def image_uri(image: np.ndarray) -> str:
    """Returns an image uint8 [height, width, 1 or 3] as a data URI of a PNG.

    Raises:
      ValueError or TypeError: it is none such.
    """
    if image.ndim != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image of shape {image.shape} and type {image.dtype}")
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    picture.thumbnail((LARGEST, LARGEST))
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return png_uri(content.getvalue())


def png_uri(content: bytes) -> str:
    """Returns the bytes of a PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
