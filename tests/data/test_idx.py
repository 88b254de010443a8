"""idx files: what MNIST's own and others of the format hold, under which names they are found, and what is refused."""

import gzip
import pathlib
import pickle
import struct

import numpy as np
import pytest
from data_sets import load, refusal

from rethink.data.idx import TYPES, read_idx
from rethink.schema.errors import UserError

RNG = np.random.default_rng(0)
CODES = {np.dtype(dtype).newbyteorder("="): code for code, dtype in TYPES.items()}


def idx(array):
    """The bytes of an idx file, its header written by hand."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[array.dtype], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_pair(folder, split, images, labels, *, prefix="", zipped=True):
    folder.mkdir(exist_ok=True)
    for what, array in (("images", images), ("labels", labels)):
        content = idx(array)
        path = folder / f"{prefix}{split}-{what}-idx{array.ndim}-ubyte{'.gz' if zipped else ''}"
        path.write_bytes(gzip.compress(content, mtime=0) if zipped else content)


def draw(count, *shape):
    return RNG.integers(0, 256, (count, *shape)).astype(np.uint8), (np.arange(count) % 3).astype(np.uint8)


@pytest.mark.parametrize("zipped", [True, False])
def test_the_files_of_mnist_become_images_labels_and_ids(tmp_path, zipped):
    (images, labels), (test_images, test_labels) = draw(9, 4, 5), draw(5, 4, 5)
    write_pair(tmp_path, "train", images, labels, zipped=zipped)
    write_pair(tmp_path, "t10k", test_images, test_labels, zipped=zipped)
    opened, train, test = load(name=f"idx:{tmp_path}")
    assert (opened.class_names, opened.full_train_examples, opened.train.image_shape) == (("0", "1", "2"), 9, (4, 5, 1))
    np.testing.assert_array_equal(train.images, images[..., None], strict=True)
    np.testing.assert_array_equal(test.images, test_images[..., None], strict=True)
    np.testing.assert_array_equal(train.labels, labels.astype(np.int32), strict=True)
    np.testing.assert_array_equal(test.ids, np.arange(5, dtype=np.uint32), strict=True)


def test_images_are_kept_in_the_cache_until_the_files_change(tmp_path):
    images, labels = draw(9, 4, 5)
    write_pair(tmp_path / "a", "train", images, labels)
    fields = {"name": f"idx:{tmp_path}/a", "cache_dir": str(tmp_path / "cache")}
    split = load(**fields)[0].train
    np.testing.assert_array_equal(split.load().images, images[split.ids][..., None])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(split)).load().images, split.load().images)
    assert len(pickle.dumps(split)) < len(pickle.dumps(load(**fields | {"cache_dir": ""})[0].train))
    write_pair(tmp_path / "b", "train", 255 - images, labels, zipped=False)
    assert not np.array_equal(load(**fields | {"name": f"idx:{tmp_path}/b"})[1].images, split.load().images)
    write_pair(tmp_path / "a", "train", *draw(12, 4, 5))
    assert len(load(**fields)[0].train.ids) == 9 and len(list((tmp_path / "cache").iterdir())) == 3


def test_a_folder_without_test_files_gets_a_drawn_test_part(tmp_path):
    write_pair(tmp_path, "train", *draw(10, 2, 2))
    _, train, test = load(name=f"idx:{tmp_path}")
    assert sorted([*train.ids, *test.ids]) == list(range(10)) and len(test.ids) == 2


def test_one_of_several_sets_in_a_folder_is_chosen_by_the_beginning_of_its_names(tmp_path):
    for prefix in ("emnist-letters-", "emnist-digits-"):
        for split in ("train", "test"):
            write_pair(tmp_path, split, *draw(6, 2, 2), prefix=prefix)
    images, labels = draw(6, 2, 2)
    write_pair(tmp_path, "train", images, labels + np.uint8(1), prefix="emnist-letters-")
    opened, train, _ = load(name=f"idx:{tmp_path}/emnist-letters")
    np.testing.assert_array_equal(train.images[..., 0], images)
    assert opened.class_names == ("0", "1", "2", "3")  # the test labels begin at 0, the training labels at 1
    message = refusal(name=f"idx:{tmp_path}")
    assert (
        f"several sets (emnist-digits, emnist-letters): type one, such as --config.data.name=idx:{tmp_path}" in message
    )


@pytest.mark.parametrize(
    "images, dtype, shape",
    [
        (RNG.integers(0, 256, (4, 3, 2, 3)).astype(np.uint8), np.uint8, (3, 2, 3)),
        (RNG.integers(0, 4096, (4, 3, 2)).astype(np.int16), np.uint16, (3, 2, 1)),
        (RNG.integers(0, 128, (4, 3, 2)).astype(np.int8), np.uint8, (3, 2, 1)),
        (RNG.integers(0, 65536, (4, 3, 2)).astype(np.int32), np.uint16, (3, 2, 1)),
        (RNG.random((4, 3, 2)).astype(np.float32), np.float32, (3, 2, 1)),
        (RNG.random((4, 3, 2)), np.float32, (3, 2, 1)),
        (RNG.random((4, 7)), np.float32, (1, 1, 7)),
    ],
)
def test_values_of_every_type_of_the_format_are_read(tmp_path, images, dtype, shape):
    write_pair(tmp_path, "train", images, np.arange(4, dtype=np.int32))
    write_pair(tmp_path, "test", images, np.arange(4, dtype=np.uint8))
    _, train, _ = load(name=f"idx:{tmp_path}")
    np.testing.assert_array_equal(train.images, images.astype(dtype).reshape(4, *shape), strict=True)


def test_the_name_says_nothing_of_whether_a_file_is_gzipped(tmp_path):
    path = tmp_path / "train-images-idx1-ubyte"
    path.write_bytes(gzip.compress(idx(np.arange(5, dtype=np.int16))))
    assert read_idx(path).tolist() == [0, 1, 2, 3, 4]


WHOLE = idx(np.arange(6, dtype=np.uint8).reshape(3, 2))


@pytest.mark.parametrize(
    "content, problem",
    [
        (WHOLE[:-1], "is damaged: it has 5 bytes of values where its header says 3 x 2 uint8, 6 bytes"),
        (WHOLE + b"\0", "is damaged: it has 7 bytes"),
        (struct.pack(">BBBBII", 0, 0, 8, 2, 2**32 - 1, 2**32 - 1), "is damaged"),
        (gzip.compress(WHOLE, mtime=0)[:-9], "is damaged"),
        (gzip.compress(WHOLE, mtime=0)[:-6] + b"\0" * 6, "is damaged"),
        (b"\x1f\x8b\0\0", "is damaged"),
        (b"", "is no idx file (it begins with nothing)"),
        (WHOLE[:6], "is no idx file"),
        (b"\0\0\x08\0", "is no idx file"),
        (b"\0\0\x07\x01\0\0\0\0", "is no idx file"),
        (b"PK\x03\x04" + WHOLE, "is no idx file (it begins with 50 4b 03 04)"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, content, problem):
    path = tmp_path / "train-images-idx2-ubyte"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_idx(path)
    assert f"{path} {problem}" in str(error.value) and "\n" not in str(error.value)


def test_what_does_not_fit_together_is_refused(tmp_path):
    images, labels = draw(6, 2, 2)
    assert "has no idx files: type idx:FOLDER" in refusal(name=f"idx:{tmp_path}")
    assert "has no idx files: type idx:FOLDER" in refusal(name="idx:")
    assert "can't be read (No such file or directory)" in refusal(name=f"idx:{tmp_path}/none/there")
    write_pair(tmp_path, "train", images, labels[:5])
    assert "6 images and 5 labels" in refusal(name=f"idx:{tmp_path}")
    assert refusal(name=f"idx:{tmp_path}", test_split="dev").startswith("data.test_split='dev' is unknown")
    assert f"is a file: type idx:{tmp_path} for" in refusal(name=f"idx:{tmp_path}/train-images-idx3-ubyte.gz")
    (labels_file,) = pathlib.Path(tmp_path).glob("*labels*")
    labels_file.unlink()
    assert "has train-images-idx3-ubyte.gz and no file of labels" in refusal(name=f"idx:{tmp_path}")
