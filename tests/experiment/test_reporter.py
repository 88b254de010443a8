"""The header of a run: what is said of the model and its data; and the lists of its files."""

import csv

import numpy as np

from rethink.configs import base
from rethink.data.dataset import BadFile, Dataset, MemorySplit, Split
from rethink.experiment import reporter
from rethink.results import records


def test_the_header_shows_the_fields_of_the_model_and_its_own_dropout():
    config = base.get_config()
    assert reporter._describe_model(config.model) == "mlp_1x512"
    config.model.name, config.model.kwargs.width = "my_net:MyNet", 256
    assert reporter._describe_model(config.model) == "my_net:MyNet(width=256)"
    assert reporter._describe_regularizers(config, []) == ""
    assert reporter._describe_regularizers(config, ["dropout", "noise"]) == "the model's own dropout"


def test_paths_and_bad_files_are_listed_where_there_are_any(tmp_path):
    images, ids = np.zeros((2, 3, 4, 2), np.float32), np.array([4, 9], np.uint32)
    split = Split(images, np.zeros(2, np.int32), ids)
    plain = {"train": MemorySplit(split), "test": MemorySplit(split)}
    dataset = Dataset("made up", "none", ("cat", "dog"), 2, plain)
    config = base.get_config()
    with records.open_run(str(tmp_path / "run"), config) as record:
        reporter.save_file_lists(record, dataset)
        assert not list(record.folder.glob("*.csv"))
        names = ("a,\n1.png", "\udcff.png")
        bad = (BadFile("test", 3, "b\udcfe.png", 'cut, "short"'),)
        listed = dataset._replace(splits={**plain, "train": MemorySplit(split, names)}, bad_files=bad)
        reporter.save_file_lists(record, listed)
        for file, rows in {
            "paths.csv": [("split", "id", "path"), ("train", "4", names[0]), ("train", "9", names[1])],
            "bad_files.csv": [BadFile._fields, ("test", "3", *bad[0][2:])],
        }.items():
            with open(record.folder / file, errors="surrogateescape", newline="") as content:
                assert list(map(tuple, csv.reader(content))) == rows
    assert reporter.describe_data(dataset) == "made up: 2 train, 2 test, 3x4x2 float32, 2 classes"
    assert reporter.describe_data(listed).endswith("2 classes; bad files left out: 1 (bad_files.csv)")
    assert "2 features" in reporter.describe_data(dataset._replace(has_vectors=True))


def test_the_header_shows_mixup_among_the_regularizers():
    config = base.get_config()
    config.augmentation.mixup = 0.2
    assert reporter._describe_regularizers(config) == "augmentation: mixup 0.2"
