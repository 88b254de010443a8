"""The registry: names of sources, and what is done to every source alike: subsets, a held-out part, folded classes."""

import pathlib
import pickle
import re

import numpy as np
import pytest
from data_sets import LABELS, RNG, assert_exact, load, refusal, section, write_set

from rethink.data import registry
from rethink.data.dataset import BadFile, Dataset, MemorySplit, Split, Subset
from rethink.data.registry import open_dataset
from rethink.schema.errors import UserError
from rethink.schema.fields import FIELDS


def assert_same_split(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("name", ["tiny", "tiny:1.0.0", "tfds:tiny", "tfds:tiny:1.0.0"])
def test_a_tfds_set_is_named_with_and_without_its_scheme(tiny, name):
    opened, train, test = load(name=name, dir=str(tiny))
    assert opened.name == "tiny/1.0.0"
    assert_exact(train, "train")
    assert_exact(test, "test")


@pytest.mark.parametrize("name", ["tfds", "tfds:", "tfds:../tiny"])
def test_a_scheme_without_a_set_is_refused(tiny, name):
    assert refusal(name=name, dir=str(tiny)).startswith(f"data.name='{name}' is no name of TFDS: type tfds:cifar10")


def test_an_unknown_scheme_is_answered_with_all_schemes_and_the_nearest():
    listed = f"schemes: {', '.join(sorted(registry.DATASETS))}."
    said = "data.name='{}' is no data set's name: {}ype 'digits', a TFDS name such as 'cifar10', or SCHEME:PATH; "
    for name, hint in (("npzz:x.npz", "did you mean 'npz:x.npz'? T"), ("../x", "t"), ("what:ever", "t"), ("a b", "t")):
        assert refusal(name=name) == said.format(name, hint) + listed


@pytest.mark.parametrize(
    ("file", "given", "typed"),
    [
        ("mine.npz", "mine.npz", "npz:{}/mine.npz"),
        ("mine.npz", "", "npz:{}/mine.npz"),
        ("x_train.npy", "", "npy:{}"),
        ("x_train.npy", "x_train.npy", "npy:{}"),
        ("train-00000-of-00001.parquet", "", "parquet:{}"),
        ("train-images-idx3-ubyte.gz", "", "idx:{}"),
        ("t10k-labels-idx1-ubyte", "t10k-labels-idx1-ubyte", "idx:{}"),
        ("readme", "", "folder:{}"),
    ],
)
def test_a_path_without_its_scheme_is_answered_with_what_to_type(tmp_path, file, given, typed):
    (tmp_path / file).write_bytes(b"")
    assert refusal(name=str(tmp_path / given)).endswith(f": type --config.data.name={typed.format(tmp_path)}")


def test_a_file_that_no_scheme_reads_and_a_folder_with_a_name_as_of_tfds(tmp_path, monkeypatch, tiny):
    (tmp_path / "mine.mat").write_bytes(b"")
    assert "is a file that no scheme reads; schemes: digits" in refusal(name=str(tmp_path / "mine.mat"))
    monkeypatch.chdir(tmp_path)
    for name in ("birds", "tiny"):
        (tmp_path / name).mkdir()
    said = refusal(name="birds", dir=str(tiny))
    assert said.startswith("data.name='birds' is unknown") and said.endswith("type --config.data.name=folder:birds")
    assert load(name="tiny", dir=str(tiny))[0].name == "tiny/1.0.0"


def test_a_new_source_is_one_row_and_gets_subset_hold_out_and_folding(monkeypatch):
    ids = np.arange(3, 63, 2, dtype=np.uint32)  # not its rows
    images = np.repeat(ids.astype(np.uint8), 4).reshape(-1, 2, 2, 1)

    def open_numbers(location, config):
        full = MemorySplit(Split(images, (ids % 5).astype(np.int32), ids))
        return Dataset(location, "none", tuple("01234"), len(ids), {"train": full, "test": full})

    monkeypatch.setitem(registry.DATASETS, "numbers", open_numbers)
    fields = {"name": "numbers:a/b:c", "train_examples": 20, "test_examples": 6, "validation_fraction": 0.24}
    opened = open_dataset(section(**fields, classes=2))
    assert (opened.name, opened.num_classes, opened.full_train_examples) == ("a/b:c", 2, 30)
    assert {name: len(split.ids) for name, split in opened.splits.items()} == {"train": 15, "validation": 5, "test": 6}
    for split in opened.splits.values():
        for part in (split.load(), split.read(np.arange(len(split.ids)))):
            np.testing.assert_array_equal(part.ids, split.ids, strict=True)
            np.testing.assert_array_equal(part.images[:, 0, 0, 0], split.ids.astype(np.uint8), strict=True)
            np.testing.assert_array_equal(part.labels, (split.ids % 5 % 2).astype(np.int32), strict=True)
        np.testing.assert_array_equal(split.read(np.array([4, 0, 4])).ids, split.ids[[4, 0, 4]])


@pytest.mark.parametrize("name", ["digits", "tiny"])
@pytest.mark.parametrize("count", [0, 20])
def test_the_held_out_part_is_taken_from_the_training_examples_and_fixed_by_the_split_seed(tiny, name, count):
    fields = {"name": name, "dir": str(tiny), "train_examples": count}
    whole = open_dataset(section(**fields))
    parts = [open_dataset(section(**fields, validation_fraction=0.3, split_seed=seed)) for seed in (0, 0, 1)]
    for opened in parts:
        assert list(opened.splits) == ["train", "validation", "test"]
        train, held_out = opened.train.ids, opened.splits["validation"].ids
        assert len(held_out) == -(-3 * len(whole.train.ids) // 10)
        assert not set(train) & set(held_out)
        assert (np.diff(train.astype(int)) > 0).all() and (np.diff(held_out.astype(int)) > 0).all()
        assert opened.full_train_examples == whole.full_train_examples
    assert set(parts[0].train.ids) | set(parts[0].splits["validation"].ids) == set(whole.train.ids)
    np.testing.assert_array_equal(parts[0].train.ids, parts[1].train.ids)
    assert set(parts[0].train.ids) != set(parts[2].train.ids)


def test_holding_out_all_training_examples_is_refused():
    message = refusal(name="digits", train_examples=10, validation_fraction=0.95)
    assert message.startswith("data.validation_fraction=0.95 holds out all 10 training examples")


@pytest.mark.parametrize(("count", "folds"), [(0, 4), (10, 3), (10, 10)])
def test_every_training_example_is_in_one_fold_whatever_its_label(tiny, tmp_path, count, folds):
    fields = {"name": "tiny", "train_examples": count, "folds": folds}
    opened = [open_dataset(section(**fields, dir=str(tiny), fold=fold)) for fold in range(folds)]
    whole = open_dataset(section(name="tiny", dir=str(tiny), train_examples=count)).train.ids
    held_out = [one.splits["validation"].ids for one in opened]
    np.testing.assert_array_equal(np.sort(np.concatenate(held_out)), whole)
    assert len(set(map(len, held_out))) <= 2 and max(map(len, held_out)) == -(-len(whole) // folds)
    for one, ids in zip(opened, held_out, strict=True):
        np.testing.assert_array_equal(np.union1d(one.train.ids, ids), whole)
        assert len(one.train.ids) + len(ids) == len(whole)
    write_set(tmp_path, labels={name: np.zeros(len(labels), int) for name, labels in LABELS.items()})
    relabelled = open_dataset(section(**fields, dir=str(tmp_path), fold=1))
    np.testing.assert_array_equal(relabelled.splits["validation"].ids, held_out[1])
    other = open_dataset(section(**fields, dir=str(tiny), fold=1, split_seed=1))
    assert folds == count or set(other.splits["validation"].ids) != set(held_out[1])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"folds": 11}, "data.folds=11 can't be made of 10 training examples: set it to 2 up to 10"),
        ({"folds": 1}, "data.folds=1 can't be made of 10 training examples"),
        ({"folds": 4, "fold": 4}, "data.fold=4 is none of data.folds=4: set it to 0 up to 3."),
        ({"folds": 4, "validation_fraction": 0.1}, "data.validation_fraction=0.1 and data.folds=4 both hold out"),
    ],
)
def test_folds_that_there_are_not_are_refused(fields, said):
    assert refusal(name="digits", train_examples=10, **fields).startswith(said)


