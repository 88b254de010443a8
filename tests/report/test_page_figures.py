"""Figures of the page: what is drawn is what the static figures' numbers say, and a lower bound is marked as one."""

import json

import pytest

from rethink.figures import best_so_far, label_corruption, registry
from rethink.report.page import plots, run_data, run_index
from rethink.results import records, runs


@pytest.fixture
def drawn(tmp_path):
    """drawn(folder) -> name -> figure, of the only group in a folder."""

    def drawn(folder):
        (group,) = run_index.read_run_groups([tmp_path / folder])
        return {plot.name: plot for plot in plots.draw_plots(group)}

    return drawn


def traces(plot, **wanted):
    return [trace for trace in plot.figure["data"] if all(trace.get(name) == wanted[name] for name in wanted)]


def write_levels(write_run):
    for p, fitted, test in ((0.0, True, 0.6), (0.5, True, 0.4), (1.0, False, 0.1)):
        fields = {label_corruption.FIELD: p, "corruption.labels": "uniform"}
        write_run("figure1bc", f"mlp-label_probability={p}", fitted=fitted, test=test, **fields)


def test_what_was_not_reached_is_a_hollow_triangle_and_says_so(write_run, drawn):
    write_levels(write_run)
    plot = drawn("figure1bc")["label_corruption"]
    bounds = [trace for trace in plot.figure["data"] if trace["marker"]["symbol"] == "triangle-up-open"]
    assert [(list(trace["x"]), list(trace["y"])) for trace in bounds] == [([1.0], [5.0])] * 2  # 95% and 99%
    assert all("at least" in trace["hovertemplate"] for trace in bounds)
    lines = [trace for trace in plot.figure["data"] if trace["mode"] == "lines+markers"]
    assert list(lines[0]["y"]) == [1.0, 1.0, None] and list(lines[2]["y"]) == pytest.approx([40, 60, 90])
    assert "lower bounds" in plot.caption and plot.rows[-1]["relative"] == ">= 5.00"


def test_without_a_fit_at_zero_the_steps_themselves_are_drawn(write_run, drawn):
    for p in (0.0, 1.0):
        write_run("figure1bc", f"mlp-label_probability={p}", fitted=False, **{label_corruption.FIELD: p})
    plot = drawn("figure1bc")["label_corruption"]
    assert plot.figure["layout"]["yaxis"]["title"]["text"] == "steps to 95%"


def test_errors_are_drawn_against_the_one_number_that_differs(write_run, drawn):
    for coefficient, test in ((1e-4, 0.5), (4e-3, 0.4)):
        write_run("table4_alexnet", f"alexnet-wd-{coefficient}", test=test, **{"weight_decay.coefficient": coefficient})
    plot = drawn("table4_alexnet")["metric_vs_field"]
    test, train = plot.figure["data"]
    assert list(test["x"]) == [1e-4, 4e-3] and list(test["y"]) == pytest.approx([50, 60])
    assert list(train["y"]) == [0, 0] and plot.figure["layout"]["xaxis"]["type"] == "log"


@pytest.mark.parametrize("field", ["train.batch_size", "optimizer.learning_rate", label_corruption.FIELD])
def test_the_page_draws_against_the_field_of_the_static_figure(write_run, drawn, tmp_path, field):
    for size, rate, p in ((32, 0.01, 0.0), (64, 0.1, 1.0)):
        values = {"train.batch_size": size, "optimizer.learning_rate": rate, label_corruption.FIELD: p}
        write_run("sweep", f"batch_size={size}-learning_rate={rate}-label_probability={p}", **values)
    sweep = tmp_path / "sweep"
    registry.draw_figure("metric_vs_field", runs.load_runs(sweep), sweep, title="sweep", field=field)
    plot = drawn("sweep")["metric_vs_field"]
    assert plot.title == f"Errors against {field}" and plot.columns[1] == field


