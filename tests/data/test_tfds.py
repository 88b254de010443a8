"""TFDS directories: read back exactly, by rows and as a whole, without TensorFlow; damaged ones are named."""

import hashlib
import io
import json
import os
import pathlib
import pickle
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from data_sets import IMAGES, LABELS, RNG, assert_exact, load, png, refusal, section, write_set

from rethink.data import download
from rethink.data.registry import open_dataset
from rethink.schema.errors import UserError


def test_a_tfds_directory_is_read_back_exactly(tiny):
    opened, train, test = load(name="tiny", dir=str(tiny))
    assert opened.name == "tiny/1.0.0"
    assert opened.decoder.startswith("Pillow ")
    assert opened.num_classes == 4
    assert len(list((tiny / "tiny" / "1.0.0").glob("tiny-train.array_record-*-of-00003"))) == 3
    for source in (opened.train, opened.test):
        assert tuple(source.image_shape) == (6, 5, 3)
    assert_exact(train, "train")
    assert_exact(test, "test")


def test_a_subset_of_a_tfds_set_has_the_examples_of_its_ids(tiny):
    opened, train, test = load(name="tiny", dir=str(tiny), train_examples=9)
    assert len(train.ids) == 9
    np.testing.assert_array_equal(opened.train.ids, train.ids)
    assert_exact(train, "train", train.ids)
    assert_exact(test, "test")


@pytest.mark.parametrize("count", [0, 9])
def test_rows_are_read_in_the_order_asked_for_and_as_often(tiny, count):
    source = open_dataset(section(name="tiny", dir=str(tiny), train_examples=count)).train
    for rows in ([3, 0, 8, 3], [0], [8, 7, 6]):
        part, whole = source.read(np.array(rows)), source.load()
        for actual, wanted in zip(part, whole, strict=True):
            np.testing.assert_array_equal(actual, wanted[rows], strict=True)


def test_a_split_may_be_sent_to_another_process(tiny):
    source = open_dataset(section(name="tiny", dir=str(tiny))).train
    source.load()
    sent = pickle.dumps(source)
    assert len(sent) < 2000
    assert_exact(pickle.loads(sent).load(), "train")


def test_decoded_images_are_cached_until_the_files_or_the_size_change(tmp_path):
    directory = write_set(tmp_path)
    fields = {"name": "tiny", "dir": str(tmp_path), "cache_dir": str(tmp_path / "cache")}

    def entries():
        return {path.name for path in (tmp_path / "cache").iterdir()}

    assert_exact(load(**fields)[1], "train")
    first = entries()
    assert {name.rpartition("-")[0] for name in first} == {"tiny-train", "tiny-test"}
    assert_exact(load(**fields)[1], "train")
    assert_exact(load(**fields, train_examples=4)[1], "train", load(**fields, train_examples=4)[1].ids)
    assert entries() == first
    load(**fields, image_size=4)
    assert len(entries()) == 4
    os.utime(next(directory.glob("*train*")), ns=(0, 0))
    load(**fields)
    assert len(entries()) == 5


def test_a_cached_set_is_not_decoded_again(tiny, tmp_path, monkeypatch):
    from rethink.data import decoding

    fields = {"name": "tiny", "dir": str(tiny), "cache_dir": str(tmp_path)}
    load(**fields)
    monkeypatch.setattr(decoding, "decode_image", None)
    _, train, test = load(**fields)
    assert_exact(train, "train")
    assert_exact(test, "test")


def test_the_newest_version_is_taken_or_the_one_that_is_named(tmp_path):
    counts = {"1.2.0": 2, "1.10.0": 5, "0.9.0": 3}
    for version, count in counts.items():
        parts = {name: images[:count] for name, images in IMAGES.items()}
        labels = {name: values[:count] for name, values in LABELS.items()}
        write_set(tmp_path, parts, labels, version=version)
    (tmp_path / "tiny" / "9.0.0").mkdir()  # not prepared
    (tmp_path / "tiny" / "2.0.0.incompleteABC").mkdir()
    (tmp_path / "tiny" / "2.0.0.incompleteABC" / "dataset_info.json").touch()
    for name, version in [("tiny", "1.10.0"), *((f"tiny:{version}", version) for version in counts)]:
        opened, train, _ = load(name=name, dir=str(tmp_path))
        assert opened.name == f"tiny/{version}"
        assert len(train.ids) == counts[version]


