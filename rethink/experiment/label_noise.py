"""The labels that a run would give to examples, without a run."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rethink.configs import base
from rethink.data import preprocessing
from rethink.data.arrays import make_dataset
from rethink.data.class_labels import encode_labels
from rethink.data.corruption.noise import DataFacts
from rethink.data.corruption.spec import redraw_labels
from rethink.experiment.guest import as_guest
from rethink.schema import validation
from rethink.schema.config_file import make_config
from rethink.schema.errors import UserError


class NoisyLabels(NamedTuple):
    """Labels with noise.

    labels: as given, int32 [n]; resampled: whether a label was drawn anew, bool [n], which may be the same again.
    """

    labels: np.ndarray
    resampled: np.ndarray


def corrupt_labels(
    labels: Any,
    *,
    num_classes: int,
    kind: str,
    probability: float = 1.0,
    seed: int = 0,
    images: Any = None,
    matrix: Any = None,
    class_names: Sequence[str] = (),
) -> NoisyLabels:
    """Returns the labels that a run of this corruption.seed gives to training examples 0, 1, ...

    Args:
      labels: true ones [n]: numbers 0..num_classes - 1, or names of classes; or one-hot rows [n, num_classes].
      kind, probability: as the fields corruption.labels and corruption.label_probability.
      images: as of `train`, which kind="instance" reads.
      matrix: probability of each given label, a column, for each true one, a row, with kind="matrix".
      class_names: of classes 0, 1, ..., by which kind="asymmetric" finds its map, and a file of labels its classes;
        without them, labels that are texts are numbered in the order that `train` gives to them.

    Raises:
      UserError: labels or images are something else; there is no such kind, or it lacks what it reads or is given what
        it does not read; no such probability or seed.
    """
    if not isinstance(num_classes, int | np.integer) or isinstance(num_classes, bool) or num_classes < 1:
        raise UserError(f"num_classes={num_classes!r} is no number of classes: give a whole number such as 10.")
    names = tuple(class_names)
    if names and len(names) != num_classes:
        raise UserError(f"class_names= has {len(names)} names, and num_classes={num_classes}: give a name for each.")
    if (matrix is not None) != (kind == "matrix"):
        raise UserError(f"kind={kind!r}: kind='matrix' and matrix= go together: give both, or leave matrix= out.")
    fields = {"seed": seed, "corruption.labels": "matrix:GIVEN" if kind == "matrix" else kind}
    if not (isinstance(probability, int | float) and probability == 1):  # the default, which not all kinds read
        fields["corruption.label_probability"] = probability
    config = make_config(base.get_config(), fields)
    if kind == "matrix":
        config.corruption.labels = kind
        matrix = _to_array(matrix, "matrix=")
    facts = DataFacts(int(num_classes), config.seed, names, positions=np.size(labels))
    if np.size(labels) == 0 and labels is not None:
        return NoisyLabels(np.zeros(0, np.int32), np.zeros(0, bool))
    numbers = _number_labels(labels, int(num_classes), names)
    if images is not None:
        images, facts = _store_images(images, numbers, config.data, facts)
    with as_guest(config.hardware):
        return NoisyLabels(*redraw_labels(numbers, config.corruption, facts, images, matrix))


def _number_labels(labels: Any, num_classes: int, names: Sequence[str]) -> np.ndarray:
    """Returns the classes of labels, int32 [n]."""
    array = _to_array(labels, "labels=")
    if array.ndim == 2 and array.shape[1] not in (1, num_classes):
        raise UserError(
            f"labels= has shape {list(array.shape)}: give one for each example, [n], or rows [n, {num_classes}]."
        )
    is_text = array.dtype.kind in "US" or (array.dtype == object and isinstance(array.flat[0], str | bytes))
    if not names and not is_text:
        names = tuple(map(str, range(num_classes)))
    encoded, found = encode_labels({"train": array}, "labels=", names)
    if len(found) != num_classes:
        raise UserError(
            f"labels= has {len(found)} different texts, and num_classes={num_classes}: give class_names=, of all."
        )
    return encoded["train"]


def _store_images(images: Any, labels: np.ndarray, config: Any, facts: DataFacts) -> tuple[np.ndarray, DataFacts]:
    """Returns images as a run would store them, and facts with what it would know of them."""
    names = tuple(map(str, range(facts.num_classes)))
    dataset = make_dataset(validation.GIVEN, {"train": (images, labels)}, names)
    split, is_vector = dataset.splits["train"].load(), dataset.has_vectors
    preprocessing.check_values(split.images, split.ids, config.value_range, has_vectors=is_vector, where="images=")
    span = preprocessing.value_span(split.images.dtype, is_vector, config.value_range)
    return split.images, facts._replace(value_span=span, has_vectors=is_vector)


def _to_array(values: Any, where: str) -> np.ndarray:
    """Returns an array of lists, which must have one length."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise UserError(f"{where} has rows of several lengths: give one array.") from error
