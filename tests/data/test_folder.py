"""Folders of image files: layouts, ids that never shift, files of every kind, bad files, metadata."""

import errno
import io
import json
import logging
import os
import pathlib
import pickle
import re
import unicodedata

import numpy as np
import pytest
from data_sets import load, refusal, section
from PIL import Image

from rethink.data import decoding, folder
from rethink.data.registry import open_dataset
from rethink.schema.errors import UserError

RNG = np.random.default_rng(0)


def pixels(number, channels=3, size=4):
    """An image that tells its number: uint8 [size, size, channels], [size, size] for one channel."""
    shape = (size, size, channels) if channels > 1 else (size, size)
    return np.full(shape, number, np.uint8)


def write(root, paths, make=pixels):
    """Writes the image number i at paths[i], as PNG whatever its name."""
    for number, path in enumerate(paths):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(make(number)).save(file, "PNG")
    return root


def numbers(split):
    """The number of each image as `pixels` wrote it."""
    return split.images[:, 0, 0, 0].tolist()


def open_whole(root, **fields):
    """Opens a folder that has no splits and returns the data set and all its examples by id: (path, number, label)."""
    opened, train, test = load(name=f"folder:{root}", **fields)
    table = {}
    for source, split in ((opened.train, train), (opened.test, test)):
        rows = zip(split.ids.tolist(), source.paths, numbers(split), split.labels.tolist(), strict=True)
        table |= {row: tuple(rest) for row, *rest in rows}
    return opened, dict(sorted(table.items()))


def write_metadata(root, text, name="metadata.csv"):
    (root / name).write_text(text, encoding="utf-8", newline="")
    return root


# Layouts.


@pytest.mark.parametrize("test", ["test", "val", "validation", "valid", "Test"])
def test_the_folders_of_splits_are_found_and_ids_are_places_in_the_sorted_paths(tmp_path, test):
    paths = ["train/dog/b.png", "train/cat/10.png", "train/cat/9.png", f"{test}/dog/a.png", f"{test}/ant/x/y.png"]
    write(tmp_path, [*paths, f"{test}/ant/b.png"])
    opened, train, held_out = load(name=f"folder:{tmp_path}")
    assert opened.class_names == ("ant", "cat", "dog")
    assert opened.train.paths == ("train/cat/10.png", "train/cat/9.png", "train/dog/b.png")
    assert (train.ids.tolist(), numbers(train), train.labels.tolist()) == ([0, 1, 2], [1, 2, 0], [1, 1, 2])
    assert (held_out.ids.tolist(), numbers(held_out), held_out.labels.tolist()) == ([0, 1, 2], [5, 4, 3], [0, 0, 2])
    assert opened.name == f"folder:{tmp_path.name} (train, {test})"
    assert (train.images.dtype, train.labels.dtype, train.ids.dtype) == (np.uint8, np.int32, np.uint32)


def test_class_folders_alone_get_the_fixed_split_and_ids_among_all_files(tmp_path):
    paths = sorted(f"{name}/{i}.png" for name in ("a", "b b") for i in range(10))
    write(tmp_path, paths)
    opened, table = open_whole(tmp_path)
    assert {row: path for row, (path, *_) in table.items()} == dict(enumerate(paths))
    assert all(number == row for row, (_, number, _) in table.items())
    assert (len(opened.train.ids), len(opened.test.ids)) == (16, 4)
    again = open_dataset(section(name=f"folder:{tmp_path}"))
    np.testing.assert_array_equal(again.test.ids, opened.test.ids)
    other = open_dataset(section(name=f"folder:{tmp_path}", split_seed=1))
    assert set(other.test.ids) != set(opened.test.ids)


@pytest.mark.parametrize("stray", [["train/overview.png", "test/overview.png"], ["train/overview.png"]])
def test_a_stray_picture_makes_no_class_of_a_split(tmp_path, caplog, stray):
    write(tmp_path, ["train/cat/1.png", "train/dog/1.png", "test/cat/1.png", *stray])
    opened, train, test = load(name=f"folder:{tmp_path}")
    assert (opened.class_names, numbers(train), numbers(test)) == (("cat", "dog"), [0, 1], [2])
    assert "folder 'train/': 1 images in no class folder are left out (train/overview.png)" in caplog.text


