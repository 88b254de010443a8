"""Labels from files: matched by id or path, never by chance, and checked against the true labels."""

import numpy as np
import pytest

from rethink.data.corruption.label_file import CLEAN, check_clean_labels, open_label_file
from rethink.data.corruption.noise import DataFacts
from rethink.data.corruption.spec import redraw_labels
from rethink.schema.errors import UserError
from tests.data.corruption.test_spec import section

NAMES = ("cat", "dog", "owl")
LABELS = np.array([0, 1, 2, 0, 1, 2], np.int32)
GIVEN = np.array([1, 1, 2, 2, 0, 2], np.int32)
PATHS = ("cat/a.png", "dog/a.png", "owl/é b.png", "cat/c.png", "dog/d.png", "owl/e.png")
FACTS = DataFacts(3, 0, NAMES, "pets", 6, np.arange(6, dtype=np.uint32), PATHS)
PART = FACTS._replace(ids=np.array([1, 4], np.uint32), paths=(PATHS[1], PATHS[4]))  # a subset of the split


@pytest.fixture
def given_by(tmp_path):
    """Writes a file and returns the labels by id that it gives, int [positions]."""

    def read(content, facts=FACTS, **fields):
        path = tmp_path / ("labels.npz" if isinstance(content, dict) else "labels.csv")
        if isinstance(content, dict):
            np.savez(path, **content)
        else:
            path.write_text(content, encoding="utf-8", newline="")
        return open_label_file(str(path), section(labels=f"file:{path}", **fields), facts).given

    return read


@pytest.mark.parametrize(
    "content",
    [
        {"label": GIVEN},
        {"label": GIVEN[::-1], "ids": np.arange(6)[::-1]},
        {"label": np.array(NAMES)[GIVEN]},
        {"label": GIVEN.reshape(6, 1).astype(np.float32)},
        {"label": GIVEN[[3, 0, 1, 2, 5, 4]], "paths": np.array(PATHS)[[3, 0, 1, 2, 5, 4]]},
        "id,label\n5,2\n0,1\n1,1\n2,2\n3,2\n4,0\n",
        '\ufefffile_name,note,label\r\n./cat/a.png,,dog\r\ndog/a.png,,dog\r\n\r\nowl/é b.png,"x, y",owl\r\n'
        "cat/c.png,,owl\r\ndog/d.png,,cat\r\nowl/e.png,,owl\r\nowl/none.png,,owl\r\n",
    ],
)
def test_rows_are_matched_by_id_or_path_or_are_those_of_the_stored_split(given_by, content):
    np.testing.assert_array_equal(given_by(content), GIVEN, strict=True)


def test_a_column_of_ids_may_be_a_column_of_a_matrix(given_by):
    np.testing.assert_array_equal(given_by({"label": GIVEN[::-1], "ids": np.arange(6.0)[::-1, None]}), GIVEN)


def test_an_example_takes_the_label_of_the_file_where_its_coin_falls_below_the_probability(tmp_path):
    n = 1001
    labels = np.arange(n, dtype=np.int32) % 3
    np.savez(tmp_path / "a.npz", worse=(labels + 1) % 3)
    kind = f"file:{tmp_path / 'a.npz'}"
    facts = DataFacts(3, 0, NAMES, positions=n)

    def redraw(p, kind=kind):
        return redraw_labels(labels, section(labels=kind, label_probability=p, label_column="worse"), facts)

    given, resampled = redraw(0.3)
    assert 0.2 < resampled.mean() < 0.4
    np.testing.assert_array_equal(given, np.where(resampled, (labels + 1) % 3, labels))
    np.testing.assert_array_equal(resampled, redraw(0.3, "pair_flip")[1])  # the coin of every kind
    assert (redraw(1.0)[0] == (labels + 1) % 3).all() and (redraw(0.0)[0] == labels).all()


def test_a_subset_takes_its_labels_out_of_those_of_the_split(given_by):
    assert given_by({"label": GIVEN}, PART)[PART.ids].tolist() == [1, 0]
    assert given_by("path,label\ndog/a.png,owl\ndog/d.png,cat\n", PART)[PART.ids].tolist() == [2, 0]


def test_numbers_are_places_of_classes_and_texts_their_names(given_by):
    facts = FACTS._replace(class_names=("1", "2", "3"))
    names = np.array(facts.class_names)[GIVEN]
    for content in ({"label": names}, "id,label\n" + "".join(f"{n},{name}\n" for n, name in enumerate(names))):
        np.testing.assert_array_equal(given_by(content, facts), GIVEN)
    for dtype in (np.int64, np.float32):
        np.testing.assert_array_equal(given_by({"label": GIVEN.astype(dtype)}, facts), GIVEN)
        with pytest.raises(UserError, match="places of classes, from 0, as well as names of other classes: give the"):
            given_by({"label": np.maximum(GIVEN, 1).astype(dtype)}, facts)


