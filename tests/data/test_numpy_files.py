"""NumPy's files under the names that people give to arrays: mapped, cached, never unpickled, one line for the rest."""

import logging
import os
import pickle
import re

import numpy as np
import pytest
from data_sets import load, refusal, section

from rethink.data import parallel
from rethink.data.registry import open_dataset

RNG = np.random.default_rng(0)
X = {split: RNG.integers(0, 256, (n, 3, 2, 1)).astype(np.uint8) for split, n in (("train", 9), ("val", 4), ("test", 5))}
Y = {split: np.resize([9140, 7, 8], len(images))[:, None] for split, images in X.items()}
CLASS = {7: 0, 8: 1, 9140: 2}
KERAS = {f"{letter}_{split}": of[split] for letter, of in (("x", X), ("y", Y)) for split in ("train", "test")}
MEDMNIST = {f"{split}_{what}": of[split] for what, of in (("images", X), ("labels", Y)) for split in X}


def save(path, arrays, scheme, compress=True):
    """Saves arrays as one file or as a folder; returns `data.name`."""
    if scheme == "npz":
        (np.savez_compressed if compress else np.savez)(path, **arrays)
        return f"npz:{path}.npz"
    path.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    return f"npy:{path}"


@pytest.mark.parametrize("scheme", ["npz", "npy"])
@pytest.mark.parametrize(
    ("arrays", "fields", "test"),
    [
        (KERAS, {}, "test"),
        ({name.upper(): array for name, array in KERAS.items()}, {}, "test"),
        (MEDMNIST, {}, "test"),
        (MEDMNIST, {"test_split": "val"}, "val"),
        (MEDMNIST | {"y_clean": Y["train"], "mean": np.array(3)}, {}, "test"),
    ],
)
def test_arrays_of_keras_and_medmnist_are_found_by_their_names(tmp_path, scheme, arrays, fields, test):
    name = save(tmp_path / "mine", arrays, scheme)
    for cache_dir in ("", str(tmp_path / "cache"), str(tmp_path / "cache")):
        opened, *loaded = load(name=name, cache_dir=cache_dir, **fields)
        assert (opened.class_names, opened.full_train_examples, opened.decoder) == (("7", "8", "9140"), 9, "none")
        for split, part in zip(("train", test), loaded, strict=True):
            np.testing.assert_array_equal(part.images, X[split], strict=True)
            assert part.labels.tolist() == [CLASS[label] for label in Y[split][:, 0]]
            assert part.ids.tolist() == list(range(len(X[split])))


@pytest.mark.parametrize("scheme", ["npz", "npy"])
def test_without_a_test_split_the_same_part_is_always_drawn(tmp_path, scheme):
    name = save(tmp_path / "mine", {"X": X["train"], "y": Y["train"]}, scheme)
    opened, train, test = load(name=name, test_fraction=0.3)
    assert sorted([*train.ids, *test.ids]) == list(range(9)) and len(test.ids) == 3 and opened.full_train_examples == 6
    np.testing.assert_array_equal(train.images, X["train"][train.ids])
    np.testing.assert_array_equal(load(name=name, test_fraction=0.3)[2].ids, test.ids)


def test_class_names_of_the_file_keep_their_order(tmp_path):
    arrays = {"x": X["train"], "y": np.array([1, 0] * 4 + [1]), "class_names": np.array(["zebra", "ant", "cow"])}
    opened = open_dataset(section(name=save(tmp_path / "mine", arrays, "npz")))
    assert opened.class_names == ("zebra", "ant", "cow")


@pytest.mark.parametrize("scheme", ["npz", "npy"])
def test_a_file_is_sent_to_other_processes_by_its_path_alone(tmp_path, scheme):
    many = {"x_train": np.zeros((1000, 30, 30), np.uint8), "y_train": np.arange(1000) % 2}
    name = save(tmp_path / "mine", many | {"x_test": many["x_train"], "y_test": many["y_train"]}, scheme)
    split = open_dataset(section(name=name, cache_dir=str(tmp_path / "cache"))).train
    sent = pickle.dumps(split)
    assert len(sent) < 10_000 + 8 * 1000  # the labels and ids
    np.testing.assert_array_equal(pickle.loads(sent).read(np.array([5, 3])).labels, [1, 1])


def test_a_file_of_the_same_name_size_and_date_has_a_cache_of_its_own(tmp_path):
    loaded = []
    for folder, images in (("a", X["train"]), ("b", 255 - X["train"])):
        (tmp_path / folder).mkdir()
        name = save(tmp_path / folder / "mine", {"x": images, "y": Y["train"]}, "npz", compress=False)
        os.utime(name.removeprefix("npz:"), (1, 1))
        loaded.append(
            open_dataset(section(name=name, cache_dir=str(tmp_path / "cache"), test_fraction=0.01)).train.load()
        )
    assert not np.array_equal(loaded[0].images, loaded[1].images)


