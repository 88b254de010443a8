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
from rethink.results.screen import name_class

MOST = 8  # images of a condition
LARGEST = 96  # pixels a side
LONGEST_NAME = 40  # characters of a class
ARRAYS = ("images", "given_labels", "true_labels")


class Sample(NamedTuple):
    """An image as a data URI of a PNG, with the class that the network is given and the true one, by name or number."""

    uri: str
    given: str
    true: str


class Condition(NamedTuple):
    """What is randomized: data set, pixels and labels; the run whose samples show it; what these leave out, or ""."""

    data: str
    pixels: str
    labels: str
    record: RunRecord
    samples: Sequence[Sample]
    note: str


def read_conditions(records: Sequence[RunRecord]) -> list[Condition]:
    """Returns one run's samples for each (data set, pixels, labels), in the order of the runs."""
    conditions: dict[tuple[str, str, str], Condition] = {}
    for record in records:
        key = _name_condition(record)
        if not record.problem and key not in conditions and (found := read_samples(record)):
            conditions[key] = Condition(*key, record, *found)
    return list(conditions.values())


def _name_condition(record: RunRecord) -> tuple[str, str, str]:
    config = record.run.config
    pixels, labels = (str(config.get(f"corruption.{part}", "none")) for part in ("pixels", "labels"))
    pixels = "true" if pixels == "none" else pixels
    probability = config.get("corruption.label_probability", 1.0)
    labels = "true" if labels == "none" else f"{labels}, each resampled with probability {probability}"
    return str(config.get("data.name", "unknown")), pixels, labels


def read_samples(record: RunRecord) -> tuple[list[Sample], str] | None:
    """Returns the samples that a run has kept, and what they leave out; None where it kept none that can be read."""
    path = record.run.folder / "samples.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "vectors" in arrays:
                return [], "The examples are feature vectors, of which there is no picture."
            columns = [arrays[name][:MOST] for name in ARRAYS]
        samples = [
            Sample(image_uri(image), *(_name_class(record, int(label)) for label in labels))
            for image, *labels in zip(*columns, strict=True)
        ]
        channels = columns[0].shape[-1]
    except (ValueError, TypeError, KeyError, IndexError, OSError, EOFError, zipfile.BadZipFile):
        return None
    shown = _shown_channels(channels)
    return samples, "" if shown == channels else f"Of {channels} channels the first {shown} are shown."


def _name_class(record: RunRecord, label: int) -> str:
    names = record.run.data.get("class_names")
    return name_class(label, names if isinstance(names, list) else (), LONGEST_NAME)


def _shown_channels(channels: int) -> int:
    """Returns how many of an image's channels a picture has: the first as grey, or the first three as colours."""
    return 3 if channels >= 3 else 1


def image_uri(image: np.ndarray) -> str:
    """Returns an image uint8 [height, width, channels] as a data URI of a PNG of the channels that a picture has.

    Raises:
      ValueError or TypeError: it is none such.
    """
    if image.ndim != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"an image of shape {image.shape} and type {image.dtype}")
    shown = _shown_channels(image.shape[2])
    picture = Image.fromarray(np.ascontiguousarray(image[:, :, 0] if shown == 1 else image[:, :, :shown]))
    picture.thumbnail((LARGEST, LARGEST))
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return png_uri(content.getvalue())


def png_uri(content: bytes) -> str:
    """Returns the bytes of a PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