def test_a_field_whose_name_ends_like_another_is_not_taken_for_it(write_run, drawn):
    for rate, dropout in ((0.01, 0.0), (0.1, 0.5)):
        write_run("sweep", f"learning_rate={rate}", **{"optimizer.learning_rate": rate, "dropout.rate": dropout})
    assert drawn("sweep")["metric_vs_field"].title == "Errors against optimizer.learning_rate"


def test_loss_curves_have_one_colour_a_condition(write_run, drawn):
    for condition in ("true", "random"):
        for seed in (0, 1):
            write_run("figure1a", condition, seed)
    (plot,) = drawn("figure1a").values()
    assert plot.name == "loss_curves" and len(plot.figure["data"]) == 4
    assert len({trace["line"]["color"] for trace in plot.figure["data"]}) == 2
    assert [trace["showlegend"] for trace in traces(plot, name="true")] == [True, False]


def test_the_best_so_far_never_falls_and_keeps_its_highest_point(write_run, drawn):
    folder = write_run("figure2a", "mlp", points=1000)
    rows = records.read_rows(folder / "metrics.jsonl")
    for row in rows:
        if row["kind"] == "evaluation":
            row["test_accuracy"] = 0.9 if row["step"] == 51_300 else 0.3
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plot = drawn("figure2a")["best_so_far"]
    test, _, best = plot.figure["data"]
    assert max(test["y"]) == 90.0 and test["x"][list(test["y"]).index(90.0)] == 51_300
    assert list(best["y"]) == sorted(best["y"]) and best["y"][-1] == 90.0
    assert plot.rows == best_so_far.best_so_far_rows([(folder.name, rows)])


def test_of_many_runs_some_are_drawn_and_the_others_counted(write_run, drawn):
    for number in range(30):
        write_run("figure2a", f"mlp-{number:02}")
    plot = drawn("figure2a")["best_so_far"]
    assert len(plot.figure["data"]) == 3 * 24 and "6 further runs" in plot.caption
    assert len(traces(plot, visible=True)) == 3 * plots.SHOWN_FIRST


def test_curves_are_thinned_and_leave_gaps_for_what_is_no_number():
    rows = [{"kind": "train", "step": step, "loss": float("nan") if step == 0 else step} for step in range(1000)]
    rows += [{"kind": "evaluation", "step": 5, "test_accuracy": 0.123456789, "train_loss": None}]
    columns = run_data.thin_rows(rows)
    assert set(columns["train"]) == {"step", "loss"} and set(columns["evaluation"]) == {"step", "test_accuracy"}
    steps, losses = columns["train"]["step"], columns["train"]["loss"]
    assert len(steps) == run_data.MOST_POINTS and (steps[0], steps[-1]) == (0, 999)
    assert losses[0] is None and losses[1:] == steps[1:]
    assert columns["evaluation"]["test_accuracy"] == [12.346]
    json.dumps(columns, allow_nan=False)


def test_the_figure_of_a_run_has_a_trace_for_each_field_of_its_curves():
    fields_drawn = {tuple(trace["meta"]) for trace in plots.run_template()["data"]}
    assert fields_drawn == {(kind, field) for kind, fields in run_data.CURVES.items() for field in fields}


def test_what_is_common_and_what_is_a_runs_own_make_its_config(write_run, tmp_path):
    for number in range(3):
        write_run("figure2a", f"mlp-{number}", number, **({"data.name": "digits"} if number == 2 else {}))
    (group,) = run_index.read_run_groups([tmp_path])
    shared = run_data.common_config(group.records)
    for record in group.records:
        merged = {**shared, **run_data.own_config(record, shared)}
        assert {field: text for field, text in merged.items() if text is not None} == run_data.describe_fields(
            record.run.config
        )
    assert run_data.own_config(group.records[2], shared)["data.name"] == "digits"
    assert run_data.describe_fields({"a": [0.5, 1.0], "b": [1.0], "c": True, "d": 1e-8, "e": ""}) == {
        "a": "(0.5, 1.0)",
        "b": "(1.0,)",
        "c": "True",
        "d": "1e-08",
    }
