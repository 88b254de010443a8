"""Wrong labels from labels and probabilities that are given."""

import subprocess
import sys

import numpy as np
import pytest

import rethink
from rethink.memorization.given_probabilities import count_joint
from rethink.schema.errors import UserError

# The thresholds are .75 of class 0, the mean of .9, .8, .55, and .6 of class 1, the mean of .9, .8, .1.
LABELS = np.array([0, 0, 0, 1, 1, 1])
FIRST = np.array([0.9, 0.8, 0.55, 0.1, 0.2, 0.9])
PROBABILITIES = np.stack([FIRST, 1 - FIRST], axis=1)


def draw(examples, classes, seed=0):
    """Returns labels, a fifth of them wrong, and probabilities that know better, but not always."""
    numbers = np.random.default_rng(seed)
    true = numbers.integers(classes, size=examples)
    logits = numbers.normal(size=(examples, classes)) + 4 * np.eye(classes)[true]
    labels = np.where(numbers.random(examples) < 0.2, numbers.integers(classes, size=examples), true)
    probabilities = np.exp(logits)
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


def find(labels, pred_probs, **names):
    return rethink.find_label_issues(labels=labels, pred_probs=pred_probs, **names)


def test_two_classes_by_hand():
    found = find(LABELS, PROBABILITIES)
    table = found.table
    assert table["id"].tolist() == [5, 2, 1, 4, 0, 3]
    np.testing.assert_allclose(table["label_quality"], [0.1, 0.55, 0.8, 0.8, 0.9, 0.9])
    np.testing.assert_allclose(table["normalized_margin"], table["label_quality"])  # of two classes they are one
    assert table["is_label_issue"].tolist() == [True, *[False] * 5]
    assert table["given_label"].tolist() == [1, 0, 0, 1, 0, 1] and table["suggested_label"][0] == 0
    assert count_joint(LABELS, PROBABILITIES).tolist() == [[2, 0], [1, 2]]  # example 2 is of no class
    assert found.estimated_wrong == 1
    assert "1 of 6 labels" in repr(found) and "not calibrated" in repr(found) and "<table" in found._repr_html_()


def test_a_label_that_is_the_likeliest_class_is_no_issue():
    # Example 3 is confidently of class 1, whose threshold is low, but class 0 is the likeliest.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.7, 0.3]])
    found = find([0, 0, 0, 0, 1], probabilities)
    assert found.estimated_wrong == 1 and not found.table["is_label_issue"].any()


@pytest.mark.parametrize("classes", [2, 10, 200])
def test_the_order_is_that_of_cleanlab(classes):
    ranking = pytest.importorskip("cleanlab.rank")
    filters = pytest.importorskip("cleanlab.filter")
    labels, probabilities = draw(600, classes)
    table = find(labels, probabilities).table
    assert (
        table["id"].tolist() == np.argsort(ranking.get_self_confidence_for_each_label(labels, probabilities)).tolist()
    )
    margins = ranking.get_normalized_margin_for_each_label(labels, probabilities)
    np.testing.assert_allclose(table["normalized_margin"], margins[table["id"]])
    if classes == 200:  # three examples a class, of which cleanlab spares some
        return
    flags = filters.find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)
    assert np.array_equal(table.sort_values("id")["is_label_issue"], flags) and 0 < flags.sum() < 300


def test_classes_without_examples_or_with_one():
    labels, probabilities = draw(300, 6)
    kept = (labels != 2) & (labels != 5)
    kept[np.argmax(labels == 5)] = True
    found = find(labels[kept], probabilities[kept])
    assert len(found.table) == kept.sum() and np.isfinite(found.table["label_quality"]).all()
    joint = count_joint(labels[kept], probabilities[kept])
    assert not joint[2].any() and not joint[:, 2].any() and joint[5].sum() == 1
    assert find([1, 1, 1], [[0.3, 0.7]] * 3).estimated_wrong == 0  # none is of the class that no label is


def test_all_forms_of_labels_are_one():
    labels, probabilities = draw(60, 3)
    wanted = find(labels, probabilities).table
    names = ["cat", "dog", "café"]
    for given, called, options in (
        (labels.tolist(), [0, 1, 2], {}),
        (labels.astype(float), [0, 1, 2], {}),
        (labels.astype(str), [0, 1, 2], {}),
        (np.eye(3)[labels], [0, 1, 2], {}),
        (labels[:, None], [0, 1, 2], {}),
        (labels + 1, [1, 2, 3], {}),
        (np.array(names)[labels], names, {"class_names": names}),
        (labels, names, {"class_names": names}),
    ):
        table = find(given, probabilities.tolist(), **options).table
        assert table["given_label"].tolist() == [called[label] for label in wanted["given_label"]]
        assert table["suggested_label"].tolist() == [called[label] for label in wanted["suggested_label"]]
        assert table.iloc[:, 3:].equals(wanted.iloc[:, 3:])
    assert find(LABELS == 1, PROBABILITIES).table["given_label"][0] == True  # noqa: E712  # of NumPy
    assert find(LABELS, PROBABILITIES.astype(np.float16)).table["id"][0] == 5