def test_a_set_with_configs_may_be_named_without_one(tmp_path):
    class TinyWithConfigs(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("first", "second")]

        def _info(self):
            image = tfds.features.Image(shape=(6, 5, 3), encoding_format="png")
            features = tfds.features.FeaturesDict({"image": image, "label": tfds.features.ClassLabel(num_classes=4)})
            return tfds.core.DatasetInfo(
                builder=self, features=features, supervised_keys=("image", "label"), disable_shuffling=True
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in IMAGES}

        def _generate_examples(self, split):
            for i, (image, label) in enumerate(zip(IMAGES[split], LABELS[split], strict=True)):
                yield i, {"image": io.BytesIO(png(image)), "label": int(label)}

    for name, full in (("", "first"), ("", "first"), ("/second", "second")):
        opened, train, test = load(name=f"tiny_with_configs{name}", dir=str(tmp_path))
        assert opened.name == f"tiny_with_configs/{full}/1.0.0"
        assert_exact(train, "train")
        assert_exact(test, "test")


def sizes(*shapes):
    """Splits of images of these shapes, and their labels."""
    images = [RNG.integers(0, 256, shape).astype(np.uint8) for shape in shapes]
    return {name: images for name in IMAGES}, {name: [1] * len(images) for name in IMAGES}


def test_images_of_several_sizes_are_refused_by_name_and_brought_to_one_on_request(tmp_path):
    images, labels = sizes((8, 8, 3), (8, 8, 3), (9, 12, 3), (8, 8, 3))
    write_set(tmp_path, images, labels, shape=(None, None, 3))
    message = refusal(name="tiny", dir=str(tmp_path))
    assert message.startswith("data.name='tiny', split 'train', example 2 is 9x12x3")
    assert "--config.data.image_size" in message
    opened, train, _ = load(name="tiny", dir=str(tmp_path), image_size=8)
    assert tuple(opened.train.image_shape) == (8, 8, 3)
    assert train.images.shape == (4, 8, 8, 3)
    np.testing.assert_array_equal(train.images[[0, 1, 3]], np.stack([images["train"][i] for i in (0, 1, 3)]))


@pytest.mark.parametrize("shape", [None, (8, 8, 3)])
def test_rows_of_another_size_are_named_however_they_are_grouped(tmp_path, shape):
    images, labels = sizes((8, 8, 3), (8, 8, 3), (9, 12, 3), (9, 12, 3))
    write_set(tmp_path, images, labels, shape=shape or (None, None, 3))
    source = open_dataset(section(name="tiny", dir=str(tmp_path))).train
    assert source.read(np.array([1, 0])).images.shape == (2, 8, 8, 3)
    with pytest.raises(UserError, match="split 'train', example 3 is 9x12x3 where the others are 8x8x3"):
        source.read(np.array([3, 2]))  # a batch of one size


def test_images_of_another_size_than_declared_are_named(tmp_path):
    images, labels = sizes((9, 12, 3), (9, 12, 3))
    write_set(tmp_path, images, labels, shape=(8, 8, 3))
    message = refusal(name="tiny", dir=str(tmp_path))
    assert message.startswith("data.name='tiny', split 'train', example 0 is 9x12x3 where the others are 8x8x3")


def test_images_of_one_undeclared_size_need_no_request(tmp_path):
    images, labels = sizes((7, 9, 3), (7, 9, 3))
    write_set(tmp_path, images, labels, shape=(None, None, 3))
    opened, train, _ = load(name="tiny", dir=str(tmp_path))
    assert tuple(opened.train.image_shape) == (7, 9, 3)
    np.testing.assert_array_equal(train.images, np.stack(images["train"]))


def test_a_grey_image_in_a_set_of_colours_is_one_of_its_colours(tmp_path):
    images, labels = sizes((8, 8, 1), (8, 8, 3), (8, 8, 1))
    write_set(tmp_path, images, labels, shape=(None, None, 3))
    for size in (0, 8):
        opened, train, _ = load(name="tiny", dir=str(tmp_path), image_size=size)
        assert tuple(opened.train.image_shape) == (8, 8, 3)
        np.testing.assert_array_equal(train.images[0], np.repeat(images["train"][0], 3, axis=-1))
        np.testing.assert_array_equal(train.images[1], images["train"][1])