@pytest.mark.parametrize("scheme", ["npz", "npy"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_train": np.array(["a", None], object)}, "y_train.* holds Python objects, which are never loaded: save"),
        ({"x_train": np.array(["a", None], object)}, "x_train.* holds Python objects, which are never loaded: save"),
        ({"y_test": None}, "has x_test without its labels: name arrays"),
        ({"y_train": None, "y_test": None}, r"has no images with labels \(it has x_test, x_train\): name them x_train"),
        ({"train_images": X["train"]}, "x_train.*train_images|train_images.*x_train"),
        ({"x_train": X["train"][:8]}, "split 'train' has 8 images and 9 labels"),
        ({"x_train": X["train"][:0], "y_train": Y["train"][:0]}, "split 'train' has no labels"),
        ({"x_train": X["train"][..., 0]}, "'train' has images of shape 3x2, 'test' has images of shape 3x2x1"),
        ({"class_names": np.arange(3)}, "class_names of int64"),
        ({"x_train": X["train"] / 255}, "'train' has images of float32, 'test' has images of uint8"),
    ],
)
def test_arrays_that_are_no_data_set_are_one_line(tmp_path, scheme, change, message):
    arrays = {name: array for name, array in (KERAS | change).items() if array is not None}
    assert re.search(message, refusal(name=save(tmp_path / "mine", dict(sorted(arrays.items())), scheme)))


def test_files_that_are_not_there_or_damaged_are_one_line(tmp_path):
    npz, npy = (save(tmp_path / "mine", KERAS, scheme) for scheme in ("npz", "npy"))
    assert "there is no" in refusal(name="npz:nothing.npz") and "there is no" in refusal(name="npy:nothing")
    assert "a path is missing: type npz:FILE" in refusal(name="npz") and "type npy:FOLDER" in refusal(name="npy")
    assert "type npz:FILE, or npy:FOLDER" in refusal(name=npy.replace("npy:", "npz:"))
    assert "type npy:FOLDER" in refusal(name=npz.replace("npz:", "npy:"))
    assert "is a single array" in refusal(name=f"npz:{tmp_path}/mine/x_train.npy")
    assert "data.test_split='dev' is unknown" in refusal(name=npz, test_split="dev")
    whole = (tmp_path / "mine.npz").read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:cut])
        assert refusal(name=f"npz:{tmp_path}/cut.npz").endswith(".")
    flipped = bytearray(whole)
    flipped[70] ^= 255
    (tmp_path / "flipped.npz").write_bytes(flipped)
    assert "save it again" in refusal(name=f"npz:{tmp_path}/flipped.npz")
    for size in (0, 5, 100, 150):
        (tmp_path / "mine/x_train.npy").write_bytes((tmp_path / "mine/x_test.npy").read_bytes()[:size])
        assert "save it" in refusal(name=npy)


def test_a_long_reading_shows_how_far_it_is(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(parallel, "SECONDS_TO_SHOW", 0.0)
    monkeypatch.setattr(parallel, "LINE_SECONDS", 0.0)
    many = {"x": np.zeros((2, 1024, 2048), np.uint8), "y": np.arange(2)}
    with caplog.at_level(logging.INFO):
        open_dataset(section(name=save(tmp_path / "mine", many, "npz"), test_fraction=0.5))
    assert "Reading x of" in caplog.text and "Reading x.npy (MiB)  3/4" in caplog.text


def test_a_class_of_the_test_split_alone_is_one_warning(tmp_path, caplog):
    name = save(
        tmp_path / "mine", KERAS | {"y_test": np.array(list("aabac")), "y_train": np.array(list("ab" * 4 + "a"))}, "npz"
    )
    assert open_dataset(section(name=name)).class_names == ("a", "b", "c")
    assert caplog.text.count("has classes that no training example has: c.") == 1


def test_cached_images_are_checked_and_made_again_where_they_are_damaged(tmp_path, caplog):
    fields = {"name": save(tmp_path / "mine", KERAS, "npz"), "cache_dir": str(tmp_path / "cache")}
    load(**fields)
    for path in (tmp_path / "cache").glob("mine-train-*/images.npy"):
        damaged = bytearray(path.read_bytes())
        damaged[-1] ^= 1
        path.write_bytes(damaged)
    for warnings in (1, 1):
        np.testing.assert_array_equal(load(**fields)[1].images, X["train"])
        assert caplog.text.count("are damaged (checksum of images.npy) and are made again") == warnings
