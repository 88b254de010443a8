"""The table of metrics: a row is all that a metric takes, wherever it is summed, recorded and shown."""

import json

import numpy as np
import pytest

from rethink.configs import digits_random
from rethink.experiment.run import Launch, run_experiment
from rethink.figures import learning_curve
from rethink.schema.errors import UserError
from rethink.training import loop, metrics
from rethink.training.metrics import Examples, Metric

SPLITS = ("train", "test", "validation")


def confident(examples):
    """Returns whether the largest logit is above log 2, whatever the label."""
    return examples.logits.max(-1) > np.log(2)


ROW = Metric("confident", (confident,), "all", {"train": "confident on train", "test": "confident on test"})


def make_examples():
    """Returns four examples of two classes: clean and right, clean and wrong, corrupted and right by either label."""
    logits = np.log(np.float32([[4, 1], [4, 1], [1, 4], [1, 4]]))
    return Examples(logits, labels=np.array([0, 1, 1, 0]), true_labels=np.array([0, 1, 0, 1]))


def test_every_metric_is_the_mean_of_its_value_over_its_examples():
    sums = metrics.sum_weighted(make_examples(), np.ones(4, np.float32))
    assert metrics.mean_metrics("train", sums) == {
        "train_loss": pytest.approx((-2 * np.log(0.8) - 2 * np.log(0.2)) / 4, rel=1e-6),
        "train_accuracy": 0.5,
        "train_top5_accuracy": 1.0,
        "train_accuracy_clean": 0.5,
        "train_accuracy_corrupted_given": 0.5,
        "train_accuracy_corrupted_true": 0.5,
    }
    assert metrics.mean_metrics("test", sums)["test_accuracy_true"] == 0.5
    assert metrics.mean_metrics("validation", sums)["validation_accuracy_true"] == 0.5


def test_a_window_sums_no_more_than_its_metrics_read():
    sums = metrics.sum_batch(make_examples())
    assert list(sums) == ["loss", "correct", "count"] == list(metrics.empty_window())
    assert list(metrics.mean_metrics(metrics.WINDOW, sums)) == ["loss", "accuracy"]
    assert all(value.dtype == np.float32 for value in sums.values())


def test_no_two_sums_and_no_two_fields_of_a_row_have_one_name():
    functions = {function for metric in metrics.METRICS for function in metric.numerator}
    assert len({function.__name__ for function in functions} | {"count", "corrupted_count"}) == len(functions) + 2
    for split in (metrics.WINDOW, *SPLITS):
        names = [metric.name for metric in metrics.METRICS if split in metric.labels]
        assert len(set(names)) == len(names)
    assert all(metric.over in metrics.OVER for metric in metrics.METRICS)


def test_a_metric_is_added_by_one_row(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(learning_curve, "draw_learning_curve", lambda *_, **__: None)
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, ROW))
    config = digits_random.get_config("mlp_tiny")
    config.train.total_epochs = 1.0
    assert run_experiment(config, str(tmp_path), Launch()) == 0
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    evaluations = [row for row in rows if row["kind"] == "evaluation"]
    assert all(0 <= row[f"{split}_confident"] <= 1 for row in evaluations for split in ("train", "test"))
    assert not any("confident" in name for row in rows if row["kind"] == "train" for name in row)
    shown = capsys.readouterr().out
    for split in ("train", "test"):
        (line,) = [line for line in shown.splitlines() if line.startswith(f"confident on {split}")]
        assert line.split()[-1] == f"{100 * evaluations[-1][f'{split}_confident']:.2f}%"


def test_a_metric_of_the_window_is_in_the_rows_of_training(tmp_path, monkeypatch):
    monkeypatch.setattr(learning_curve, "draw_learning_curve", lambda *_, **__: None)
    row = ROW._replace(labels={metrics.WINDOW: ""})
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, row))
    config = digits_random.get_config("mlp_tiny")
    config.train.total_epochs = 1.0
    assert run_experiment(config, str(tmp_path), Launch()) == 0
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(("confident" in row) == (row["kind"] == "train") for row in rows)


def test_a_run_is_not_resumed_with_another_metric_of_the_window(tmp_path, monkeypatch):
    monkeypatch.setattr(learning_curve, "draw_learning_curve", lambda *_, **__: [])
    config = digits_random.get_config("mlp_tiny")
    config.train.total_epochs = 1.0
    assert run_experiment(config, str(tmp_path), Launch()) == 0
    config.train.total_epochs = 2.0
    added = Metric("confident", (confident,), "all", {metrics.WINDOW: "confident"})
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, added))
    with pytest.raises(UserError, match="other training metrics .confident.: choose another --workdir"):
        run_experiment(config, str(tmp_path), Launch())


def test_an_evaluation_row_keeps_its_order():
    sums = {name: 4.0 for name in ("loss", "correct", "top5_correct", "count", "clean_correct")}
    sums |= {"corrupted_given": 1.0, "corrupted_true": 1.0, "corrupted_count": 2.0}
    plan = loop.Plan(10, 10, 1, 10, 10, 5, SPLITS, 0.0, has_gap=True, early_stopping=None)
    row = loop.make_evaluation_row(plan, 10, dict.fromkeys(SPLITS, sums))
    names = [name for name in row if not name.startswith("validation")]
    assert names == [
        *("kind", "step", "epoch", "train_loss", "train_accuracy", "train_top5_accuracy", "train_accuracy_clean"),
        *("train_accuracy_corrupted_given", "train_accuracy_corrupted_true", "test_loss", "test_accuracy"),
        *("test_top5_accuracy", "test_accuracy_true", "generalization_gap"),
    ]
    assert list(row)[-3:] == ["validation_loss", "validation_accuracy", "validation_accuracy_true"]


def test_the_error_is_the_distance_of_the_probabilities_from_the_label():
    np.testing.assert_allclose(make_examples().errors, np.sqrt(2) * np.array([0.2, 0.8, 0.2, 0.8]), rtol=1e-6)
