"""The pictures of a page, as data that it holds: samples of each condition, extremes of a run, and its figures.

Images larger than a thumbnail are made smaller; small ones are scaled up by the browser, without smoothing.
"""

import base64
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from rethink.figures.gallery import count_shown, describe_channels
from rethink.report.page.run_index import RunRecord
from rethink.results.screen import name_class

MOST = 8  # images of a condition, and of either end of a run's examples
LARGEST = 96  # pixels a side
LARGEST_THUMBNAIL, LARGEST_PNG = 8_000, 150_000  # bytes of an exact picture; a larger one is stored with losses
LARGEST_FIGURE = 2**22  # bytes of a PNG that is shown in the page; larger ones are linked
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
        if not record.problem and key not in conditions and (found := read_samples(record, "samples", MOST)):
            conditions[key] = Condition(*key, record, *found)
    return list(conditions.values())


def _name_condition(record: RunRecord) -> tuple[str, str, str]:
    config = record.run.config
    pixels, labels = (str(config.get(f"corruption.{part}", "none")) for part in ("pixels", "labels"))
    pixels = "true" if pixels == "none" else pixels
    probability = config.get("corruption.label_probability", 1.0)
    labels = "true" if labels == "none" else f"{labels}, each resampled with probability {probability}"
    return str(config.get("data.name", "unknown")), pixels, labels


def read_samples(record: RunRecord, name: str, most: int) -> tuple[list[Sample], str] | None:
    """Returns examples that a run has kept in NAME.npz, and what they leave out; None where none can be read."""
    path = record.run.folder / f"{name}.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "vectors" in arrays:
                return [], "The examples are feature vectors, of which there is no picture."
            columns = [arrays[column][:most] for column in ARRAYS]
        samples = [
            Sample(image_uri(image), *(_name_class(record, int(label)) for label in labels))
            for image, *labels in zip(*columns, strict=True)
        ]
        channels = columns[0].shape[-1]
    except (ValueError, TypeError, KeyError, IndexError, OSError, EOFError, zipfile.BadZipFile):
        return None
    return samples, describe_channels(channels)


def read_extremes(record: RunRecord) -> list[tuple[str, list[Sample]]]:
    """Returns (caption, examples) of those that a training run has learned last, and first; [] where it kept none."""
    samples, note = read_samples(record, "extremes", 2 * MOST) or ([], "")
    half, extremes = len(samples) // 2, []
    for end, part in (("largest", samples[:half]), ("smallest", samples[half:])) if half else ():
        caption = f"The {half} training examples with the {end} loss, summed over the evaluations"
        if record.run.config.get("corruption.labels", "none") != "none":
            caption += f": {sum(sample.given != sample.true for sample in part)} of their labels are wrong"
        extremes.append((f"{caption}. {note}".rstrip(), part))
    return extremes


def _name_class(record: RunRecord, label: int) -> str:
    names = record.run.data.get("class_names")
    return name_class(label, names if isinstance(names, list) else (), LONGEST_NAME)


def image_uri(image: np.ndarray) -> str:
    """Returns an image uint8 [height, width, channels] as a data URI of the channels that a picture has.

    Raises:
      ValueError or TypeError: it is none such.
    """
    if image.ndim != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"an image of shape {image.shape} and type {image.dtype}")
    shown = count_shown(image.shape[2])
    picture = Image.fromarray(np.ascontiguousarray(image[:, :, 0] if shown == 1 else image[:, :, :shown]))
    picture.thumbnail((LARGEST, LARGEST))
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return _picture_uri(content.getvalue(), LARGEST_THUMBNAIL)


def figure_uri(path: Path) -> str:
    """Returns a PNG file as a data URI; "" of one that is too large for the page, or no picture."""
    try:
        return _picture_uri(path.read_bytes(), LARGEST_PNG) if path.stat().st_size <= LARGEST_FIGURE else ""
    except OSError:
        return ""


def _picture_uri(content: bytes, largest: int) -> str:
    """Returns a PNG file's content as a data URI, of a larger one as WebP with losses."""
    kind = "png"
    if len(content) > largest:
        smaller, kind = io.BytesIO(), "webp"
        Image.open(io.BytesIO(content)).convert("RGB").save(smaller, format="WEBP", quality=75)
        content = smaller.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
