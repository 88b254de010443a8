"""Parquet files in Hugging Face's layout: which files are of a split, which columns are read, and what is refused."""

import json
import pickle
import sys

import numpy as np
import pytest
from data_sets import IMAGES, LABELS, assert_exact, load, png, refusal, section

from rethink.data import parquet
from rethink.data.registry import open_dataset

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
NAMES = ("cat", "dog", "emu", "fox")


def write(path, images, labels, *, column="image", label_column="label", names=(), group=5, **columns):
    """Writes a file of encoded images (bytes, or {bytes, path}), and labels; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({column: images, label_column: labels, **columns})
    if names:
        features = {column: {"_type": "Image"}, label_column: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=group)
    return path


def encode(split="train", rows=slice(None)):
    return [{"bytes": png(image), "path": f"{split}/é {i}.png"} for i, image in enumerate(IMAGES[split])][rows]


def write_set(folder, *, pattern="{split}-{shard:05d}-of-{shards:05d}.parquet", shards=2, **options):
    """Writes the images of data_sets.py in shards."""
    for split, labels in LABELS.items():
        for shard, rows in enumerate(np.array_split(np.arange(len(labels)), shards)):
            rows = slice(rows[0], rows[-1] + 1)
            path = folder / pattern.format(split=split, shard=shard, shards=shards)
            write(path, encode(split, rows), pa.array(labels[rows]), **{"names": NAMES, **options})
    return f"parquet:{folder}"


@pytest.mark.parametrize(
    "pattern",
    [
        "{split}-{shard:05d}-of-{shards:05d}.parquet",
        "data/{split}-{shard:05d}-of-{shards:05d}-0a1b2c.parquet",
        "default/{split}/{shard:04d}.parquet",
        "{split}/part-{shard}.parquet",
    ],
)
def test_the_shards_of_each_split_are_its_rows_in_order(tmp_path, pattern):
    opened, train, test = load(name=write_set(tmp_path, pattern=pattern))
    assert_exact(train, "train")
    assert_exact(test, "test")
    assert (opened.class_names, opened.full_train_examples) == (NAMES, 23)
    assert list(opened.train.paths[:2]) == ["train/é 0.png", "train/é 1.png"]


def test_rows_are_read_in_any_order_and_by_other_processes(tmp_path):
    split = open_dataset(section(name=write_set(tmp_path, shards=3))).train
    rows = np.array([22, 0, 7, 0, 13, 5])
    assert_exact(split.read(rows), "train", rows)
    sent = pickle.loads(pickle.dumps(split))
    assert_exact(sent.read(rows), "train", rows)
    assert len(pickle.dumps(split)) == len(pickle.dumps(sent))  # nothing that was read is sent


def test_a_row_group_is_read_once_for_all_rows_of_a_batch(tmp_path, monkeypatch):
    split = open_dataset(section(name=write_set(tmp_path, shards=1))).train
    read, groups = parquet._read_column, []
    monkeypatch.setattr(parquet, "_read_column", lambda *args: groups.append(args[2]) or read(*args))
    monkeypatch.setattr(parquet, "KEPT_BYTES", 0)
    split = pickle.loads(pickle.dumps(split))
    split.read(np.array([22, 0, 21, 1, 20]))
    assert sorted(groups) == [[0], [4]]


def test_one_file_gets_a_drawn_test_part(tmp_path):
    path = write(tmp_path / "all.parquet", encode(), pa.array(LABELS["train"]))
    _, train, test = load(name=f"parquet:{path}")
    assert sorted([*train.ids, *test.ids]) == list(range(23)) and len(test.ids) == 5
    np.testing.assert_array_equal(test.images, IMAGES["train"][test.ids])
    # And so do files that are parts of one.
    for number, rows in enumerate((slice(0, 9), slice(9, 23))):
        write(
            tmp_path / "parts" / f"part-{number}-0a1b.snappy.parquet",
            encode(rows=rows),
            pa.array(LABELS["train"][rows]),
        )
    again = load(name=f"parquet:{tmp_path}/parts")
    np.testing.assert_array_equal(again[1].images, train.images)
    write(tmp_path / "b.parquet", encode("test"), pa.array(LABELS["test"]))
    assert refusal(name=f"parquet:{tmp_path}").startswith("data.train_split='train' is unknown. Choices: all, b, parts")


def test_a_split_is_chosen_by_its_name(tmp_path):
    write(tmp_path / "train.parquet", encode(), pa.array(LABELS["train"]))
    write(tmp_path / "validation.parquet", encode("test"), pa.array(LABELS["test"]))
    name = f"parquet:{tmp_path}"
    assert_exact(load(name=name, test_split="validation")[2], "test")
    assert_exact(load(name=name)[2], "test")
    message = refusal(name=name, test_split="dev")
    assert message.startswith("data.test_split='dev' is unknown") and "validation" in message
    message = refusal(name=f"{name}/train.parquet", train_split="val")
    assert message.startswith("data.train_split='val' is unknown")


@pytest.mark.parametrize(
    "name", ["cifar-10-{}", "v1.0-{}", "mnist_2024_{}", "2024_{}", "set-1.{}", "a-10-{}-00000-of-00001"]
)
def test_a_number_in_a_name_makes_no_shards_of_one_split(tmp_path, name):
    write_set(tmp_path, pattern=f"{name.replace('{}', '{split}')}.parquet", shards=1)
    (tmp_path / ".hidden.parquet").write_bytes(b"x")
    train, test = (name.format(split).partition("-00000")[0] for split in ("train", "test"))
    _, *splits = load(name=f"parquet:{tmp_path}", train_split=train, test_split=test)
    assert_exact(splits[0], "train")
    assert_exact(splits[1], "test")
    assert refusal(name=f"parquet:{tmp_path}").startswith("data.train_split='train' is unknown")


@pytest.mark.parametrize(
    "labels, names",
    [
        (pa.array([["dog", "cat/é"][i % 2] for i in range(23)]), ("cat/é", "dog")),
        (pa.array([["dog", "cat/é"][i % 2] for i in range(23)]).dictionary_encode(), ("cat/é", "dog")),
        (pa.array([[9140, 7][i % 2] for i in range(23)]), ("7", "9140")),
        (pa.array([[2.0, 1.0][i % 2] for i in range(23)]), ("1", "2")),
        (pa.array([[True, False][i % 2] for i in range(23)]), ("False", "True")),
    ],
)
def test_labels_of_every_type(tmp_path, labels, names):
    path = write(tmp_path / "a.parquet", encode(), labels)
    opened, train, _ = load(name=f"parquet:{path}")
    assert opened.class_names == names
    np.testing.assert_array_equal(train.labels, (train.ids + 1) % 2)


def test_columns_of_other_names_and_images_that_are_bytes(tmp_path):
    images = pa.array([png(image) for image in IMAGES["train"]], pa.large_binary())
    path = write(
        tmp_path / "a.parquet", images, pa.array(LABELS["train"]), column="img", label_column="fine", mask=images
    )
    opened, train, _ = load(name=f"parquet:{path}", image_column="img", label_column="fine")
    np.testing.assert_array_equal(train.images, IMAGES["train"][train.ids])
    assert not opened.train.paths
    message = refusal(name=f"parquet:{path}", label_column="fine")
    assert "has 2 columns of images: set --config.data.image_column to one of" in message and "mask of large" in message
    assert "no images in data.image_column='fine'" in refusal(
        name=f"parquet:{path}", label_column="fine", image_column="fine"
    )
    message = refusal(name=f"parquet:{path}", image_column="img")
    assert "a.parquet has no column data.label_column='label': set it to one of img, fine, mask" in message


def test_an_image_that_is_none_is_an_error_or_left_out_with_no_other_id_changed(tmp_path):
    images = encode()
    images[3], images[7], images[11] = None, {"bytes": None, "path": "gone.png"}, {"bytes": b"no", "path": None}
    write(tmp_path / "train.parquet", images, pa.array(LABELS["train"]), names=NAMES)
    write(tmp_path / "test.parquet", encode("test"), pa.array(LABELS["test"]), names=NAMES)
    name = f"parquet:{tmp_path}"
    assert "3 bad files, the first 'train.parquet, row 3' (no bytes): mend it" in refusal(name=name)
    opened, train, _ = load(name=name, bad_files="skip")
    assert_exact(train, "train", np.setdiff1d(np.arange(23), [3, 7, 11]))
    assert [(bad.split, bad.id) for bad in opened.bad_files] == [("train", 3), ("train", 7), ("train", 11)]
    assert "gone.png" in opened.bad_files[1].path
    assert opened.train.paths[3] == "train/é 4.png"


def test_a_damaged_file_is_named_in_one_line(tmp_path):
    path = write(tmp_path / "train.parquet", encode(), pa.array(LABELS["train"]))
    whole = path.read_bytes()
    for content in (whole[:-20], whole[:100], b"", b"PAR1" * 3, whole[:-8] + b"\xff" * 4 + b"PAR1"):
        path.write_bytes(content)
        assert f"{path} is no whole parquet file" in refusal(name=f"parquet:{path}")
    rng = np.random.default_rng(0)
    for _ in range(30):  # bytes that are wrong anywhere: a set or one line
        content = bytearray(whole)
        for place in rng.integers(0, len(whole), 5):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            load(name=f"parquet:{path}")
        except parquet.UserError as error:
            assert "\n" not in str(error)


def test_what_does_not_fit_together_is_refused(tmp_path, monkeypatch):
    assert "there is no location: type parquet:FILE" in refusal(name="parquet:")
    assert "has no file *.parquet" in refusal(name=f"parquet:{tmp_path}")
    name = write_set(tmp_path)
    last = tmp_path / "train-00001-of-00002.parquet"
    # A shard of another data set; one that is missing; two data sets.
    write(last, encode(), pa.array(["a"] * 23))
    assert "split 'train' has files of several schemas" in refusal(name=name)
    write(last, encode(), pa.array(["a"] * 23), names=NAMES)
    assert "split 'train' has labels of several types" in refusal(name=name)
    last.unlink()
    assert "has 1 files" in refusal(name=name) and "is one of 2" in refusal(name=name)
    write(tmp_path / "train-00000-of-00002-copy.parquet", encode(), pa.array(LABELS["train"]))
    assert "has 2 files" in refusal(name=name) and "each of 0 to 1 once" in refusal(name=name)
    (tmp_path / "train-00000-of-00002-copy.parquet").unlink()
    write_set(tmp_path / "other")
    assert "has files in 2 folders: choose one, such as --config.data.name=parquet:" in refusal(name=name)
    # Labels that are none.
    write(last.parent / "a" / "b.parquet", encode(), pa.array([None, *range(22)]))
    assert "row 0" in refusal(name=f"parquet:{tmp_path}/a")
    write(last.parent / "a" / "b.parquet", encode(), pa.array([[1, 2]] * 23))
    assert "row 0 has labels [1, 2]" in refusal(name=f"parquet:{tmp_path}/a")
    write(last.parent / "a" / "b.parquet", encode(), pa.array([-1] * 23), names=NAMES)
    assert "none of the 4 declared classes" in refusal(name=f"parquet:{tmp_path}/a")
    # No pyarrow.
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refusal(name=name).endswith("needs pyarrow: pip install -e '.[parquet]'")
