"""One data set in several forms: the same examples and the same run, whatever file they come from."""

import numpy as np
import pytest
from data_sets import write_set

from benchmarks import sources
from rethink.configs import digits_random
from rethink.data.registry import open_dataset
from rethink.experiment.input_pipeline import InputPipeline
from rethink.figures import learning_curve

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The config of a run on a tiny TFDS set, and the names of its other forms."""
    root = tmp_path_factory.mktemp("sources")
    write_set(root / "tfds")
    config = digits_random.get_config("mlp_tiny")
    config.data.update({"name": "tiny", "dir": str(root / "tfds"), "cache_dir": str(root / "cache")})
    config.train.update({"total_epochs": 1.0, "batch_size": 8})
    config.log.tensorboard = False
    return config, sources.convert(config, root)


def test_every_form_holds_the_same_examples(tiny):
    config, names = tiny
    opened = {}
    for source, name in names.items():
        config.data.name = name
        opened[source] = open_dataset(config.data)
    for source, data in opened.items():
        for split in ("train", "test"):
            for actual, wanted in zip(data.splits[split].load(), opened["tfds"].splits[split].load(), strict=True):
                np.testing.assert_array_equal(actual, wanted, strict=True)
        if source != "folder":  # whose metadata have numbers
            assert data.class_names == opened["tfds"].class_names
    assert set(opened) == {"tfds", "folder", "npz", "parquet"}


def test_every_form_has_the_same_fingerprints(tiny):
    config, names = tiny
    found = {}
    for source, name in names.items():
        config.data.name = name
        pipeline = InputPipeline(config, open_dataset(config.data))
        pipeline.corrupt_splits()
        found[source] = pipeline.fingerprint_splits()
    of_data = {"images", "labels", "true_labels"}
    assert set(found["tfds"]) == of_data | {f"test_{name}" for name in of_data}
    assert all(found[source] == found["tfds"] for source in names)


@pytest.mark.slow
def test_every_form_gives_the_same_run(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(learning_curve, "draw_learning_curve", lambda *_, **__: None)  # most of the time of such a run
    config, names = tiny
    lines = sources.compare_sources(names, config, tmp_path)
    assert list(lines) == ["folder", "npz", "parquet"]
    for line in lines.values():
        assert line.startswith("Same data, and all ") and line.endswith("equal to those in the run of tfds.")


@pytest.mark.slow
def test_cifar10_in_every_form_gives_the_same_run(real_data, tmp_path):
    config = sources.make_config("cifar10", str(real_data))
    config.data.cache_dir = str(tmp_path / "cache")
    lines = sources.compare_sources(sources.convert(config, tmp_path), config, tmp_path / "runs")
    assert all(line.startswith("Same data, and all ") for line in lines.values()), lines