def test_an_empty_class_folder_is_a_class_and_hidden_files_and_texts_are_nothing(tmp_path, caplog):
    images = ["a/1.png", "a/2.JPG", "c/3.png", "c/4.png", "c/5.png"]
    write(tmp_path, [*images, "c/.hidden.png", ".git/x.png", "__MACOSX/a/._1.png", "stray.png"])
    (tmp_path / "b").mkdir()
    for name in (".DS_Store", "a/Thumbs.db", "a/README.txt", "notes.csv", "a/picture.heic"):
        (tmp_path / name).write_bytes(b"x")
    with caplog.at_level(logging.INFO, "rethink"):
        opened, table = open_whole(tmp_path)
    assert opened.class_names == ("a", "b", "c")
    assert [path for path, *_ in table.values()] == images
    assert "1 images in no class folder" in caplog.text and "1 classes have no images (b)" in caplog.text
    assert "picture.heic" in caplog.text


@pytest.mark.parametrize(
    "paths, line",
    [
        ([], "has no images in class folders (no files)"),
        (["a.png"], "has no images in class folders (1 files .png)"),
        (["train/a/1.png"], "has a split 'train' and none to test with (there: train)"),
        (["foo/a/1.png", "bar/a/1.png"], "has folders (bar, foo) that hold folders alone"),
        (["images/1.png", "images/2.png"], "has one class, the folder 'images': give each class a folder"),
    ],
)
def test_a_folder_of_no_layout_is_refused(tmp_path, paths, line):
    assert line in refusal(name=f"folder:{write(tmp_path, paths)}")


def test_a_split_that_there_is_not_is_refused(tmp_path):
    write(tmp_path, ["train/a/1.png", "test/a/1.png"])
    assert "data.test_split='tset' is unknown; did you mean 'test'?" in refusal(
        name=f"folder:{tmp_path}", test_split="tset"
    )


@pytest.mark.parametrize("name", ["folder", "folder:", "folder:not/there", f"folder:{__file__}"])
def test_a_name_that_is_no_folder_is_refused(name):
    assert refusal(name=name) == f"data.name='{name}' is no folder: type folder:PATH, such as folder:data/pets."


# Sets of files that differ.


@pytest.mark.parametrize(
    "kinds, channels, expected",
    [
        ((1, 1, 1), 0, (1, np.uint8)),
        ((1, 3, 1), 0, (3, np.uint8)),
        ((4, 4, 4), 0, (3, np.uint8)),
        ((4, 1, 1), 4, (4, np.uint8)),
        ((3, 3, 3), 1, (1, np.uint8)),
        ((1, 16, 1), 0, (1, np.uint16)),
        ((16, 3, 1), 0, (3, np.uint16)),
    ],
)
def test_channels_and_bits_are_those_of_all_files_together(tmp_path, kinds, channels, expected):
    for number, kind in enumerate(kinds):
        image = np.full((4, 4), 999, np.uint16) if kind == 16 else pixels(7, kind)
        file = tmp_path / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(file)
    opened, train, test = load(name=f"folder:{tmp_path}", channels=channels)
    for source, split in ((opened.train, train), (opened.test, test)):
        assert (split.images.shape[-1], split.images.dtype) == expected
        assert (source.image_shape, source.image_dtype) == (split.images.shape[1:], split.images.dtype)


def test_images_of_several_sizes_need_a_size(tmp_path):
    write(tmp_path, ["train/a/1.png", "train/a/2.png", "train/b/3.png", "test/a/4.png"])
    Image.fromarray(pixels(5, size=9)).save(tmp_path / "test/a/5.png")
    line = refusal(name=f"folder:{tmp_path}")
    assert (
        "1 of 5 images are not 4x4 as most are, the first 'test/a/5.png' of 9x9: set --config.data.image_size" in line
    )
    assert load(name=f"folder:{tmp_path}", image_size=3)[2].images.shape == (2, 3, 3, 3)


# Bad files.


def with_bad_files(root):
    """A folder with splits, two bad files in train, one of which only its end gives away, and one in test."""
    write(root, [f"train/{name}/{i}.png" for name in "ab" for i in range(4)] + ["test/a/1.png", "test/b/1.png"])
    (root / "train/a/1.png").write_bytes(b"")
    Image.fromarray(pixels(2)).save(root / "train/b/2.png", "BMP")
    (root / "train/b/2.png").write_bytes((root / "train/b/2.png").read_bytes()[:-9])
    (root / "test/b/1.png").write_bytes(b"GIF89a")
    return root


