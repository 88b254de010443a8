"""Figures of a folder of runs: what is drawn and tabled is what the records say, a run that did not fit is a bound."""

import json

import matplotlib.figure
import pytest

from rethink.configs.paper import figure1a
from rethink.figures import label_corruption, loss_curves, metric_vs_field, registry
from rethink.paper.numbers import STEPS_TO_LOSS
from rethink.results import runs as results_runs
from rethink.schema import grid, validation
from rethink.schema.errors import UserError

FIT, STRICT = label_corruption.FIT, label_corruption.STRICT

RANDOM = next(member for member in grid.expand_grid(figure1a.get_config()) if member.name == "random")
PLAIN = json.loads(validation.to_json(RANDOM.config))  # of Inception
MLP = {"model.name": "mlp_3x512", "optimizer.learning_rate": 0.01, "batch_norm.kind": "none"}


@pytest.fixture
def write(tmp_path):
    """write(name, seed, ...) -> the directory of a made-up run in a folder."""

    def write(
        name, seed=0, *, test=0.5, train=1.0, status="done", reached=(100, 200), losses=(), subset=False, **config
    ):
        folder = tmp_path / f"{name}-seed{seed}"
        folder.mkdir()
        evaluation = {"kind": "evaluation", "step": 1000, "train_accuracy": train, "test_accuracy": test}
        manifest = {
            "config": {**PLAIN, "seed": seed, "corruption.labels": "uniform", **config},
            "status": status,
            "data": {"train_examples": 500 if subset else 50_000, "test_examples": 10_000},
        }
        if status in ("done", "diverged"):
            steps = dict(zip((FIT, STRICT), reached, strict=False))
            manifest["summary"] = {
                "evaluation": evaluation,
                "steps": 1000,
                "steps_to_train_accuracy": steps,
                "num_classes": 10,
            }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        rows = [{"kind": "train", "step": 10 * n, "loss": loss} for n, loss in enumerate(losses, start=1)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, evaluation]))
        return folder

    return write


@pytest.fixture
def axes_drawn(monkeypatch):
    """The panels of the last figure that was drawn."""
    drawn = []
    plain = matplotlib.figure.Figure.savefig

    def savefig(figure, *words, **named):
        drawn[:] = figure.axes
        return plain(figure, *words, **named)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", savefig)
    return drawn


def draw_figure(name, folder, **options):
    """Draws a figure of the runs in a folder, into it."""
    return registry.draw_figure(name, results_runs.load_runs(folder), folder, title="figure", **options)


def write_corruption(write):
    for seed in (0, 1):
        for p, steps, test in ((0.0, 100, 0.6), (0.5, 250 + 100 * seed, 0.4), (1.0, None, 0.1)):
            name = f"mlp-label_probability={p}"
            write(name, seed, test=test, reached=(steps, None), **{label_corruption.FIELD: p})


def test_steps_to_fit_are_relative_to_no_corruption_and_a_miss_is_a_lower_bound(write, tmp_path, axes_drawn):
    write_corruption(write)
    picture = draw_figure("label_corruption", tmp_path)
    relative = [(row["p"], row["n"], row["steps to 95%"], row["relative"], row["test error %"]) for row in picture.rows]
    assert relative == [
        ("0", 2, "100", "1.00", "40.00"),
        ("0.5", 2, "300", "3.00", "60.00"),
        ("1", 2, ">= 1000", ">= 10.00", "90.00"),
    ]
    assert {row["relative, strict"] for row in picture.rows} == {""}  # 99% is not reached at p = 0 either
    assert {row["steps to 99%"] for row in picture.rows} == {">= 1000"}
    upper, strict, lower = axes_drawn
    (triangle,) = [line for line in upper.lines if line.get_marker() == 6]
    assert list(triangle.get_xdata()) == [1.0] and list(triangle.get_ydata()) == [10.0]
    assert "triangles" in upper.get_title(loc="right") and upper.get_ylim() == pytest.approx((0, 10.5))
    assert (upper.get_ylabel(), strict.get_ylabel()) == ("steps to 95% / at p = 0", "steps to 99%")
    assert list(lower.lines[0].get_ydata()) == pytest.approx([40, 60, 90])
    assert (tmp_path / "figures" / "label_corruption.csv").read_text().count("\n") == 4
    assert all(path.stat().st_size > 1000 for path in picture.paths)