@pytest.mark.parametrize(
    "content, words",
    [
        ({"label": GIVEN[:5]}, "has 5 rows and no column .ids. or .path. .its columns: label.: add one"),
        (
            "label\n1\n1\n2\n2\n0\n2\n",
            "has 6 rows and no column .ids. or .path.",
        ),  # rows of a text are sorted and cut by hand
        ({"label": GIVEN, "ids": [0, 1, 2, 3, 4, 6]}, "6 in 'ids' is no id: these are 0 to 5"),
        ({"label": GIVEN, "ids": [0, 1, 2, 3, 4, -1]}, "-1 in 'ids' is no id"),
        ({"label": GIVEN, "ids": [0, 1, 2, 3, 4, 4]}, "several rows for ids 4: dog/d.png: keep one"),
        ({"label": GIVEN, "ids": ["a"] * 6}, "'ids' holds no whole numbers"),
        ({"label": GIVEN[:5], "ids": np.arange(6)}, "has 5 labels, and the file 6 rows"),
        ("path,label\ncat/a.png,dog\n", r"no label for 5 of 6 training examples \(ids 1: dog/a.png, 2: owl/é b.png"),
        ("id,label\n0,cow\n1,dog\n2,dog\n3,dog\n4,dog\n5,dog\n", "has label 'cow', which is none of the 3"),
        ({"label": GIVEN + 1}, "has label 3, which is none of the 3"),
        ({"label": np.where(GIVEN, GIVEN, np.nan)}, "row 4 has label nan"),
        ("id,label\n0,1\n1\n", "line 3 has 1 values, and the header 2 names"),
        ("id,id,label\n0,0,1\n", "names a column twice"),
        ("id,noisy\n0,1\n", "corruption.label_column='label' is unknown.*Choices: id, noisy"),
        ("", "has no rows"),
        ("path,label\n", "has no rows"),
        ({"label": np.eye(3)[GIVEN]}, "has no rows of labels"),
        ({"label": GIVEN, "ids": np.arange(6) + 0.7}, "0.7 in 'ids' is no id"),
        ({"label": GIVEN, "ids": [0, 1, 2, 3, 4, np.nan]}, "nan in 'ids' is no id"),
        ('id,label\n0,"1\n', "can't be read"),
    ],
)
def test_a_file_of_other_examples_or_labels_is_refused(given_by, content, words):
    with pytest.raises(UserError, match=f"corruption.labels='file:.*{words}") as error:
        given_by(content)
    assert "\n" not in str(error.value)


def test_paths_need_a_data_set_that_has_some(given_by):
    with pytest.raises(UserError, match="names paths .'path'., and this data set has none: give a column 'ids'"):
        given_by("path,label\na,1\n", FACTS._replace(paths=()))


def test_the_labels_of_a_file_are_of_training_examples_and_of_unfolded_classes(given_by):
    with pytest.raises(UserError, match="^corruption.test_labels=True has no meaning with corruption.labels='file:"):
        given_by({"label": GIVEN}, test_labels=True)
    with pytest.raises(UserError, match="^data.classes=3 folds classes"):
        given_by({"label": GIVEN}, FACTS._replace(is_folded=True))


@pytest.mark.parametrize("name", ["labels.pt", "labels.pkl", "labels.npy", "labels"])
def test_pickled_files_are_not_read_and_the_line_that_converts_them_is_told(name):
    with pytest.raises(UserError, match="pickled ones, such as those of CIFAR-10N, are not read.*numpy.savez") as error:
        open_label_file(name, section(labels=f"file:{name}"), FACTS)
    assert "\n" not in str(error.value)


def test_a_pickle_inside_an_npz_is_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", label=np.array([{}, 1], dtype=object))
    with pytest.raises(UserError, match="can't be read"):
        open_label_file(str(tmp_path / "a.npz"), section(labels="file:a.npz"), FACTS)


@pytest.mark.parametrize("clean", CLEAN)
def test_clean_labels_must_be_the_true_ones(tmp_path, clean):
    def check(labels, ids=FACTS.ids):
        np.savez(tmp_path / "a.npz", label=GIVEN, **({} if labels is None else {clean: labels}))
        table = open_label_file(str(tmp_path / "a.npz"), section(labels="file:a.npz"), FACTS)
        check_clean_labels(table, ids, LABELS[ids], "here")

    check(LABELS)
    check(np.array(NAMES)[LABELS])
    check(None)
    swapped = LABELS[[0, 2, 1, 3, 4, 5]]
    check(swapped, np.array([0, 3, 5]))
    with pytest.raises(UserError, match=r"^here: the clean labels .* of 2 of 6 examples \(ids 1, 2\), so it is of"):
        check(swapped)