def test_a_bad_file_is_an_error_that_names_it(tmp_path):
    line = refusal(name=f"folder:{with_bad_files(tmp_path)}")
    assert "2 bad files, the first 'train/a/1.png' (no byte in it): mend it, or leave out all such files" in line
    for path in ("train/a/1.png", "test/b/1.png"):
        Image.fromarray(pixels(0)).save(tmp_path / path)
    assert "'train/b/2.png' is a bad file (" in refusal(name=f"folder:{tmp_path}")
    streamed = open_dataset(section(name=f"folder:{tmp_path}")).train
    assert streamed.read(np.array([0])).ids.tolist() == [0]


@pytest.mark.parametrize("cached", [False, True])
def test_bad_files_are_left_out_and_all_other_ids_stay(tmp_path, cached):
    root = with_bad_files(tmp_path / "set")
    fields = {"bad_files": "skip", "cache_dir": str(tmp_path / "cache") if cached else ""}
    for _ in range(2):
        opened, train, test = load(name=f"folder:{root}", **fields)
        assert train.ids.tolist() == [0, 2, 3, 4, 5, 7] and numbers(train) == train.ids.tolist()
        assert train.labels.tolist() == [0, 0, 0, 1, 1, 1] and test.ids.tolist() == [0]
        assert [(bad.split, bad.id, bad.path) for bad in opened.bad_files] == [
            ("train", 1, "train/a/1.png"),
            ("train", 6, "train/b/2.png"),
            ("test", 1, "test/b/1.png"),
        ]
        assert all(bad.reason for bad in opened.bad_files)
        assert opened.train.read(np.array([5, 1])).ids.tolist() == [7, 2]
        assert opened.full_train_examples == 6


def test_leaving_bad_files_out_moves_no_other_example_between_drawn_splits(tmp_path):
    write(tmp_path, [f"{'ab'[i // 10]}/{i:02}.png" for i in range(20)])
    before = open_dataset(section(name=f"folder:{tmp_path}"))
    bad = {int(before.train.ids[3]): "train", int(before.test.ids[1]): "test"}
    for number in bad:
        (tmp_path / f"{'ab'[number // 10]}/{number:02}.png").write_bytes(b"x")
    after = open_dataset(section(name=f"folder:{tmp_path}", bad_files="skip"))
    for split in ("train", "test"):
        assert set(before.splits[split].ids) - set(after.splits[split].ids) == {i for i in bad if bad[i] == split}
    assert {one.id: one.split for one in after.bad_files} == bad


def test_a_split_of_bad_files_alone_is_refused(tmp_path):
    write(tmp_path, ["train/a/1.png", "train/b/1.png", "test/a/1.png"])
    (tmp_path / "test/a/1.png").write_bytes(b"x")
    assert "split 'test' has no file that can be used" in refusal(name=f"folder:{tmp_path}", bad_files="skip")


# Cache, other processes, folders that can't be written.


def test_what_is_decoded_is_kept_until_a_file_changes(tmp_path, monkeypatch):
    root = write(tmp_path / "a set", ["train/a/1.png", "train/b/2.png", "test/a/1.png"])
    fields = {"name": f"folder:{root}", "cache_dir": str(tmp_path / "cache")}
    first = load(**fields)
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "decode_file", None)
        patch.setattr(decoding, "read_header", None)
        again = load(**fields)
    np.testing.assert_array_equal(again[1].images, first[1].images, strict=True)
    Image.fromarray(pixels(77)).save(root / "train/a/1.png")
    os.utime(root / "train/a/1.png", ns=(1, 1))
    assert numbers(load(**fields)[1]) == [77, 1]


def test_other_images_of_the_same_sizes_and_dates_have_a_cache_of_their_own(tmp_path):
    fields = {"cache_dir": str(tmp_path / "cache")}

    def load_dated(root):
        for path in root.rglob("*.png"):
            os.utime(path, ns=(1, 1))
        return numbers(load(name=f"folder:{root}", **fields)[1])

    paths = ["train/a/1.png", "train/b/2.png", "test/a/1.png"]
    roots = [
        write(tmp_path / folder / "x", paths, lambda number, shift=shift: pixels(number + shift))
        for folder, shift in (("B", 10), ("C", 20))
    ]
    assert [load_dated(root) for root in roots] == [[10, 11], [20, 21]]
    size = (roots[0] / paths[0]).stat().st_size
    Image.fromarray(pixels(30)).save(roots[0] / paths[0], "PNG")  # edited in place
    assert size == (roots[0] / paths[0]).stat().st_size and load_dated(roots[0]) == [30, 11]
    rows = write(tmp_path / "rows", ["0.png", "1.png", "2.png"])
    for first, second in ((1, 2), (2, 1)):  # with the same labels
        lines = f"{first}.png,a,train\n{second}.png,b,train\n0.png,a,test\n"
        write_metadata(rows, f"file_name,label,split\n{lines}")
        assert load_dated(rows) == [first, second]


