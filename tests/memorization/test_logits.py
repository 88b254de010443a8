"""The scores of logits from any framework."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import rethink
from rethink.memorization.dynamics import SCORES
from rethink.memorization.logits import make_history
from rethink.schema.errors import UserError
from rethink.training.metrics import Examples


def make_logits(epochs=4, examples=6, classes=3):
    numbers = np.random.default_rng(0)
    return 3 * numbers.normal(size=(epochs, examples, classes)), numbers.integers(classes, size=examples)


def test_a_history_is_what_evaluations_of_a_run_record():
    logits, labels = make_logits()
    history = make_history(logits, labels)
    given = jnp.int32(np.tile(labels, 4))
    examples = Examples(jnp.float32(logits.reshape(24, 3)), given, given)
    for values, wanted in (("loss", "cross_entropies"), ("margin", "margins"), ("error", "errors")):
        found = getattr(history, values).reshape(24)
        np.testing.assert_allclose(found, getattr(examples, wanted), rtol=1e-5, atol=1e-6)
    assert np.array_equal(history.predicted.reshape(24), examples.predicted)


def test_the_table_of_scores():
    logits, labels = make_logits()
    table = rethink.score_history(logits, labels)
    assert list(table) == ["id", "given_label", *SCORES] and table["id"].tolist() == list(range(6))
    assert table.equals(rethink.score_history(list(logits), labels.tolist()))
    # Each epoch counts, the first one too; log probabilities are logits as well.
    first = rethink.score_history(logits[:1], labels)
    assert np.array_equal(first["aum"], first["last_margin"])
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(rethink.score_history(log_probabilities, labels), table, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda z, y: (z[0], y), r"must be \[epochs, n, classes\], and are \[6, 3\]"),
        (lambda z, y: ([], y), r"must be \[epochs, n, classes\]"),
        (lambda z, y: (z[:, :5], y), r"logits= of epoch 1 must be \[6, classes\], .* \[5, 3\]"),
        (lambda z, y: ([*z, z[0][:, :2]], np.zeros(6, int)), r"3 classes at first"),
        (lambda z, y: (np.where(z == z[2, 4, 1], np.nan, z), y), r"epoch 3, example 4, are NaN"),
        (lambda z, y: (z.astype(str), y), r"epoch 1 must be .* <U"),
        (lambda z, y: (z, y + 1), r"labels= go from \d to 3, and logits= have 3 classes"),
        (lambda z, y: (z, y / 2), r"labels= must be whole numbers \[n\], and are float64"),
        (lambda z, y: (z, np.eye(3)[y]), r"labels= must be whole numbers"),
        (lambda z, y: (z, ["cat"] * 6), r"np.unique"),
        (lambda z, y: (z, []), r"labels= must be"),
        (lambda z, y: (z, y + 2**40), r"labels= go from"),
        (lambda z, y: ([[[1, 2], [3]]], y), r"epoch 1 must be one array"),
    ],
)
def test_what_is_no_history_is_one_line(change, message):
    with pytest.raises(UserError, match=message) as caught:
        rethink.score_history(*change(*make_logits()))
    assert "\n" not in str(caught.value)


def test_logits_are_scored_without_jax():
    program = (
        "import sys, numpy, rethink; rethink.score_history(numpy.eye(3)[None], [0, 1, 2]); print('jax' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"