def test_a_grey_set_has_one_channel(tmp_path):
    images, labels = sizes((8, 8, 1), (8, 8, 1))
    write_set(tmp_path, images, labels)
    opened, train, _ = load(name="tiny", dir=str(tmp_path))
    assert tuple(opened.train.image_shape) == (8, 8, 1)
    np.testing.assert_array_equal(train.images, np.stack(images["train"]))


def test_an_image_that_does_not_decode_is_named(tmp_path):
    images = {"train": [png(IMAGES["train"][0]), b"garbage"], "test": [png(IMAGES["test"][0])]}
    write_set(tmp_path, images, {"train": [0, 1], "test": [0]}, shape=(6, 5, 3))
    assert refusal(name="tiny", dir=str(tmp_path)).startswith("data.name='tiny', split 'train', example 1 does not")


def test_a_set_that_is_no_image_classification_set_is_refused(tmp_path):
    write_set(tmp_path, features={"length": np.int64, "label": tfds.features.ClassLabel(num_classes=2)})
    message = refusal(name="tiny", dir=str(tmp_path))
    assert message.startswith("data.name='tiny' is no image classification set (its features: ")
    assert "length" in message


@pytest.mark.parametrize("field", ["train_split", "test_split"])
@pytest.mark.parametrize("split", ["tset", "train[:5]", ""])
def test_a_split_that_there_is_not_is_refused_with_the_choices(tiny, field, split):
    message = refusal(name="tiny", dir=str(tiny), **{field: split})
    assert message.startswith(f"data.{field}='{split}' is unknown")
    assert "train" in message.partition("Choices: ")[2]
    assert "test" in message.partition("Choices: ")[2]


def test_any_split_may_be_the_train_or_the_test_split(tiny):
    _, train, test = load(name="tiny", dir=str(tiny), train_split="test", test_split="train")
    assert_exact(train, "test")
    assert_exact(test, "train")


def test_a_home_directory_that_there_is_not_is_refused():
    assert refusal(name="tiny", dir="~no_such_user/x").startswith("data.dir='~no_such_user/x' names a home directory")


def test_a_directory_that_there_is_not_is_refused(tmp_path):
    message = refusal(name="tiny", dir=str(tmp_path / "none"))
    assert message.startswith(f"data.dir='{tmp_path / 'none'}' is not a directory")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["../tiny", "tiny/../tiny", "/tiny", "", "tiny:1", "tiny:../1.0.0", "ti ny"])
def test_a_name_that_is_none_is_refused(tiny, name):
    message = refusal(name=name, dir=str(tiny / "tiny"))
    assert message.startswith(f"data.name='{name}'")


def test_a_missing_shard_is_named(tmp_path):
    directory = write_set(tmp_path, shards=3)
    shard = directory / "tiny-train.array_record-00001-of-00003"
    shard.unlink()
    message = refusal(name="tiny", dir=str(tmp_path))
    assert message.startswith("data.name='tiny', split 'train'")
    assert f"lacks {shard.name}" in message


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, overwrite, lambda path: path.write_bytes(b"")])
def test_a_damaged_shard_is_refused_by_its_directory(tmp_path, damage):
    directory = write_set(
        tmp_path,
        {**IMAGES, "train": np.tile(IMAGES["train"], (50, 1, 1, 1))},
        {**LABELS, "train": np.tile(LABELS["train"], 50)},
    )
    damage(directory / "tiny-train.array_record-00000-of-00001")
    source = open_dataset(section(name="tiny", dir=str(tmp_path))).train
    for read in (source.load, lambda: source.read(np.arange(len(source.ids)))):
        with pytest.raises(
            UserError, match=f"^The data set in {directory} can't be read .* or prepare it again in another"
        ):
            read()


def test_a_set_that_goes_away_before_a_worker_reads_it_is_refused_by_its_directory(tmp_path):
    directory = write_set(tmp_path)
    source = pickle.loads(pickle.dumps(open_dataset(section(name="tiny", dir=str(tmp_path))).train))
    shutil.rmtree(directory)
    with pytest.raises(UserError, match=f"^The data set in {directory} can't be read .*: bring it back from a copy"):
        source.read(np.arange(2))


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("damage", [cut, lambda path: path.write_text(""), lambda path: path.write_text('{"a": 1}')])
def test_a_damaged_description_is_refused_by_its_directory(tmp_path, file, damage):
    directory = write_set(tmp_path)
    damage(directory / file)
    message = refusal(name="tiny", dir=str(tmp_path))
    assert message.startswith(f"The data set in {directory} can't be read (")
    assert "bring it back from a copy, or prepare it again in another --config.data.dir" in message