def test_a_read_only_folder_works_and_a_split_is_sent_to_another_process(tmp_path):
    write(tmp_path, ["train/a/1.png", "train/b/2.png", "test/a/1.png"])
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o555)
    try:
        train = open_dataset(section(name=f"folder:{tmp_path}")).train
        sent = pickle.loads(pickle.dumps(train))
        assert numbers(sent.read(np.array([1, 0, 1]))) == [1, 0, 1] and sent.paths == train.paths
    finally:
        for path in [tmp_path, *tmp_path.rglob("*")]:
            path.chmod(0o755)


def test_a_link_to_a_folder_that_it_is_in_is_refused(tmp_path):
    write(tmp_path, ["a/1.png"])
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert "is a link to a folder that it is in" in refusal(name=f"folder:{tmp_path}")


def test_a_disk_that_fails_makes_no_bad_file(tmp_path, monkeypatch):
    write(tmp_path, ["train/a/1.png", "train/b/1.png", "test/a/1.png"])

    class Broken(io.BytesIO):
        name = "some/file.png"

        def read(self, size=-1):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(folder, "_open_file", lambda path: Broken())
    line = refusal(name=f"folder:{tmp_path}", bad_files="skip")
    assert line == "some/file.png can't be read (Input/output error): check the disk, and start again."


def test_names_that_differ_in_the_form_of_their_accents_alone_are_one_class(tmp_path):
    apart = unicodedata.normalize("NFD", "é")
    write(tmp_path, ["train/é/1.png", "train/z/1.png", f"test/{apart}/1.png"])
    opened, train, test = load(name=f"folder:{tmp_path}")
    assert (opened.class_names, sorted(train.labels.tolist()), test.labels.tolist()) == (("z", "é"), [0, 1], [1])


# Metadata.


FLAT = ("b.png", "a.png", "x/c d.png", "x/é~.png", "y/a.png")


def open_rows(root, text, name="metadata.csv", **fields):
    """Opens FLAT with metadata: class names, and (path, number, name of the class) by id."""
    opened, table = open_whole(write_metadata(write(root, FLAT), text, name), **fields)
    names = opened.class_names
    return names, {row: (path, number, names[label]) for row, (path, number, label) in table.items()}


ROWS = {
    0: ("b.png", 0, "dog"),
    1: ("y/a.png", 4, "cat, black"),
    2: ("a.png", 1, "a/b"),
    3: ("x/é~.png", 3, "dog"),
    4: ("x/c d.png", 2, "dog"),
}
CSV = 'file_name,label\nb.png,dog\ny/a.png,"cat, black"\na.png,a/b\nx/é~.png,dog\n"x/c d.png",dog\n'


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text + "\n \n",
        lambda text: text.replace("file_name,label", '"file_name", label'),
        lambda text: text.replace("x/", "x\\"),
        lambda text: text.replace("b.png,dog", "./x/../b.png, dog "),
        lambda text: unicodedata.normalize("NFD", text),
    ],
    ids=["plain", "BOM", "CRLF", "blank lines", "quotes", "backslashes", "dots", "accents apart"],
)
def test_rows_give_ids_files_and_labels(tmp_path, change):
    assert open_rows(tmp_path, change(CSV)) == (("a/b", "cat, black", "dog"), ROWS)


def test_json_lines_are_metadata_too(tmp_path):
    lines = [json.dumps({"file_name": path, "label": label, "z": [1]}) for path, _, label in ROWS.values()]
    names, table = open_rows(tmp_path, "\r\n".join(lines) + "\n\n", "metadata.jsonl")
    assert (names, table) == (("a/b", "cat, black", "dog"), ROWS)


