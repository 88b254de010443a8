"""rethink.find_label_issues: one name for an audit that trains and one that does not."""

import flax.linen as nn
import numpy as np
import pytest

import rethink

NAMES = ("NA", "null", "c", "d")
FIELDS = {"train.total_epochs": 2, "train.batch_size": 20, "label_issues.planted": 0.1}


class Net(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(self.num_classes)(nn.relu(nn.Dense(8)(images)))


@pytest.fixture(scope="module")
def arrays():
    """Vectors of four classes that lie apart, whose names a CSV reader may take for nothing; three are wrong."""
    draws = np.random.default_rng(0)
    classes = np.arange(120) % 4
    vectors = np.eye(4, 6)[classes] * 3 + draws.normal(size=(120, 6))
    return vectors, np.array(NAMES)[np.where(np.arange(120) < 3, 3, classes)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("audit") / "run"


@pytest.fixture(scope="module")
def audit(arrays, folder):
    return find(arrays, folder)


def find(arrays, folder, model=Net):
    config = rethink.config("label_issues", **FIELDS)
    return rethink.find_label_issues(arrays, model=model, config=config, workdir=folder, quiet=True)


@pytest.mark.slow
def test_every_label_that_is_given_is_judged_and_called_as_it_was_given(audit, arrays):
    assert sorted(audit.table["id"]) == list(range(120))  # no part of them is a test set
    assert np.array_equal(audit.table["given_label"], arrays[1][audit.table["id"]])
    assert audit.table["label_quality"].is_monotonic_increasing and audit.table["label_quality"].between(0, 1).all()
    assert audit.estimate["low"] <= audit.estimate["wrong"] <= audit.estimate["high"] and len(audit.calibration)
    assert "of 120 labels are flagged" in repr(audit) and "<table" in audit._repr_html_()


@pytest.mark.slow
def test_the_same_call_again_trains_nothing_and_other_data_or_networks_are_refused(
    audit, arrays, folder, capsys, monkeypatch
):
    before = (folder / "manifest.json").read_bytes()
    again = find(arrays, folder)
    assert again.table.equals(audit.table) and (folder / "manifest.json").read_bytes() == before
    with pytest.raises(rethink.UserError, match="has changed, so the data are not those"):
        find((arrays[0][::-1], arrays[1]), folder)
    with pytest.raises(rethink.UserError, match=r"belongs to another run \(model\.name"):
        find(arrays, folder, type("Other", (Net,), {}))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "given, message",
    [
        ({}, "give train="),
        ({"train": ([[1.0]], [0]), "labels": [0], "pred_probs": [[1.0]]}, "train= would do nothing"),
        ({"labels": [0]}, "labels= and pred_probs= go together"),
        ({"config": "digits_true"}, "no single audit of labels"),
    ],
)
def test_a_mistake_is_one_line(given, message):
    with pytest.raises(rethink.UserError, match=message) as error:
        rethink.find_label_issues(**given)
    assert "\n" not in str(error.value) and "--" not in str(error.value)
