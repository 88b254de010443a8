"""Wrong labels from the class probabilities of any framework, without training. Imports no JAX, and draws nothing."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rethink.data.class_labels import encode_labels
from rethink.memorization.logits import to_array
from rethink.schema.errors import UserError

if TYPE_CHECKING:
    import pandas

TOLERANCE = 0.01  # of probabilities and their sums: those of 200 classes in half precision sum to 1 within 0.001
ROUNDING = 1e-6  # of a mean of equal probabilities
SHOWN = 20  # rows in a notebook


@dataclass(frozen=True, repr=False)
class LabelIssues:
    """Labels, the most suspicious first.

    Attributes:
      table: a row for each example, worst first: id (its place, from 0), given_label, suggested_label, label_quality,
        normalized_margin, is_label_issue.
      estimated_wrong: how many labels are wrong, a count of the confident joint: not calibrated, without an interval.
    """

    table: "pandas.DataFrame"
    estimated_wrong: int

    def __repr__(self) -> str:
        return (
            f"<rethink.LabelIssues {self.table['is_label_issue'].sum():,} of {len(self.table):,} labels are flagged, "
            f"{self.estimated_wrong:,} estimated to be wrong: not calibrated, no interval>"
        )

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(repr(self)[1:-1])}</code>{self.table.head(SHOWN)._repr_html_()}"


def find_label_issues(*, labels: Any, pred_probs: Any, class_names: Sequence[str] = ()) -> LabelIssues:
    """Returns which of the given labels are suspicious; trains nothing.

    `label_quality` is the self-confidence, the probability of the given label: it is what -log of makes `last_loss`,
    and needs no threshold and no other class. `normalized_margin` is (1 + p of the given label - the largest of the
    others) / 2. `suggested_label` is the class with the largest probability. Which labels are issues: `count_joint`.

    Args:
      labels: given ones, [n]: whole numbers 0..K-1, or 1..K if K is among them; booleans of two classes; one-hot rows
        [n, K]; with `class_names` also these names. Classes without an example are taken.
      pred_probs: float [n, K], of networks that were not trained on the example. Tensors on the CPU are taken.
      class_names: of the columns.

    Raises:
      UserError: they are something else, or it is open which column is which class.

    Source: Kuan & Mueller (2022), "Model-agnostic label quality scoring to detect real-world label errors".
    """
    import pandas

    probabilities = _check_probabilities(to_array(pred_probs, "pred_probs="))
    columns, classes = _find_columns(labels, probabilities.shape[1], class_names)
    if len(columns) != len(probabilities):
        raise UserError(
            f"labels= are {len(columns):,} and pred_probs= have {len(probabilities):,} rows: give a row for each label."
        )
    rows = np.arange(len(columns))
    quality = probabilities[rows, columns]
    others = probabilities.copy()
    others[rows, columns] = -np.inf
    suggested, confident = probabilities.argmax(axis=1), _find_confident(columns, probabilities)
    table = pandas.DataFrame(
        {
            "id": rows,
            "given_label": classes[columns],
            "suggested_label": classes[suggested],
            "label_quality": quality,
            "normalized_margin": (1 + quality - others.max(axis=1)) / 2,
            "is_label_issue": (confident >= 0) & (confident != columns) & (suggested != columns),
        }
    )
    joint = count_joint(columns, probabilities)
    table = table.sort_values(["label_quality", "normalized_margin", "id"], ignore_index=True)
    return LabelIssues(table, int(joint.sum() - np.trace(joint)))


def count_joint(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns how many examples with given label i are confidently of class j, the confident joint, int64 [K, K].

    An example is confidently of the likeliest of the classes whose probability is at least the threshold of the class:
    its mean over the examples with that label. A class without examples has no threshold, and nothing is of it. A label
    is an issue if its example is confidently of another class, and the likeliest class of all is another one, too.

    Args:
      labels: columns, int [n]; probabilities: float [n, K].

    Source: Northcutt, Jiang & Chuang (2021), "Confident learning: estimating uncertainty in dataset labels".
    """
    classes = probabilities.shape[1]
    confident = _find_confident(labels, probabilities)
    pairs = (labels * classes + confident)[confident >= 0]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def _find_confident(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the class that each example is confidently of, int64 [n]; -1 without one."""
    classes = probabilities.shape[1]
    thresholds = np.full(classes, np.inf)
    for label in np.unique(labels):
        thresholds[label] = probabilities[labels == label, label].mean()
    above = np.where(probabilities >= thresholds - ROUNDING, probabilities, -1.0)
    return np.where(above.max(axis=1) >= 0, above.argmax(axis=1), -1)


def _check_probabilities(array: np.ndarray) -> np.ndarray:
    """Returns probabilities float64 [n, K] in 0..1."""
    if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1):
        raise UserError(
            f"pred_probs= must be [n, classes], and are {list(array.shape)}: of two classes give "
            "np.stack([1 - p, p], axis=1), p the probabilities of class 1."
        )
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.size:
        raise UserError(
            f"pred_probs= must be probabilities [n, classes], and are {array.dtype} {list(array.shape)}: give a row "
            "for each label."
        )
    array = array.astype(np.float64)
    _refuse_rows(~np.isfinite(array).all(axis=1), "is NaN or infinite: leave that example out of both")
    if array.min() < -TOLERANCE:
        if array.max() <= TOLERANCE:
            raise UserError("pred_probs= are negative: these look like log probabilities: apply np.exp.")
        raise UserError(
            f"pred_probs= go from {array.min():g} to {array.max():g}: these look like logits: apply softmax."
        )
    sums = array.sum(axis=1)
    wrong = np.abs(sums - 1) > TOLERANCE
    _refuse_rows(
        wrong,
        f"sums to {sums[np.argmax(wrong)]:g} instead of 1: give the probabilities of all classes (softmax of logits; "
        "neither sigmoids nor percent)",
    )
    return array.clip(0, 1)


def _refuse_rows(wrong: np.ndarray, problem: str) -> None:
    if wrong.any():
        raise UserError(f"pred_probs=, row {int(np.argmax(wrong))} {problem}.")


def _find_columns(labels: Any, classes: int, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the column of each label, int64 [n], and what the columns are called, [K]."""
    given = to_array(labels, "labels=")
    if isinstance(names, str):
        raise UserError(f"class_names='{names}' is one name: give one for each column, such as ['cat', 'dog'].")
    names = [str(name) for name in names]
    if names:
        if len(names) != classes:
            raise UserError(
                f"class_names= are {len(names)} and pred_probs= have {classes} columns: give one for each column."
            )
        encoded, _ = encode_labels({"given": given}, "labels=", names)
        return encoded["given"].astype(np.int64), np.array(names, object)
    encoded, found = encode_labels({"given": given}, "labels=")
    readings = [np.arange(classes)]
    if str(classes) in found:
        readings.append(np.arange(1, classes + 1))
    if classes == 2:
        readings.append(np.array([False, True]))
    for called in readings:
        columns = {str(name): column for column, name in enumerate(called)}
        if all(name in columns for name in found):
            return np.array([columns[name] for name in found])[encoded["given"]], called
    unknown = next(name for name in found if name not in map(str, range(classes)))
    raise UserError(
        f"labels= hold '{unknown}' and pred_probs= have {classes} columns: give whole numbers 0 to {classes - 1}, or "
        "class_names=, the class of each column."
    )