@pytest.mark.parametrize(
    "labels, names",
    [
        (("7", "9140", "7", "7", "7"), ("7", "9140")),
        (("1.0", "0.0", "2.0", "10.0", "1.0"), ("0.0", "1.0", "2.0", "10.0")),
        (("1", "2", "3", "10", "1"), ("1", "2", "3", "10")),
        (("none", "NA", "x", "x", "x"), ("NA", "none", "x")),
    ],
)
def test_labels_of_a_csv_are_numbers_where_all_are(tmp_path, labels, names):
    text = "file_name,label\n" + "".join(f"{path},{label}\n" for path, label in zip(FLAT, labels, strict=True))
    found, table = open_rows(tmp_path, text)
    assert found == names
    assert [label for *_, label in table.values()] == list(labels)


def test_a_column_or_the_folders_tell_the_splits(tmp_path):
    write(tmp_path, ["train/1.png", "train/2.png", "val/1.png", "val/2.png"])
    opened, train, test = load(name=f"folder:{write_metadata(tmp_path, METADATA_OF_FOLDERS)}")
    assert (opened.train.paths, opened.test.paths) == (
        ("train/2.png", "train/1.png"),
        ("val/1.png",),
    )
    assert (train.ids.tolist(), train.labels.tolist(), test.ids.tolist()) == ([0, 1], [1, 0], [0])
    rows = METADATA_OF_FOLDERS.replace("label\n", "label,split\n").replace("\nval/1.png,a", "\nval/1.png,a,train")
    rows = rows.replace("2.png,b", "2.png,b,test").replace("train/1.png,a", "train/1.png,a,train")
    opened, train, test = load(name=f"folder:{write_metadata(tmp_path, rows)}")
    assert (opened.train.paths, opened.test.paths) == (
        ("val/1.png", "train/1.png"),
        ("train/2.png",),
    )
    for split in ("train", "val"):
        write_metadata(tmp_path / split, "file_name,kind\n2.png,u\n1.png,v\n")
    (tmp_path / "metadata.csv").unlink()
    opened, train, test = load(name=f"folder:{tmp_path}", label_column="kind")
    assert opened.test.paths == ("val/2.png", "val/1.png") and (numbers(test), test.ids.tolist()) == ([3, 2], [0, 1])


@pytest.mark.parametrize("start", ["{}", " {}", "././{}", "extra/../{}", ".\\{}"])
def test_the_split_of_a_row_is_the_folder_in_which_its_file_is_found(tmp_path, caplog, start):
    paths = ["train/0.png", "train/1.png", "test/0.png", "extra/0.png"]
    write(tmp_path, paths)
    text = "label, file_name\n" + "".join(f"{i % 2},{start.format(path)}\n" for i, path in enumerate(paths))
    opened, *_ = load(name=f"folder:{write_metadata(tmp_path, text)}")
    assert (opened.train.paths, opened.test.paths) == (tuple(paths[:2]), (paths[2],))
    assert re.search(r"1 rows are of no split that is used \(.*extra/0.png\)", caplog.text)
    text = "".join(line for line in text.splitlines(True) if "test" not in line)
    assert "has a split 'train' and none to test with" in refusal(name=f"folder:{write_metadata(tmp_path, text)}")


METADATA_OF_FOLDERS = "file_name,label\ntrain/2.png,b\nval/1.png,a\ntrain/1.png,a\n"


@pytest.mark.parametrize(
    "text, line",
    [
        ("", "metadata.csv has no rows"),
        ("file_name,label\n", "metadata.csv has no rows"),
        ("file_name;label\na.png;1\n", "line 2 has no file_name (its columns: file_name;label)"),
        ("file_name,kind,x\na.png,1,2\n", "data.label_column='label' is no column of "),
        ("file_name,label\na.png,\n", "line 2 has label '': give 'a.png' its class"),
        ("file_name,label\nb.png,1\n\na.png,NaN\n", "line 4 has label 'NaN': give 'a.png' its class"),
        ("file_name,label\nb.png,1.5\na.png,2\n", "no class but a target of a regression"),
        ("file_name,label\n/etc/a.png,1\n", "which is outside the data set"),
        ("file_name,label\nC:\\a.png,1\n", "which is outside the data set"),
        ("file_name,label\nx/../../a.png,1\n", "which is outside the data set"),
        ("file_name,label\na.png,1,2\n", "line 2 has 3 values for 2 columns (file_name, label)"),
        ("file_name,label\na.png\n", "line 2 has 1 values for 2 columns"),
        ("file_name,label,label\na.png,1,1\n", "has two columns of one name"),
        ('file_name,label\n"a.png,1\n', "is no CSV ("),
        ("file_name,label\n ,1\n", "line 2 has file_name ' '"),
        ("file_name,label\na.png,1\nb.png,2\n./a.png,2\n", "gives 'a.png' the label '2', and "),
        ("file_name,label,split\na.png,1,train\nb.png,2,\n", "line 3 has split ''"),
        ("file_name,label,split\na.png,1,x\nb.png,2,y\n", "has the splits x, y in metadata.csv"),
        ("file_name,label,split\na.png,1,train\nb.png,2,dev\n", "has a split 'train' and none to test with"),
        ("file_name,label\na.png,1\nnot there.png,2\n", "1 bad file, the first 'not there.png' (no such file)"),
    ],
)
def test_metadata_that_can_not_be_used_are_refused_in_one_line(tmp_path, text, line):
    assert line in refusal(name=f"folder:{write_metadata(write(tmp_path, FLAT), text)}")