def test_the_sources_split_is_used_as_it_is_without_a_subset(tiny):
    whole = open_dataset(section(name="tiny", dir=str(tiny)))
    assert not any(isinstance(split, Subset) for split in whole.splits.values())


def test_a_subset_is_sent_to_another_process_without_what_was_read(tiny):
    source = open_dataset(section(name="tiny", dir=str(tiny), train_examples=9, classes=2)).train
    loaded = source.load()
    source.read(np.array([1]))
    sent = pickle.dumps(source)
    assert len(sent) < 2000
    assert_same_split(pickle.loads(sent).load(), loaded)
    assert_same_split(pickle.loads(sent).read(np.arange(9)), loaded)


def test_a_subset_of_examples_that_there_are_not_is_refused():
    ids = np.array([2, 5, 9], np.uint32)
    split = MemorySplit(Split(np.zeros((3, 1, 1, 1), np.uint8), np.zeros(3, np.int32), ids))
    assert Subset(split, ids[[0, 2]]).load().ids.tolist() == [2, 9]
    with pytest.raises(ValueError, match="ids that its split does not have"):
        Subset(split, np.array([2, 6], np.uint32))


def test_subsets_are_nested_and_keep_the_ids_of_the_whole():
    _, whole, test = load(name="digits")
    label_of = dict(zip(whole.ids.tolist(), whole.labels.tolist(), strict=True))
    image_of = dict(zip(whole.ids.tolist(), whole.images, strict=True))
    smaller = set()
    for count in (1, 10, 500, 1437):
        _, part, same_test = load(name="digits", train_examples=count)
        assert len(part.ids) == len(part.labels) == len(part.images) == count
        assert smaller < set(part.ids.tolist()) <= set(whole.ids.tolist())
        assert part.ids.tolist() == sorted(part.ids)
        assert [label_of[i] for i in part.ids.tolist()] == part.labels.tolist()
        assert all((image_of[i] == image).all() for i, image in zip(part.ids.tolist(), part.images, strict=True))
        np.testing.assert_array_equal(same_test.ids, test.ids)
        smaller = set(part.ids.tolist())


