"""An audit of labels as a user runs it: flips by (seed, id), a row for each example, the same bytes after a kill."""

import csv
import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from rethink.analyses import label_issues as analysis
from rethink.configs import label_issues
from rethink.data.corruption.noise import DataFacts
from rethink.data.corruption.spec import Corrupted, redraw_labels
from rethink.experiment.run import Launch, run_experiment
from rethink.schema import validation
from rethink.schema.errors import UserError

WRONG = 0.1


def make_split(examples=400, classes=7, ids=None):
    labels = np.arange(examples, dtype=np.int32) % classes
    ids = np.arange(examples, dtype=np.uint32) if ids is None else ids
    images = np.random.default_rng(0).integers(0, 256, (examples, 4, 4, 1)).astype(np.uint8)
    nothing = np.zeros(examples, bool)
    return Corrupted(images, np.ones((2, 1), np.float32), labels, labels, ids, nothing, nothing)


def flip(split, share=0.1, classes=7, seed=0, has_vectors=False):
    return analysis.flip_labels(split, classes, seed=seed, share=share, has_vectors=has_vectors)


def config(**fields):
    """An audit of 300 digits, of whose labels some are wrong."""
    made = label_issues.get_config("digits,mlp_tiny")
    made.data.train_examples, made.train.total_epochs = 300, 6.0
    made.corruption.labels, made.corruption.label_probability = "symmetric", WRONG
    made.label_issues.planted = 0.1
    made.update(fields)
    return made


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    assert run_experiment(config(), str(folder), Launch()) == 0
    return folder


def read(folder, name="label_issues.csv"):
    return list(csv.DictReader((folder / name).open(newline="")))


def test_what_is_flipped_is_recorded_and_never_the_same_in_two_rounds():
    split = make_split()
    first, second = flip(split)
    for one in (first, second):
        assert np.array_equal(one.labels != split.labels, one.kinds >= 0)
        assert set(one.kinds) == {-1, 0, 1, 2} and 20 <= (one.kinds >= 0).sum() <= 60
    assert not ((first.kinds >= 0) & (second.kinds >= 0)).any()
    of_pairs = first.kinds == 1
    assert np.array_equal(first.labels[of_pairs], (split.labels[of_pairs] + 1) % 7)


def test_a_flip_is_a_function_of_seed_and_id_and_smaller_shares_lie_in_larger_ones():
    split = make_split()
    rows = np.arange(400)[::-1]
    for whole, moved, small in zip(flip(split), flip(split.take(rows)), flip(split, share=0.04), strict=True):
        assert np.array_equal(whole.labels[rows], moved.labels)
        chosen = small.kinds >= 0
        assert np.array_equal(small.labels[chosen], whole.labels[chosen])
    assert not np.array_equal(flip(split)[0].labels, flip(split, seed=1)[0].labels)


@pytest.mark.slow
def test_vectors_have_no_flips_by_image_and_two_classes_are_flipped_to_the_other():
    split = make_split()._replace(images=np.zeros((400, 1, 1, 5), np.float32))
    assert set(flip(split, has_vectors=True)[0].kinds) == {-1, 0, 1}
    two = make_split(classes=2)
    (first, _) = flip(two, classes=2)
    assert np.array_equal(first.labels, np.where(first.kinds >= 0, 1 - two.labels, two.labels))


def test_flips_are_drawn_apart_from_the_label_noise_of_the_same_seed():
    """Else no flip of a wrong label would undo the error, by the same draws."""
    split = make_split(examples=2000, classes=3)
    noise = ConfigDict({"labels": "symmetric", "label_probability": 1.0, "instance_scale": 1.0, "label_column": ""})
    noise.update({"channels_together": True, "test_labels": False, "test_pixels": False})
    given = redraw_labels(split.labels, noise, DataFacts(3, 0, ids=split.ids), split.images)[0]
    first, _ = flip(split._replace(labels=given), share=0.5, classes=3)
    undone = (first.labels == split.true_labels)[first.kinds == 0]
    assert 0.4 < undone.mean() < 0.6


def test_the_rounds_of_a_resumed_audit_have_the_same_evaluations():
    assert not {"train.total_epochs", "evaluate.every_epochs"} & validation.resumable_fields(config())


def test_every_training_example_has_one_row_and_the_most_suspicious_are_wrong(audited):
    rows = read(audited)
    with np.load(audited / "round-0" / "corruption.npz", allow_pickle=False) as stored:
        ids, true = stored["ids"], stored["true_labels"]
    assert sorted(int(row["id"]) for row in rows) == ids.tolist()
    quality = [float(row["label_quality"]) for row in rows]
    assert quality == sorted(quality) and all(0 <= value <= 1 for value in quality)
    truth = dict(zip(ids.tolist(), true.tolist(), strict=True))
    is_wrong = np.array([truth[int(row["id"])] != int(row["given_label"]) for row in rows])
    assert is_wrong.sum() == json.loads((audited / "manifest.json").read_text())["summary"]["changed_labels"]
    assert is_wrong[: is_wrong.sum()].mean() > 0.5 > WRONG * 2
    flagged = [row for row in rows if row["is_label_issue"] == "True"]
    assert all(row["suggested_label"] != row["given_label"] for row in flagged)


def test_labels_that_were_flipped_are_judged_as_they_were(audited):
    """By the round in which they were not flipped."""
    with np.load(audited / "labels-0.npz", allow_pickle=False) as stored:
        flipped = stored["ids"][stored["kind"] != ""]
    given = {int(row["id"]): row["given_class"] for row in read(audited)}
    with np.load(audited / "labels-1.npz", allow_pickle=False) as stored:
        other = dict(zip(stored["ids"].tolist(), stored["label"].tolist(), strict=True))
    assert len(flipped) and all(given[number] == other[number] for number in flipped.tolist())


def test_the_summary_and_the_calibration_name_the_choice(audited):
    summary = json.loads((audited / "manifest.json").read_text())["summary"]
    wrong = summary["wrong_labels"]
    assert 0 <= wrong["low"] <= wrong["wrong"] <= wrong["high"] <= 300
    rows = read(audited, "calibration.csv")
    chosen = [
        row
        for row in rows
        if (row["score"], int(row["step"]), row["kind"]) == (*list(summary["choice"].values())[:2], "all")
    ]
    assert [float(row["auroc"]) for row in chosen] == pytest.approx([summary["choice"]["auroc"]])
    assert {row["kind"] for row in rows} == {"all", "symmetric", "pair_flip", "instance"}
    assert (audited / "figures" / "label_quality.png").exists() and (audited / "figures" / "label_issues.png").exists()


@pytest.mark.slow
def test_an_audit_that_was_killed_has_the_same_bytes(audited, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(analysis, "choose_score", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(config(), str(tmp_path), Launch())
    assert run_experiment(config(), str(tmp_path), Launch()) == 0
    for name in ("label_issues.csv", "calibration.csv", "label_issues.npz", "figures/label_issues.png"):
        assert (tmp_path / name).read_bytes() == (audited / name).read_bytes()


@pytest.mark.parametrize(
    "field, value, line",
    [("data.validation_fraction", 0.1, "leave it at 0.0"), ("label_issues.planted", 0.001, "too few to calibrate")],
)
def test_a_mistake_is_one_line(tmp_path, field, value, line):
    made = config()
    section, name = field.split(".")
    made[section][name] = value
    with pytest.raises(UserError, match=line) as error:
        run_experiment(made, str(tmp_path), Launch())
    assert "\n" not in str(error.value)