@pytest.mark.parametrize(
    "text, line",
    [
        ("[1]\n", "line 1 is no JSON object"),
        ('{"file_name": "a.png", "label": 1}\n{"file_name":\n', "line 2 is no JSON ("),
        ('{"file_name": "a.png", "label": NaN}', "line 1 has label nan"),
        ('{"file_name": "a.png", "label": null}', "line 1 has label None"),
        ('{"file_name": 3, "label": 1}', "line 1 has file_name 3"),
        ('{"file_name": "a.png", "label": [1, 2]}\n{"file_name": "b.png", "label": [1]}', "several labels"),
        ('{"file_name": "a.png", "label": 1}\n{"file_name": "b.png", "label": 1, "split": "test"}', "has no split"),
    ],
)
def test_json_lines_that_can_not_be_used_are_refused_in_one_line(tmp_path, text, line):
    assert line in refusal(name=f"folder:{write_metadata(write(tmp_path, FLAT), text, 'metadata.jsonl')}")


def test_two_metadata_files_or_one_that_is_no_text_are_refused(tmp_path):
    write(tmp_path, FLAT)
    (tmp_path / "metadata.csv").write_bytes("file_name,label\né.png,1\n".encode("latin-1"))
    assert "is no text in UTF-8 (byte 16)" in refusal(name=f"folder:{tmp_path}")
    write_metadata(tmp_path, "{}", "metadata.jsonl")
    assert "and only one can be meant" in refusal(name=f"folder:{tmp_path}")


def test_rows_without_their_file_are_bad_files_and_files_without_a_row_are_mentioned(tmp_path, caplog):
    text = "file_name,label\na.png,1\nnot there.png,2\ny/a.png,1\nb.png,3\na.png,1\n"
    opened, table = open_whole(write_metadata(write(tmp_path, FLAT), text), bad_files="skip")
    assert [(bad.id, bad.path, bad.reason) for bad in opened.bad_files] == [(1, "not there.png", "no such file")]
    assert {row: path for row, (path, *_) in table.items()} == {0: "a.png", 2: "y/a.png", 3: "b.png", 4: "a.png"}
    assert opened.class_names == ("1", "2", "3")
    assert "2 images are in no row and left out (x/c d.png, x/é~.png)" in caplog.text


# Any folder at all.

NAMES = ["a", "b b", *'é train test val x~ 10 9 metadata.csv README .git a,b q"q Thumbs'.split()]
ENDS = [".png", ".PNG", ".jpg", ".gif", ".bmp", ".tif", ".webp", "", ".txt", ".png.txt", ".jsonl"]
BITS = ["file_name", "label", "split", ",", ";", "\n", "\r\n", '"', "a.png", "train/a.png", "NaN", "1", "1.0", "-3"]
BITS += ["\ufeff", "\\", "/", "..", "{", "}", '"file_name": "a.png"', '"label": 1', "[1]", "null", "test", "\0", "é"]
REMEDY = re.compile(r": .*(set |give |rename|type |put |save|write|leave|mend|add|bring|take|correct)")


