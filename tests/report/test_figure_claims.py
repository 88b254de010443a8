"""What the paper says of its figures, put to runs: it turns with their numbers, and a bound decides what it can."""

import json
import math
import shutil

import pytest

from rethink.figures import __main__ as figures_command
from rethink.figures import label_corruption
from rethink.paper.claims import rising_claim
from rethink.paper.numbers import BATCH_NORM_GAIN
from rethink.report import figure_claims, verdicts
from rethink.report.inference import seen_between
from rethink.report.page import group_verdicts
from rethink.report.verdicts import ClaimCheck
from rethink.results import runs as results_runs
from rethink.schema.errors import UserError

PIXELS = ("shuffled_pixels", "random_pixels", "gaussian")


@pytest.fixture
def judged(tmp_path):
    """judged(figure) -> statement -> row, of the runs in a folder of that name."""

    def judged(figure):
        found = figure_claims.check_figure_claims(figure, results_runs.load_runs(tmp_path / figure))
        assert all(list(row) == list(verdicts.CLAIM_COLUMNS) for row in found)
        rows = {row["statement"]: row for row in found}
        assert len(rows) == len(found)
        return rows

    return judged


@pytest.fixture
def condition(write_run):
    """condition(name, losses, ...) -> the directory of a run of figure 1a, with these losses every 10 steps."""

    def condition(name, losses, seed=0, every=10, **changes):
        fields = {"corruption.labels": "uniform" if name == "random" else "none"}
        fields["corruption.pixels"] = name if name in PIXELS else "none"
        folder = write_run("figure1a", name, seed, **{**fields, "model.name": "mlp_3x512", **changes})
        rows = [{"kind": "train", "step": every * n, "loss": loss} for n, loss in enumerate(losses, start=1)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return condition


def write_levels(write_run, steps, tests, *, seed=0, made=1000, model="mlp_1x512", **changes):
    for p, reached, test in zip((0.0, 0.5, 1.0), steps, tests, strict=True):
        fields = {label_corruption.FIELD: p, "corruption.labels": "uniform", "model.name": model, **changes}
        folder = write_run("figure1bc", f"{model}-label_probability={p}", seed, test=test, **fields)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["summary"] |= {"steps": made, "steps_to_train_accuracy": {label_corruption.FIT: reached}}
        (folder / "manifest.json").write_text(json.dumps(manifest))


def of_levels(rows, model="mlp_1x512"):
    """Returns the rows about steps, the rise and chance."""
    return [next(row for name, row in rows.items() if name.startswith(f"{model}: {start}")) for start in STARTS]


AT_ONE = {label_corruption.FIELD: 1.0, "corruption.labels": "uniform", "model.name": "mlp_1x512"}
STARTS = ("more steps to fit at p = 1", "test error rises", "at chance at p = 1")
ALL = {
    "true": (2.3, 0.1),
    "shuffled_pixels": (2.3, 1.0, 0.5, 0.1),
    "gaussian": (2.3, 1.0, 0.5, 0.4, 0.3, 0.1),
    "random_pixels": (2.3, 1.0, 0.5, 0.4, 0.3, 0.2, 0.2, 0.1),
    "random": (2.3, 2.3, 2.3, 2.3, 1.0, 0.5, 0.5, 0.5, 0.5, 0.05),
}
SEEDS = (0, 1)


def test_the_conditions_of_figure_1a_hold_in_the_replications_order(condition, judged):
    for name, losses in ALL.items():
        for seed in SEEDS:
            condition(name, losses, seed)
    rows = judged("figure1a")
    assert {row["verdict"] for row in rows.values()} == {"holds"} and len(rows) == 2 + 5 + 4 + 1
    start = rows["gaussian: starts to converge before random labels"]
    assert (start["ours"], start["certainty"], start["paper"], start["source"]) == (
        "20 < 50",
        "A",
        "before random labels",
        "paper",
    )
    order = rows[f"fitted in this order: {', '.join(ALL)}"]
    assert order["ours"] == "20 < 40 < 60 < 80 < 100" and order["certainty"] == "C"
    assert (order["paper"], order["source"]) == ("4000 < 5600 < 8800 < 11900 < 16600", "replication")
    assert order["notes"] == "network: mlp_3x512"
    assert order["interval"] == "10.00 to 30.00"  # of the closest two, seen on rows of ten


def test_one_run_of_each_condition_decides_no_order(condition, judged):
    for name, losses in ALL.items():
        condition(name, losses)
    rows = judged("figure1a")
    fitted = {name: rows[f"{name}: fitted (a training loss of 0.1 or less)"]["verdict"] for name in ALL}
    assert set(fitted.values()) == {"holds"}  # of the networks that were trained
    row = rows["true: fitted before random labels"]
    assert (row["ours"], row["verdict"], row["interval"]) == ("20 ? 100", "undecided", "")


def test_a_claim_of_figure_1a_turns_with_the_steps_and_neighbouring_rows_decide_nothing(condition, judged):
    losses = {**ALL, "gaussian": (*ALL["random"][:-1], 0.5, 0.1), "random_pixels": (*ALL["random"], 0.01)}
    losses["shuffled_pixels"] = (*(0.5 for _ in range(20)), 0.1)
    for name in losses:
        for seed in SEEDS:
            condition(name, losses[name], seed)
    rows = judged("figure1a")
    assert rows["random_pixels: fitted before random labels"]["ours"] == "100 ? 100"  # a tie
    assert rows["gaussian: fitted before random labels"]["ours"] == "110 ? 100"  # between 100 and 110, 90 and 100
    for name in ("gaussian", "random_pixels"):
        assert rows[f"{name}: fitted before random labels"]["verdict"] == "undecided"
    assert rows["shuffled_pixels: fitted before random labels"]["ours"] == "210 > 100"
    assert rows["shuffled_pixels: fitted before random labels"]["verdict"] == "doesn't hold"
    assert rows["true: fitted before random labels"]["verdict"] == "holds"
    assert rows[f"fitted in this order: {', '.join(ALL)}"]["verdict"] == "doesn't hold"


def test_what_is_not_fitted_is_a_bound_and_what_has_not_run_is_named(condition, judged):
    for seed in SEEDS:
        condition("true", (2.3, 0.05), seed)
        condition("random", (2.3, 2.0, 1.5, 1.5, 1.5), seed, train=0.5)  # ended unfitted
        condition("gaussian", (2.3, 2.2), seed, status="running")
    rows = judged("figure1a")
    assert rows["true: fitted before random labels"]["ours"] == "20 < at least 50"
    assert rows["true: fitted before random labels"]["verdict"] == "holds"  # however it would have gone on
    assert rows["gaussian: fitted before random labels"]["verdict"] == "undecided"  # both are bounds
    fitted = " fitted (a training loss of 0.1 or less)"
    verdicts = {name: rows[f"{name}:{fitted}"]["verdict"] for name in ALL}
    assert verdicts == {
        "true": "holds",
        "random": "undecided",  # 500 steps are not enough to tell
        "gaussian": "undecided",
        "shuffled_pixels": "not run",
        "random_pixels": "not run",
    }


def test_a_lucky_batch_does_not_fit_the_labels(condition, judged):
    condition("random", (2.3, 0.1, 2.0, 2.0, 2.0), train=0.2)
    assert judged("figure1a")["random: fitted (a training loss of 0.1 or less)"]["verdict"] == "undecided"


def test_two_runs_of_one_seed_are_named(condition, judged):
    folder = condition("true", ALL["true"])
    shutil.copytree(folder, folder.with_name("true-seed1"))
    with pytest.raises(UserError, match="same seed"):
        judged("figure1a")


@pytest.mark.parametrize("changes", [{"corruption.pixels": "none"}, {"weight_decay.kind": "l2"}, {"dropout.rate": 0.5}])
def test_another_experiment_is_not_comparable(condition, judged, changes):
    for name, losses in ALL.items():
        for seed in SEEDS:
            condition(name, losses, seed, **(changes if name == "gaussian" else {}))
    rows = judged("figure1a")
    assert rows["gaussian: fitted before random labels"]["verdict"] == "not comparable"
    assert rows["true: fitted before random labels"]["verdict"] == "holds"


def test_a_condition_whose_run_diverged_has_no_result_and_says_so(condition, judged):
    for name, losses in ALL.items():
        for seed in SEEDS:
            condition(name, losses, seed, status="diverged" if name == "true" else "done")
    rows = judged("figure1a")
    for row in (rows["true: fitted before random labels"], rows["true: fitted (a training loss of 0.1 or less)"]):
        assert row["verdict"] == "no result" and "diverged" in row["notes"]
    assert rows["gaussian: fitted before random labels"]["verdict"] == "holds"


@pytest.mark.parametrize("changes", [{"train.total_epochs": 900.0}, {"optimizer.name": "adam"}, {"full": False}])
def test_no_claim_is_put_to_runs_that_were_trained_unlike_each_other(condition, write_run, judged, changes):
    for name, losses in ALL.items():
        for seed in SEEDS:
            condition(name, losses, seed, **(changes if name == "gaussian" else {}))
    rows = judged("figure1a")
    assert rows["gaussian: fitted before random labels"]["verdict"] == "not comparable"
    assert "runs differ in" in rows["gaussian: fitted before random labels"]["notes"]
    assert rows["true: fitted before random labels"]["verdict"] == "holds"
    write_levels(write_run, (100, 150, 200), (0.5, 0.3, 0.1))
    write_run("figure1bc", "mlp_1x512-label_probability=1.0", 1, **AT_ONE, **changes)
    assert {row["verdict"] for row in judged("figure1bc").values()} == {"not comparable"}


def test_figures_1b_and_1c_turn_with_the_runs(write_run, judged):
    for seed in SEEDS:
        write_levels(write_run, (100, 150, 400), (0.5, 0.3, 0.1), seed=seed)
        write_levels(write_run, (300, 90, 100), (0.5, 0.55, 0.15), seed=seed, model="mlp_3x512")
    rows = judged("figure1bc")
    steps, rise, chance = of_levels(rows)
    assert (steps["ours"], steps["paper"], steps["certainty"]) == ("100 < 400", "relative: 1 < about 4", "C")
    assert (rise["ours"], rise["paper"], rise["certainty"]) == ("50.00 < 70.00 < 90.00", "rises to 90%", "A")
    assert (chance["ours"], chance["paper"]) == ("90.00", "90.00") and "(test error in 89.01..90.99%)" in chance[
        "statement"
    ]
    assert {row["verdict"] for row in (steps, rise, chance)} == {"holds"} and steps["notes"] == ""
    others = of_levels(rows, "mlp_3x512")
    assert [row["ours"] for row in others] == ["300 > 100", "50.00 > 45.00 < 85.00", "85.00"]
    assert {row["verdict"] for row in others} == {"doesn't hold"}
    assert {row["notes"] for row in others} == {"network: mlp_3x512"}  # the paper's figure has three others


def test_steps_that_were_not_reached_are_bounds(write_run, judged):
    for seed in SEEDS:
        write_levels(write_run, (100, 150, None), (0.5, 0.3, 0.1), seed=seed)
        write_levels(write_run, (None, None, None), (0.5, 0.3, 0.1), seed=seed, model="alexnet")
    rows = judged("figure1bc")
    assert (of_levels(rows)[0]["ours"], of_levels(rows)[0]["verdict"]) == ("100 < at least 1000", "holds")
    assert of_levels(rows, "alexnet")[0]["verdict"] == "undecided"


def test_the_test_error_of_what_has_not_converged_decides_nothing(write_run, judged):
    for seed in SEEDS:
        write_levels(write_run, (100, 150, 400), (0.5, 0.3, 0.1), seed=seed, train=0.98)
    steps, rise, chance = of_levels(judged("figure1bc"))
    assert (steps["verdict"], rise["verdict"], chance["verdict"]) == ("holds", "undecided", "undecided")
    assert rise["notes"] == "not converged: 0, 0.5, 1" and steps["notes"] == ""


def test_no_test_error_is_judged_of_the_survivors_where_runs_diverged(write_run, judged):
    for seed in (0, 1):
        write_levels(write_run, (100, 200, None), (0.5, 0.3, 0.1), seed=seed)
    write_run("figure1bc", "mlp_1x512-label_probability=1.0", 2, status="diverged", fitted=False, **AT_ONE)
    for p in (0.0, 0.5):
        write_run("figure1bc", f"mlp_1x512-label_probability={p}", 2, **{**AT_ONE, label_corruption.FIELD: p})
    steps, rise, chance = of_levels(judged("figure1bc"))
    assert steps["verdict"] == "holds" and steps["ours"].startswith("100 < at least ")
    assert rise["verdict"] == chance["verdict"] == "no result"
    assert "runs diverged at p = 1" in rise["notes"]


def test_a_subset_is_judged_by_its_own_size_and_names_itself(write_run, judged):
    write_levels(write_run, (100, 150, 200), (0.5, 0.3, 0.12), full=False)
    steps, _, chance = of_levels(judged("figure1bc"))
    assert (steps["verdict"], chance["verdict"]) == ("undecided", "holds")  # 500 labels guess with 1.4 points
    assert "subset: 500 of 50,000 examples" in chance["notes"]


@pytest.mark.parametrize("changes", [{"corruption.labels": "symmetric"}, {"augmentation.crop": "random"}])
def test_levels_of_another_experiment_are_not_comparable(write_run, judged, changes):
    write_levels(write_run, (100, 150, 200), (0.5, 0.3, 0.1), **changes)
    assert {row["verdict"] for row in judged("figure1bc").values()} == {"not comparable"}


def test_a_level_that_runs_has_no_result_and_one_that_is_missing_is_not_run(write_run, judged):
    fields = {"corruption.labels": "uniform", "model.name": "mlp_1x512"}
    for p in (0.0, 0.5):
        write_run("figure1bc", f"mlp_1x512-label_probability={p}", **{**fields, label_corruption.FIELD: p})
    assert of_levels(judged("figure1bc"))[2]["verdict"] == "not run"
    last = {**fields, label_corruption.FIELD: 1.0}
    write_run("figure1bc", "mlp_1x512-label_probability=1.0", status="running", **last)
    steps, _, chance = of_levels(judged("figure1bc"))
    assert steps["verdict"] == chance["verdict"] == "no result" and chance["ours"] == chance["n"] == ""
    assert chance["notes"] == "running at p = 1"


def test_true_labels_that_run_are_the_level_at_zero_and_the_rise_waits_for_a_level_between(write_run, judged):
    write_levels(write_run, (100, 150, 200), (0.5, 0.3, 0.1))
    write_run(
        "figure1bc", "mlp_1x512-label_probability=0.2", status="interrupted", **{**AT_ONE, label_corruption.FIELD: 0.2}
    )
    steps, rise, chance = of_levels(judged("figure1bc"))
    assert [row["verdict"] for row in (steps, rise, chance)] == ["undecided", "no result", "holds"]
    write_run(
        "figure1bc", "mlp_1x512-label_probability=1.0", 1, status="failed", **{**AT_ONE, "corruption.labels": "none"}
    )
    assert of_levels(judged("figure1bc"))[2]["notes"].split("; ") == ["interrupted at p = 0.2", "failed at p = 0"]


def test_the_spread_over_seeds_is_told(write_run, judged):
    for seed, last in ((0, 110), (1, 300)):
        write_levels(write_run, (100, 150, last), (0.5, 0.3, 0.1), seed=seed)
    steps = of_levels(judged("figure1bc"))[0]
    assert (steps["ours"], steps["n"], steps["verdict"]) == ("100 ? 205", "2", "undecided")
    low, high = map(float, steps["interval"].split(" to "))
    assert low < 0 < 105 < high


NORMED = {"model.name": "inception", "batch_norm.kind": "across_devices"}


def add_curve(folder, tests):
    """Puts evaluations with these test accuracies before the last one of a run."""
    *_, last = (folder / "metrics.jsonl").read_text().splitlines()
    rows = [{"kind": "evaluation", "step": step, "test_accuracy": test} for step, test in enumerate(tests, start=1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + last + "\n")


def test_figure_2b_asks_for_batch_norm(write_run, judged):
    for seed in SEEDS:
        write_run("figure2b", "inception", seed, test=0.85, **NORMED)
        write_run("figure2b", "inception_no_bn", seed, test=0.82, **{"model.name": "inception"})
    norm = judged("figure2b")["inception: batch norm above none"]
    assert (norm["ours"], norm["paper"], norm["verdict"]) == ("82.00 < 85.00", BATCH_NORM_GAIN.note, "holds")
    write_run("figure2b", "inception", 7, status="diverged", **NORMED)
    norm = judged("figure2b")["inception: batch norm above none"]
    assert norm["verdict"] == "not comparable" and norm["notes"].endswith(
        "1 of 3 diverged; inception: 2 done, 1 diverged"
    )


@pytest.mark.parametrize(
    "before, last, verdict",
    [
        ([0.80] * 20, 0.80, "holds"),
        ([0.70 + 0.005 * n for n in range(20)], 0.80, "holds"),  # still rising
        ([0.800, 0.801] * 10, 0.80, "holds"),
        ([0.78] * 12 + [0.80, 0.803, 0.808, 0.81, 0.808, 0.803] * 2, 0.80, "undecided"),  # waves that last
        ([0.78, 0.82] * 10, 0.80, "undecided"),  # the best is 2 points above the last, by chance
        ([0.80, *[0.84] * 8, *[0.80] * 12], 0.80, "doesn't hold"),  # a plateau, and a fall
        ([0.80 + 0.1 * (1 - abs(n - 10) / 10) for n in range(20)], 0.80, "doesn't hold"),  # a hill
    ],
)
def test_a_gain_of_early_stopping_is_compared_with_the_noise_of_the_curve(write_run, judged, before, last, verdict):
    add_curve(write_run("figure2b", "inception_no_bn", test=last, **{"model.name": "inception"}), before)
    gain = next(row for name, row in judged("figure2b").items() if name.startswith("inception_no_bn: early"))
    assert gain["verdict"] == verdict


def test_figure_2a_asks_for_a_gain_of_the_oracle(write_run, judged):
    imagenet = {"data.name": "imagenet2012", "model.name": "inception_v3", "batch_norm.kind": "across_devices"}

    def judge(before):
        add_curve(folder, before)
        rows = {name.partition(" (")[0]: row for name, row in judged("figure2a").items()}
        assert rows["wd: early stopping would gain"]["verdict"] == "not run"
        return rows["none: early stopping would gain"]

    folder = write_run("figure2a", "none", test=0.5, **imagenet)
    assert (judge([0.5] * 9)["verdict"], judge([0.5] * 9)["paper"]) == ("doesn't hold", "3.36")
    assert judge([0.5, 0.54] * 9)["verdict"] == "undecided"
    assert judge([0.5 + 0.01 * (9 - abs(n - 9)) for n in range(19)])["verdict"] == "holds"
    write_run("figure2a-cifar10", "mlp_3x512")
    assert judged("figure2a-cifar10") == {}


@pytest.mark.parametrize(
    "first, second, verdict",
    [
        ((1, 1), (2, 2), "holds"),
        ((2, 2), (2, 2), "undecided"),
        ((1, 1), (2, math.inf), "holds"),
        ((3, 3), (2, math.inf), "undecided"),
        ((1, math.inf), (2, 2), "undecided"),
        ((3, math.inf), (2, 2), "doesn't hold"),
    ],
)
def test_a_bound_decides_only_what_it_can(first, second, verdict):
    ends = {"a": first, "b": second, "c": (9, 9), "d": (1, 1)}
    found = {cell: seen_between([interval] * 2) for cell, interval in ends.items()}
    claim, longer = (rising_claim("grows", "steps", cells, "", ()) for cells in (("a", "b"), ("a", "b", "c", "d")))
    judged = [verdicts.judge_claim(ClaimCheck(one, found, started=found))["verdict"] for one in (claim, longer)]
    assert judged == [verdict, "doesn't hold"]  # whatever the bounds leave open


def test_other_figures_have_no_claims_and_a_damaged_run_is_named(write_run, tmp_path):
    folder = write_run("figure1a", "true")
    assert figure_claims.check_figure_claims("table1", results_runs.load_runs(folder.parent)) == []
    assert figure_claims.describe_claims("table1", results_runs.load_runs(folder.parent)) == ("", "")
    (folder / "metrics.jsonl").write_text("[]\n")
    with pytest.raises(UserError, match="metrics.jsonl is damaged"):
        figure_claims.describe_claims("figure1a", results_runs.load_runs(folder.parent))


def test_the_terminal_shows_them(condition, tmp_path):
    for name, losses in ALL.items():
        condition(name, losses)
    text, finding = figure_claims.describe_claims("figure1a-mlp_3x512", results_runs.load_runs(tmp_path / "figure1a"))
    assert "What the paper says of it" in text and text.count("holds: ") == 5 and text.count("undecided: ") == 7
    assert finding == "claims of the paper: holds 5, undecided 7"
    assert "A: the paper's own text; C: one" in text and "a ? b: which is larger is not decided" in text
    assert max(map(len, text.splitlines())) <= 80
    last = group_verdicts.describe_findings(tmp_path).splitlines()[-1]  # of a suite: over all its tables and figures
    assert last.split() == ["all", "5", "7"]


def test_the_command_takes_the_claims_from_the_names_of_the_runs(write_run, tmp_path, monkeypatch, capsys):
    write_levels(write_run, (100, 150, 200), (0.5, 0.3, 0.1))
    (tmp_path / "figure1bc").rename(tmp_path / "mine")
    monkeypatch.setattr("sys.argv", ["figures", "label_corruption", str(tmp_path / "mine"), "--title=figure2b"])
    figures_command.main()
    assert "more steps to fit at p = 1 than at p = 0" in capsys.readouterr().out