def test_curves_that_are_level_stand_below_the_top_and_no_bound_is_told_of_where_there_is_none(
    write, tmp_path, axes_drawn
):
    for p in (0.0, 1.0):
        write(f"mlp-label_probability={p}", reached=(100, 100), **{label_corruption.FIELD: p})
    draw_figure("label_corruption", tmp_path)
    for axes in axes_drawn[:2]:
        assert axes.get_ylim() == pytest.approx((0, 1.05)) and axes.get_title(loc="right") == ""


def test_a_run_that_diverged_is_a_bound_without_a_test_error_and_told(write, tmp_path):
    write("mlp-label_probability=0.0", **{label_corruption.FIELD: 0.0})
    for seed, status in enumerate(("done", "diverged")):
        reached = (300, 400) if status == "done" else (None, None)
        write(
            "mlp-label_probability=0.8", seed, status=status, reached=reached, test=0.2, **{label_corruption.FIELD: 0.8}
        )
    write("mlp-label_probability=1.0", status="diverged", reached=(None, None), **{label_corruption.FIELD: 1.0})
    _, some, all_ = draw_figure("label_corruption", tmp_path).rows
    assert (some["n"], some["steps to 95%"], some["test error %"]) == (2, ">= 650", "80.00")
    assert (all_["n"], all_["steps to 95%"], all_["test error %"]) == (1, ">= 1000", "")
    assert (some["notes"].split("; ")[0], all_["notes"]) == ("1 of 2 diverged", "1 of 1 diverged")


@pytest.mark.parametrize("figure", ["label_corruption", "loss_curves"])
def test_a_run_that_is_trained_otherwise_than_those_of_the_figure_is_named(write, tmp_path, figure):
    write("a", losses=(2.0,), **{label_corruption.FIELD: 1.0})
    write("b", losses=(2.0,), **{label_corruption.FIELD: 1.0, "weight_decay.kind": "l2", "optimizer.name": "adam"})
    plain, other = draw_figure(figure, tmp_path).rows
    assert plain["notes"] == "" and other["notes"] == "weight_decay.kind: l2; optimizer.name: adam"


def test_a_series_is_what_is_left_of_the_name(write, tmp_path):
    for model in ("mlp", "alexnet"):
        for p in (0.0, 1.0):
            name = f"{model}-label_probability={p}-batch_size=32"
            write(name, **{label_corruption.FIELD: p, "train.batch_size": 32})
    runs = results_runs.load_runs(tmp_path)
    assert set(metric_vs_field.read_points(runs, label_corruption.FIELD)["series"]) == {
        "mlp-batch_size=32",
        "alexnet-batch_size=32",
    }


def test_a_series_of_small_numbers_is_one(write, tmp_path):
    for rate in (1e-05, 0.001):
        write(f"mlp-learning_rate={rate}", **{"optimizer.learning_rate": rate})
    found = metric_vs_field.read_points(results_runs.load_runs(tmp_path), "optimizer.learning_rate")
    assert list(zip(found["series"], found["x"], strict=True)) == [("mlp", 1e-05), ("mlp", 0.001)]


def test_true_labels_are_no_resampled_ones(write, tmp_path):
    write("true", **{"corruption.labels": "none", label_corruption.FIELD: 1.0})
    write("random", **{"corruption.labels": "uniform", label_corruption.FIELD: 1.0})
    found = label_corruption.read_points(results_runs.load_runs(tmp_path))
    assert dict(zip(found["series"], found["x"], strict=True)) == {"true": 0.0, "random": 1.0}


def test_words_are_not_drawn_against(write, tmp_path):
    write("mlp", **{"model.name": "mlp"})
    with pytest.raises(UserError, match="^FIELD='model.name' is no number"):
        draw_figure("metric_vs_field", tmp_path, field="model.name")


@pytest.mark.parametrize("figure", ["best_so_far", "loss_curves"])
def test_damaged_metrics_are_named(write, tmp_path, figure):
    (write("mlp") / "metrics.jsonl").write_text("[]\n")
    with pytest.raises(UserError, match="metrics.jsonl is damaged"):
        draw_figure(figure, tmp_path)