class OnDevice:
    """Like a tensor of PyTorch that NumPy can't read."""

    def __array__(self, *unused, **also_unused):
        raise TypeError("can't convert cuda:0\ndevice type tensor to numpy")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda y, p: (y, p[:, 0]), r"\[n, classes\], and are \[6\]: of two classes give np.stack"),
        (lambda y, p: (y, p[:, :1]), r"np.stack"),
        (lambda y, p: (y, p[None]), r"must be probabilities \[n, classes\], and are float64 \[1, 6, 2\]"),
        (lambda y, p: (y, p.astype(str)), r"must be probabilities"),
        (lambda y, p: (y, p[:0]), r"must be probabilities"),
        (lambda y, p: (y, []), r"must be \[n, classes\]"),
        (lambda y, p: (y, 0.5), r"must be probabilities"),
        (lambda y, p: (y, [[0.5, 0.5], [1.0]]), r"pred_probs= must be one array"),
        (lambda y, p: (y, OnDevice()), r"pred_probs= is no array \(can't convert cuda:0 device .*detach\(\).cpu\(\)"),
        (lambda y, p: (y, p[:5]), r"labels= are 6 and pred_probs= have 5 rows"),
        (lambda y, p: (y[:0], p), r"labels=.* has no labels"),
        (lambda y, p: (y, np.where(p == 0.8, np.nan, p)), r"pred_probs=, row 1 is NaN"),
        (lambda y, p: (y, np.log(p / (1 - p))), r"look like logits: apply softmax"),
        (lambda y, p: (y, np.log(p)), r"look like log probabilities: apply np.exp"),
        (lambda y, p: (y, 100 * p), r"row 0 sums to 100 instead of 1"),
        (lambda y, p: (y, p * [1, 0]), r"row 0 sums to 0.9 instead of 1"),
        (lambda y, p: (y + 2, p), r"labels= hold '2' and pred_probs= have 2 columns: give whole numbers 0 to 1"),
        (lambda y, p: (y - 1, p), r"labels= hold '-1'"),
        (lambda y, p: (2 * y, p), r"labels= hold '2'"),
        (lambda y, p: (np.array(["cat", "dog"])[y], p), r"labels= hold 'cat' .* class_names="),
        (lambda y, p: (y + 0.5, p), r"labels=.*row 0 has label 0.5"),
        (lambda y, p: (np.where(y, np.nan, 0), p), r"labels=.*row 3 has label nan"),
        (lambda y, p: ([[0], [1, 1]], p), r"labels= must be one array"),
        (lambda y, p: ([None] * 6, p), r"labels=.*row 0 has label 'None'"),
        (lambda y, p: (OnDevice(), p), r"labels= is no array"),
    ],
)
def test_what_can_not_be_read_is_one_line(change, message):
    with pytest.raises(UserError, match=message) as caught:
        find(*change(LABELS, PROBABILITIES))
    assert "\n" not in str(caught.value)


def test_names_of_classes_fit_columns_and_labels():
    with pytest.raises(UserError, match=r"class_names= are 3 and pred_probs= have 2 columns"):
        find(LABELS, PROBABILITIES, class_names=["a", "b", "c"])
    with pytest.raises(UserError, match=r"has label 'cow', which is none of the 2 declared classes"):
        find(["cat"] * 5 + ["cow"], PROBABILITIES, class_names=["cat", "dog"])


def test_probabilities_are_read_without_jax():
    program = (
        "import sys, rethink; rethink.find_label_issues(labels=[0, 1], pred_probs=[[.9, .1], [.5, .5]]);"
        "print('jax' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"


def test_names_of_classes_are_any_sequence_of_them_but_one_text():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    table = rethink.find_label_issues(
        labels=["cat", "dog", "dog"], pred_probs=probabilities, class_names=np.array(["cat", "dog"])
    ).table
    assert table["given_label"].tolist()[0] == "dog"
    with pytest.raises(UserError, match="class_names='ab' is one name"):
        rethink.find_label_issues(labels=["a", "b", "b"], pred_probs=probabilities, class_names="ab")