def test_another_split_seed_takes_another_subset(tiny):
    subsets = [load(name="tiny", dir=str(tiny), train_examples=8, split_seed=seed)[1].ids for seed in (0, 0, 1)]
    assert subsets[0].tolist() == subsets[1].tolist() != subsets[2].tolist()
    assert subsets[0].tolist() != list(range(8))


@pytest.mark.parametrize(
    "name, field, most",
    [
        ("digits", "train_examples", 1437),
        ("digits", "test_examples", 360),
        ("tiny", "train_examples", 23),
        ("tiny", "test_examples", 7),
    ],
)
def test_more_examples_than_there_are_is_refused(name, field, most, tiny):
    message = refusal(name=name, dir=str(tiny), **{field: most + 1})
    assert f"data.{field}={most + 1}" in message
    assert f"at most {most}" in message
    _, train, test = load(name=name, dir=str(tiny), **{field: most})
    assert len((train if field == "train_examples" else test).ids) == most


@pytest.mark.parametrize("name", ["digits", "tiny"])
def test_a_test_on_fewer_examples_is_on_a_fixed_part_of_the_test_set(name, tiny):
    _, train, whole = load(name=name, dir=str(tiny))
    _, same_train, few = load(name=name, dir=str(tiny), test_examples=4)
    _, _, fewer = load(name=name, dir=str(tiny), test_examples=3)
    np.testing.assert_array_equal(same_train.ids, train.ids)
    assert len(few.ids) == 4 and set(fewer.ids) < set(few.ids) < set(whole.ids)
    rows = np.searchsorted(whole.ids, few.ids)
    for part, all_of_it in zip(few, whole, strict=True):
        np.testing.assert_array_equal(part, all_of_it[rows], strict=True)


@pytest.mark.parametrize("name", ["tiny", "digits"])
def test_no_split_is_both_trained_and_tested_on(tiny, name):
    message = refusal(name=name, dir=str(tiny), train_split="test")
    assert message.startswith("data.train_split and data.test_split are both 'test'")


def test_a_test_split_of_another_size_is_refused_at_once_and_brought_to_one_on_request(tmp_path):
    train, test = (RNG.integers(0, 256, shape).astype(np.uint8) for shape in ((2, 8, 8, 3), (2, 9, 12, 3)))
    write_set(tmp_path, {"train": train, "test": test}, {"train": [0, 1], "test": [0, 1]}, shape=(None, None, 3))
    with pytest.raises(UserError, match="8x8x3 for training and 9x12x3 for testing: set --config.data.image_size"):
        open_dataset(section(name="tiny", dir=str(tmp_path)))
    load(name="tiny", dir=str(tmp_path), image_size=8)