@pytest.fixture
def unprivileged():
    """Takes the rights of this process, where it has those of root, until the test ends; yields a folder for all."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield pathlib.Path(folder), lambda: os.seteuid(user or 65534)
        os.seteuid(user)
        for path in pathlib.Path(folder).rglob("*"):
            path.chmod(0o700)


@pytest.mark.parametrize(
    "place",
    [".", "tiny", "tiny/1.0.0", "tiny/1.0.0/dataset_info.json", "tiny/1.0.0/tiny-train.array_record-00000-of-00001"],
)
def test_what_may_not_be_read_is_neither_absent_nor_damaged(unprivileged, monkeypatch, place):
    folder, drop_rights = unprivileged
    write_set(folder / "sets")
    (folder / "sets" / place).chmod(0)
    monkeypatch.setattr(download, "download_and_prepare", None)
    drop_rights()
    message = refusal(name="tiny", dir=str(folder / "sets"))
    assert re.fullmatch(rf"{folder}/sets/{place.strip('.')}\S* can't be read \(Permission denied\): allow .*", message)


def test_an_empty_split_is_refused(tmp_path):
    directory = write_set(tmp_path)
    info = json.loads((directory / "dataset_info.json").read_text())
    for split in info["splits"]:
        split["shardLengths"] = ["0"] * len(split["shardLengths"])
    (directory / "dataset_info.json").write_text(json.dumps(info))
    assert "is empty" in refusal(name="tiny", dir=str(tmp_path))


def test_a_label_that_no_class_has_is_named(tmp_path):
    directory = write_set(tmp_path, labels={name: np.where(values > 1, 3, values) for name, values in LABELS.items()})
    features = json.loads((directory / "features.json").read_text())
    features["featuresDict"]["features"]["label"]["classLabel"]["numClasses"] = "2"
    (directory / "features.json").write_text(json.dumps(features))
    (directory / "label.labels.txt").write_text("0\n1\n")
    first = int(np.argmax(LABELS["train"] > 1))
    message = refusal(name="tiny", dir=str(tmp_path))
    assert message.startswith(f"data.name='tiny', split 'train', example {first} has label 3, outside 0..1")
    source = open_dataset(section(name="tiny", dir=str(tmp_path))).train
    with pytest.raises(UserError, match=f"example {first} has label 3"):  # read by rows, as a stream does
        source.read(np.array([first]))


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_fewer_examples_than_described_are_refused(tmp_path, file_format):
    if file_format == "tfrecord":
        pytest.importorskip("tensorflow")
    directory = write_set(tmp_path, file_format=file_format)
    info = json.loads((directory / "dataset_info.json").read_text())
    for split in info["splits"]:
        split["shardLengths"] = [str(int(split["shardLengths"][0]) + 2)]
    (directory / "dataset_info.json").write_text(json.dumps(info))
    assert refusal(name="tiny", dir=str(tmp_path)).startswith(f"The data set in {directory} can't be read (")


WITHOUT = """
import sys
from rethink.configs import base
from rethink.data.registry import open_dataset