def scribble_file(rng):
    """The bytes of an image of any mode, size and format, whole or damaged, or of no image."""
    mode = rng.choice(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
    form = rng.choice(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
    size = (4, 4) if rng.random() < 0.9 else tuple(rng.integers(1, 6, 2).tolist())
    buffer = io.BytesIO()
    try:
        Image.frombytes(mode, size, rng.bytes(200)[: len(Image.new(mode, size).tobytes())]).save(buffer, form)
    except (OSError, ValueError):  # a mode that the format does not hold
        Image.new("RGB", size, 7).save(buffer, "PNG")
    encoded = bytearray(buffer.getvalue())
    damage = rng.random()
    if damage < 0.05:
        return encoded[: rng.integers(len(encoded))]
    if damage < 0.1:
        encoded[rng.integers(len(encoded))] ^= 1 << rng.integers(8)
    return encoded


def scribble_metadata(rng, paths):
    """Metadata of some of the files, some of them damaged by a piece of text anywhere."""
    labels = [["cat", "dog"], ["1", "2"], ["7", "9140"], ["a/b", "c, d"], ["1.0", "2.0"]][rng.integers(5)]
    columns = ["file_name", "label", *(["split"] if rng.random() < 0.4 else [])]
    rows = [[path, rng.choice(labels), rng.choice(["train", "test"])][: len(columns)] for path in paths]
    if rng.random() < 0.3:
        text = "".join(json.dumps(dict(zip(columns, map(str, row), strict=True))) + "\n" for row in rows)
    else:
        quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in [columns, *rows]]
        text = rng.choice(["\n", "\r\n"]).join(quoted)
    for _ in range(rng.integers(3) if rng.random() < 0.5 else 0):
        place = rng.integers(len(text) + 1)
        text = text[:place] + rng.choice(BITS) + text[place + rng.integers(3) :]
    return text


def scribble_folder(root, rng):
    """Makes a folder of up to 3 levels with files of any kind, half of the time with metadata."""
    splits = [["train", "test"], ["train", "val"], [], [], ["train"]][rng.integers(5)]
    paths = []
    for number in range(rng.integers(0, 14)):
        parts = [rng.choice(splits)] if splits else []
        parts += rng.choice(NAMES, rng.choice([0, 1, 1, 1, 1, 2])).tolist()
        path = "/".join([*parts, f"{rng.choice(NAMES[:3])}{number}{rng.choice(ENDS, p=[0.7, *[0.03] * 10])}"])
        file = root / path
        if not any((root / above).is_file() for above in pathlib.PurePath(path).parents):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(scribble_file(rng))
            paths.append(path)
    if rng.random() < 0.4:
        (root / rng.choice(NAMES[:3])).mkdir(exist_ok=True)
    if rng.random() < 0.5:
        text = scribble_metadata(rng, paths)
        name = "metadata.jsonl" if text.startswith("{") else "metadata.csv"
        if not (root / name).exists():
            (root / name).write_bytes(text.encode())


def check_any_folder(root, seed):
    """Opens a folder of any content: a data set that is whole, or one line. Returns whether it is a data set."""
    rng = np.random.default_rng(seed)
    root.mkdir()
    scribble_folder(root, rng)
    fields = {"bad_files": rng.choice(["error", "skip", "skip"]), "channels": rng.choice([0, 0, 1, 3, 4])}
    fields["image_size"] = rng.choice([0, 0, 3])
    config = section(name=f"folder:{root}", **{name: value.item() for name, value in fields.items()})
    try:
        opened = open_dataset(config)
        splits = {name: split.load() for name, split in opened.splits.items()}
    except UserError as error:
        assert str(error).isprintable() and "\n" not in str(error) and len(str(error)) < 1000
        assert REMEDY.search(str(error)), error
        return False
    for name, split in splits.items():
        source = opened.splits[name]
        assert len(split.ids) == len(split.labels) == len(split.images) == len(source.paths) > 0
        assert (np.diff(split.ids.astype(int)) > 0).all() and split.labels.max() < opened.num_classes
        assert (split.images.shape[1:], split.images.dtype) == (source.image_shape, source.image_dtype)
        np.testing.assert_array_equal(source.read(np.arange(len(split.ids))[::-1]).images, split.images[::-1])
    return True


def test_any_folder_is_a_data_set_or_one_line(tmp_path):
    outcomes = [check_any_folder(tmp_path / str(seed), seed) for seed in range(6)]
    assert any(outcomes) and not all(outcomes)


@pytest.mark.slow
def test_300_folders_are_data_sets_or_one_line(tmp_path):
    outcomes = [check_any_folder(tmp_path / str(seed), seed) for seed in range(300)]
    assert 60 < sum(outcomes) < 240