def test_splits_of_two_sizes_are_refused_and_brought_to_one_on_request(tmp_path):
    images = {
        name: RNG.integers(0, 256, (2, *shape, 3)).astype(np.uint8)
        for name, shape in {"train": (8, 8), "test": (9, 12)}.items()
    }
    write_set(tmp_path, images, dict.fromkeys(images, [0, 1]), shape=(None, None, 3))
    message = refusal(name="tiny", dir=str(tmp_path))
    assert "8x8x3" in message and "9x12x3" in message
    assert "--config.data.image_size" in message
    _, train, test = load(name="tiny", dir=str(tmp_path), image_size=8)
    assert train.images.shape == test.images.shape == (2, 8, 8, 3)


def test_testing_on_the_train_split_is_refused(tiny):
    assert "data.train_split and data.test_split are both 'train'" in refusal(
        name="tiny", dir=str(tiny), test_split="train"
    )


def test_classes_folds_labels_and_nothing_else():
    whole, folded = (open_dataset(section(classes=classes)) for classes in (0, 2))
    assert (whole.num_classes, folded.num_classes) == (10, 2)
    for name, split in whole.splits.items():
        before, after = split.load(), folded.splits[name].load()
        np.testing.assert_array_equal(after.labels, before.labels % 2)
        np.testing.assert_array_equal(after.images, before.images)
        np.testing.assert_array_equal(after.ids, before.ids)
        some = folded.splits[name].read(np.array([3, 1]))
        np.testing.assert_array_equal(some.labels, before.labels[[3, 1]] % 2)


@pytest.mark.parametrize("classes", [1, 11])
def test_classes_that_can_not_be_made_are_refused(classes):
    assert f"data.classes={classes} can't be made of the 10 classes" in refusal(classes=classes)


def test_every_scheme_is_in_the_help_and_in_the_docs():
    pages = FIELDS["data.name"].help, (pathlib.Path(__file__).parents[2] / "docs/data.md").read_text()
    for scheme in registry.DATASETS.keys() | set(registry.ENDINGS.values()):
        assert scheme in registry.DATASETS
        assert all(re.search(rf"\b{scheme}\b", page, re.IGNORECASE) for page in pages), scheme


def test_leaving_bad_files_out_changes_no_other_member_of_a_subset_or_a_held_out_part(monkeypatch):
    def draw(bad):
        def open_memory(location, config):
            ids = np.setdiff1d(np.arange(60), bad).astype(np.uint32)
            full = MemorySplit(Split(np.zeros((len(ids), 1, 1, 1), np.uint8), np.zeros(len(ids), np.int32), ids))
            files = tuple(BadFile(split, i, str(i), "") for split in ("train", "test") for i in bad)
            return Dataset("bad", "none", ("a", "b"), len(ids), {"train": full, "test": full}, bad_files=files)

        monkeypatch.setitem(registry.DATASETS, "bad", open_memory)
        fields = {"train_examples": 40, "test_examples": 30, "validation_fraction": 0.3}
        return {name: set(split.ids) for name, split in open_dataset(section(name="bad", **fields)).splits.items()}

    before, after = draw([]), draw([0, 31, 59])
    assert {name: len(ids) for name, ids in before.items()} == {"train": 28, "validation": 12, "test": 30}
    assert after == {name: ids - {0, 31, 59} for name, ids in before.items()}


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("digits", "channels", 1),
        ("digits", "bad_files", "skip"),
        ("npz:a.npz", "label_column", "kind"),
        ("npy:a", "image_size", 8),
        ("module:a:b", "image_column", "x"),
        ("cifar10", "channels", 1),
        ("tfds:cifar10", "bad_files", "skip"),
        ("folder:a", "image_column", "x"),
    ],
)
def test_a_field_that_the_source_does_not_read_is_refused(name, field, value):
    message = refusal(name=name, **{field: value})
    assert message.startswith(f"data.{field}={value!r} has no effect on data.name='{name}': leave it at ")


def test_every_source_is_in_the_table_of_fields_or_reads_none():
    assert {scheme for _, schemes in registry.READ_BY.values() for scheme in schemes} | {"digits"} == {
        *registry.DATASETS
    }