config = base.get_config().data
config.update(dict(cache_dir="", name=sys.argv[1], dir=sys.argv[2]))
data = open_dataset(config)
data.train.load(), data.test.load()
print(*(name in sys.modules for name in ("tensorflow", "tensorflow_datasets")))
"""


@pytest.mark.parametrize("name, imported", [("digits", "False False"), ("tiny", "False True")])
def test_tensorflow_is_not_imported_and_tfds_only_for_its_sets(tiny, name, imported):
    root = pathlib.Path(__file__).parents[2]
    arguments = [sys.executable, "-c", WITHOUT, name, str(tiny)]
    finished = subprocess.run(arguments, cwd=root, capture_output=True, text=True, check=True)
    assert finished.stdout == imported + "\n"


REAL = [  # name, split, shape, hash of the first 500 labels, of all
    ("cifar10", "train", (50_000, 32, 32, 3), "8f7b0f506b242582", "ebc640e6cb10d936"),
    ("cifar10", "test", (10_000, 32, 32, 3), "4ce5741747336f2c", "ca299da41f3c9ab6"),
    ("mnist", "train", (60_000, 28, 28, 1), "ff45ab05eba2f226", "b9842ea7fc4b4b5f"),
    ("mnist", "test", (10_000, 28, 28, 1), "2654478a6c567ce1", "62b5df2cdb1e2808"),
]


def label_hash(split):
    return hashlib.sha256(split.labels.astype("<i4").tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name, split, shape, first, every", REAL)
def test_real_sets_have_their_sizes_and_their_stored_order(real_data, name, split, shape, first, every):
    opened = open_dataset(section(name=name, dir=str(real_data)))
    source = getattr(opened, split)
    assert (len(source.ids), *source.image_shape) == shape
    assert opened.num_classes == 10
    start = source.read(np.arange(500))
    assert start.images.shape == (500, *shape[1:])
    assert label_hash(start) == first


@pytest.mark.slow
@pytest.mark.parametrize("name, split, shape, first, every", REAL)
def test_real_sets_are_read_as_a_whole(real_data, name, split, shape, first, every):
    source = getattr(open_dataset(section(name=name, dir=str(real_data))), split)
    whole = source.load()
    assert whole.images.shape == shape
    assert label_hash(whole) == every
    if name == "cifar10":
        assert np.bincount(whole.labels).tolist() == [shape[0] // 10] * 10
    rows = np.array([4000, 0, shape[0] - 1])
    for actual, wanted in zip(source.read(rows), whole, strict=True):
        np.testing.assert_array_equal(actual, wanted[rows])


def test_real_photographs_of_many_sizes_are_brought_to_one(real_data):
    fields = {"name": "imagenet2012", "dir": str(real_data), "test_split": "validation"}
    with pytest.raises(UserError, match="set --config.data.image_size to bring all images to one size"):
        open_dataset(section(**fields)).test.load()
    opened = open_dataset(section(**fields, image_size=64))
    assert opened.num_classes == 1000
    loaded = opened.test.load()
    assert loaded.images.shape == (100, *opened.test.image_shape) == (100, 64, 64, 3)
    assert len(np.unique(loaded.labels)) == 100


@pytest.fixture(scope="module")
def tfrecords(tmp_path_factory):
    """A directory with the set `tiny` as TensorFlow writes it by default."""
    pytest.importorskip("tensorflow")
    root = tmp_path_factory.mktemp("tfrecords")
    write_set(root, shards=3, file_format="tfrecord")
    return root


@pytest.mark.parametrize("size", [0, 4])
def test_tfrecord_directories_are_read_in_their_stored_order(tfrecords, tiny, size):
    opened, train, test = load(name="tiny", dir=str(tfrecords), image_size=size)
    _, same_train, same_test = load(name="tiny", dir=str(tiny), image_size=size)
    for actual, wanted in ((train, same_train), (test, same_test)):
        for part, same in zip(actual, wanted, strict=True):
            np.testing.assert_array_equal(part, same, strict=True)
    assert tuple(opened.train.image_shape) == train.images.shape[1:]


def test_tfrecords_of_undeclared_size_are_read(tmp_path):
    pytest.importorskip("tensorflow")
    images, labels = sizes((7, 9, 3), (7, 9, 3))
    write_set(tmp_path, images, labels, shape=(None, None, 3), file_format="tfrecord")
    opened, train, _ = load(name="tiny", dir=str(tmp_path))
    assert tuple(opened.train.image_shape) == (7, 9, 3)
    np.testing.assert_array_equal(train.images, np.stack(images["train"]))


def test_tfrecords_are_not_read_by_rows(tfrecords):
    source = open_dataset(section(name="tiny", dir=str(tfrecords))).train
    with pytest.raises(UserError, match="prepare the set as array_record"):
        source.read(np.array([0]))


def test_tfrecords_without_tensorflow_are_refused_with_a_remedy(tmp_path, monkeypatch):
    directory = write_set(tmp_path)
    info = json.loads((directory / "dataset_info.json").read_text())
    (directory / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    for path in directory.glob("*.array_record-*"):
        path.rename(directory / path.name.replace("array_record", "tfrecord"))
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    message = refusal(name="tiny", dir=str(tmp_path))
    assert "tfrecord files, which TensorFlow reads" in message
    assert "pip install -e '.[tf]'" in message