def test_errors_against_a_field_have_mean_and_spread(write, tmp_path, axes_drawn):
    for filters, tests in ((30, (0.4, 0.5)), (1000, (0.7,))):
        for seed, test in enumerate(tests):
            write(f"filters={filters}", seed, test=test, subset=True, **{"kernel.filters": filters})
    write("filters=100", status="failed", **{"kernel.filters": 100})
    write("filters=300", status="diverged", **{"kernel.filters": 300})
    picture = draw_figure("metric_vs_field", tmp_path, field="kernel.filters")
    assert picture.columns[:3] == ("series", "kernel.filters", "n")
    shown = [(*(row[column] for column in picture.columns[:3]), row["test error %"]) for row in picture.rows]
    assert shown == [("", "30", 2, "55.00"), ("", "300", 0, ""), ("", "1000", 1, "30.00")]
    assert [row["deviation"] for row in picture.rows] == ["7.07", "", ""]
    subset, lost, _ = [row["notes"] for row in picture.rows]
    assert subset == "subset: 500 of 50,000 examples" and lost == "1 of 1 diverged"
    assert axes_drawn[0].get_xscale() == "log" and list(axes_drawn[0].lines[0].get_xdata()) == [30, 1000]


def test_clipped_images_are_no_condition_of_the_papers(write, tmp_path, axes_drawn):
    write("gaussian", losses=(2.2, 0.05), **{"corruption.pixels": "gaussian_clipped"})
    [row] = draw_figure("loss_curves", tmp_path).rows
    assert "pixels: gaussian_clipped" in row["notes"]


def test_loss_curves_say_when_each_condition_converges_beside_the_replication(write, tmp_path, axes_drawn):
    write("true", losses=(2.3, 1.5, 0.3, 0.05))
    write("random", losses=(2.3, 2.3, 2.3, 2.0, 1.0, 0.3, 0.1))
    write(
        "gaussian", losses=(2.2, 2.2, 2.05), **{**MLP, "train.batch_size": 32, "corruption.pixels": "gaussian"}
    )  # 0.9 of guessing, which is log(10), is 2.07
    write("squared", losses=(0.5, 0.4, 0.05), **{"train.loss": "squared"})
    found = {row["condition"]: row for row in draw_figure("loss_curves", tmp_path).rows}
    assert found["squared"]["steps to start"] == "" and "loss: squared" in found["squared"]["notes"]  # 0.9 log(10)
    assert [found["random"][column] for column in loss_curves.COLUMNS[1:5]] == [1, "40", "70", "1.75"]
    assert found["gaussian"]["steps to start"] == "30"
    assert found["gaussian"]["notes"] == "network: mlp_3x512; batch: 32"  # the replication's is Inception
    assert found["gaussian"]["steps to loss 0.1"] == found["gaussian"]["relative to true"] == ""
    assert found["random"]["replication's"] == f"{STEPS_TO_LOSS['random'].value:.0f}" == "16600"
    assert (found["random"]["certainty"], found["random"]["replication's %"]) == ("C", "10.31")
    assert (found["true"]["test accuracy %"], found["true"]["replication's %"]) == ("50.00", "86.71")
    assert found["gaussian"]["replication's %"] == ""
    assert found["random"]["relative"] == "4.15" and found["true"]["relative"] == "1.00"
    assert [list(line.get_ydata()) for line in axes_drawn[0].lines][0] == [2.2, 2.2, 2.05]


def test_the_best_so_far_has_its_numbers_as_a_table(write, tmp_path):
    write("a", test=0.5)
    (row,) = draw_figure("best_so_far", tmp_path).rows
    assert row == {
        "run": "a-seed0",
        "last test %": "50.00",
        "oracle's best %": "50.00",
        "at step": 1000,
        "gain": "0.00",
        "noise": "",
    }


def test_mistakes_are_named(write, tmp_path, run_module):
    with pytest.raises(UserError, match="FIGURE='loss'.*loss_curves"):
        registry.draw_figure("loss", {}, tmp_path, title="x")
    write("a")
    with pytest.raises(UserError, match="FIELD='filters' is unknown"):
        draw_figure("metric_vs_field", tmp_path, field="filters")
    ended = run_module("rethink.figures", "metric_vs_field", tmp_path / "none")
    assert ended.returncode == 2 and ended.stderr.startswith("Error: ") and ended.stderr.count("\n") == 1
    ended = run_module("rethink.figures", "loss", tmp_path / "none")  # a wrong figure is reported before a wrong folder
    assert ended.returncode == 2 and ended.stderr.startswith("Error: FIGURE='loss'") and ended.stderr.count("\n") == 1
