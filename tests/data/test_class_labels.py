"""Labels of any form become 0..K-1 in one documented order; what is no class is refused with its row."""

import logging

import numpy as np
import pytest

from rethink.data.class_labels import encode_labels
from rethink.schema.errors import UserError

WHERE = "data.name='npz:x.npz'"


@pytest.mark.parametrize(
    ("raw", "labels", "names"),
    [
        (np.array([9140, 7, 9140]), [1, 0, 1], ("7", "9140")),
        (np.array([3, 1, 2], np.uint8), [2, 0, 1], ("1", "2", "3")),
        (np.array([1, -1]), [1, 0], ("-1", "1")),
        (np.array([2.0, 1.0]), [1, 0], ("1", "2")),
        (np.array([2**64 - 1, 2**64 - 2], np.uint64), [1, 0], ("18446744073709551614", "18446744073709551615")),
        (np.array([True, False]), [1, 0], ("False", "True")),
        (np.array([[5], [4]]), [1, 0], ("4", "5")),
        (np.array(["10", "9", "9"]), [1, 0, 0], ("9", "10")),
        (np.array(["010", "9"]), [1, 0], ("9", "010")),
        (np.array(["2", "1.0", "1", "01"]), [3, 2, 1, 0], ("01", "1", "1.0", "2")),
        (np.array(["100", "1e2"]), [0, 1], ("100", "1e2")),
        (np.array(["9007199254740993.0", "9007199254740992"]), [1, 0], ("9007199254740992", "9007199254740993.0")),
        (np.array(["cat ", "cat", "e\u0301", "\u00e9"]), [0, 0, 1, 1], ("cat", "\u00e9")),
        (np.array(["b", "a"], np.dtypes.StringDType()), [1, 0], ("a", "b")),
        (np.array(["10", "9", "cat"]), [0, 1, 2], ("10", "9", "cat")),
        (np.array(["Écureuil", "chat noir", "a/b", "Z"]), [3, 2, 1, 0], ("Z", "a/b", "chat noir", "Écureuil")),
        (np.array(["é".encode(), b"a"]), [1, 0], ("a", "é")),
        (np.array(["cat", "ant"], object), [1, 0], ("ant", "cat")),
        (np.array([3, 2], object), [1, 0], ("2", "3")),
        (["b", "a"], [1, 0], ("a", "b")),
        ([8, 8], [0, 0], ("8",)),
        (np.eye(3, dtype=np.uint8)[[2, 0]], [2, 0], ("0", "1", "2")),
        (np.eye(3, dtype=bool)[[2, 0]], [2, 0], ("0", "1", "2")),
        (np.eye(3)[[1, 1]], [1, 1], ("0", "1", "2")),
    ],
)
def test_the_classes_of_every_form_of_labels_are_ordered_as_documented(raw, labels, names):
    before = np.array(raw)
    encoded, class_names = encode_labels({"train": raw}, WHERE)
    assert encoded["train"].dtype == np.int32
    assert (encoded["train"].tolist(), class_names) == (labels, names)
    np.testing.assert_array_equal(raw, before)


def test_the_classes_are_those_of_all_splits_and_names_give_the_labels_back(caplog):
    raw = {"train": np.array(["b", "d", "b"]), "test": np.array(["c", "d"])}
    with caplog.at_level(logging.WARNING):
        encoded, names = encode_labels(raw, WHERE)
    assert names == ("b", "c", "d")
    for split, labels in raw.items():
        assert [names[label] for label in encoded[split]] == labels.tolist()
    assert "split 'test' has classes that no training example has: c." in caplog.text
    numbers, of_both = encode_labels({"train": np.array([1, 2]), "test": np.array(["2", "10"])}, WHERE)
    assert (numbers["test"].tolist(), of_both) == ([1, 2], ("1", "2", "10"))


@pytest.mark.parametrize("raw", [np.array([2, 0]), np.array(["ant", "cat"])])
def test_declared_names_keep_their_order_and_classes_without_examples(raw):
    encoded, names = encode_labels({"train": raw}, WHERE, names=("cat", "dog", "ant"))
    assert (encoded["train"].tolist(), names) == ([2, 0], ("cat", "dog", "ant"))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.array([1.0, np.nan]), "row 1 has label nan"),
        (np.array([1.0, np.inf]), "row 1 has label inf"),
        (np.array([1.0, 0.5]), "row 1 has label 0.5, which is no class but a target of a regression"),
        (np.array(["1", "0.5"]), "row 1 has label '0.5', which is no class but a target"),
        (np.array(["a", " "]), "row 1 has no label"),
        (np.array([[0, 1], [1, 1]]), "row 1 is of 2 classes"),
        (np.array([[0, 1], [0, 0]]), "row 1 is of 0 classes"),
        (np.array([[0, 1], [0.3, 0.7]]), r"row 1 has labels \[0.3, 0.7\]"),
        (np.array([["a", "b"]]), "rows of 2 labels"),
        ([[1], [1, 2]], "several labels"),
        (np.array(["a", None], object), "row 1 has label 'None'"),
        (np.array(["a", ["b", "c"]], object), "row 1 has several labels"),
        (np.array([b"\xff"]), "no UTF-8"),
        (np.array([1 + 0j]), "dtype complex128"),
        (np.array([]), "no labels"),
        (np.array(3), "one for each example"),
        (np.zeros((2, 2, 2)), r"shape \[2, 2, 2\]"),
        ([2**63, -1], r"row 0 has label 9.2\d+e\+18, which is not exact"),
        (np.arange(1001), "1,001 different labels for 1,001 examples"),
    ],
)
def test_what_is_no_class_is_one_line_that_names_the_row_and_a_remedy(raw, message):
    with pytest.raises(UserError, match=message) as refused:
        encode_labels({"train": raw}, WHERE)
    assert str(refused.value).startswith(WHERE)
    assert ": give " in str(refused.value) or ": save " in str(refused.value)


@pytest.mark.parametrize("raw", [np.array([0, -1]), np.array([0, 2]), np.array(["cat", "cow"])])
def test_a_label_that_is_none_of_the_declared_is_refused(raw):
    with pytest.raises(UserError, match="row 1 has label .* none of the 2 declared classes"):
        encode_labels({"train": raw}, WHERE, names=("cat", "dog"))


def test_declared_names_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="declares the class 'b' twice"):
        encode_labels({"train": [0, 1, 2]}, WHERE, names=("b", "a", "b"))
    with pytest.raises(UserError, match="one-hot rows of 3 for 2 declared classes"):
        encode_labels({"train": np.eye(3)[:2]}, WHERE, names=("cat", "dog"))


def test_splits_whose_labels_have_different_forms_are_refused():
    with pytest.raises(UserError, match="'train' has rows of 3, 'test' has one label a row"):
        encode_labels({"train": np.eye(3), "test": np.arange(3)}, WHERE)
