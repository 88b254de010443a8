"""The live views: what they print on a terminal and elsewhere, what their rates count, what the closing table says."""

import io
import re
import time

import numpy as np
import pytest

from rethink.results import progress, screen
from rethink.results.corruption_rows import make_corruption_rows
from rethink.results.progress import Display, RunProgress, StageProgress, make_closing_rows
from rethink.training.metrics import closing_labels

ESCAPE = "\x1b"
TRAIN = {"kind": "train", "step": 391, "epoch": 1.0, "loss": 2.47, "accuracy": 0.104, "learning_rate": 0.01}
EVALUATION = {
    "kind": "evaluation",
    "step": 782,
    "epoch": 2.0,
    "train_loss": 2.31,
    "train_accuracy": 0.1042,
    "train_accuracy_clean": None,
    "train_accuracy_corrupted_given": 0.1042,
    "train_accuracy_corrupted_true": 0.0975,
    "test_loss": 2.3,
    "test_accuracy": 0.0998,
    "generalization_gap": 0.0044,
}
SUMMARY = {
    "status": "fitted",
    "steps": 672,
    "epochs": 56.0,
    "evaluation": EVALUATION,
    "num_classes": 10,
    "seconds": 250.0,
    "steps_to_train_accuracy": {"0.9": 391, "0.95": 1391, "0.99": None, "0.999": None, "1.0": None},
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    return clock


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")


def view(stream, first_step=0, total_steps=39100):
    return RunProgress(
        header={"config": "digits_random", "devices": "8 x [cpu]"},
        total_steps=total_steps,
        first_step=first_step,
        batch_size=128,
        steps_per_epoch=391,
        stream=stream,
    )


def visible(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("force", [False, True])
def test_plain_output_holds_every_figure_and_no_escape_code(clock, monkeypatch, force):
    if force:  # colour asked for by the environment does not turn a log file into a terminal
        monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    with view(stream) as live:
        live.advance(1)
        clock.seconds += 10
        live.advance(782)
        live.show(EVALUATION)
        live.note("checkpoint restored at step [1200]")
        Display(stream).print_closing_table("fitted", make_closing_rows(SUMMARY, closing_labels()))
    text = stream.getvalue()
    assert ESCAPE not in text and "\r" not in text
    lines = text.splitlines()
    assert lines[:2] == ["config: digits_random", "devices: 8 x [cpu]"]
    line = next(line for line in lines if line.startswith("step "))
    assert line == "step 782/39100  epoch 2.0  loss 2.310  train 10.42%  test 9.98%  9,997 images/s  left 8m11s"
    assert "checkpoint restored at step [1200]" in lines
    assert "status: fitted" in lines
    assert any(re.fullmatch(r"steps to 90% train accuracy +391", line) for line in lines)


def test_plain_output_has_a_line_for_every_evaluation_and_one_in_a_while_for_train_rows(clock):
    stream = io.StringIO()
    with view(stream) as live:
        for second in range(100):
            clock.seconds += 1
            live.advance(second + 1)
            live.show({**TRAIN, "step": second + 1})
        lines = stream.getvalue().splitlines()[2:]
        assert [line.split("/")[0] for line in lines] == ["step 30", "step 60", "step 90"]
        live.show(EVALUATION)
        live.show(EVALUATION)
    assert len(stream.getvalue().splitlines()) == 2 + 3 + 2


def test_terminal_output_shows_header_bar_figures_and_closing_table(clock):
    stream = Terminal()
    with view(stream) as live:
        assert "digits_random" in visible(stream.getvalue())
        assert "waiting for the first step" in stream.getvalue()
        live.advance(1)
        clock.seconds += 10
        live.show(EVALUATION)
        live.note("a note with [brackets]")
        drawn = visible(stream.getvalue())
        assert "━━━" in drawn and "step 782/39100" in drawn and "left 8m11s" in drawn
        assert "loss 2.310  train 10.42%  test 9.98%  9,997 images/s" in drawn
        assert "a note with [brackets]" in drawn
        Display(stream).print_closing_table("fitted", make_closing_rows(SUMMARY, closing_labels()))
    assert ESCAPE in stream.getvalue()
    tail = visible(stream.getvalue())[len(drawn) :]
    assert "fitted" in tail and "9.98% (chance 10.00%)" in tail


def test_terminal_redraws_by_time_and_not_by_step(clock):
    stream = Terminal()
    with view(stream) as live:
        live.advance(1)
        size = len(stream.getvalue())
        for step in range(2, 1000):
            live.advance(step)
            live.show({**TRAIN, "step": step})
        assert len(stream.getvalue()) == size
        clock.seconds += 1
        live.advance(1000)
        assert len(stream.getvalue()) > size


def test_bar_closes_when_the_run_fails():
    stream = Terminal()
    with pytest.raises(ZeroDivisionError), view(stream) as live:
        live.advance(1)
        assert stream.getvalue().rfind("\x1b[?25l") > stream.getvalue().rfind("\x1b[?25h")  # the cursor is hidden
        raise ZeroDivisionError
    assert stream.getvalue().rfind("\x1b[?25h") > stream.getvalue().rfind("\x1b[?25l")


def test_images_per_second_leave_out_resumed_steps_and_compilation(clock):
    stream = io.StringIO()
    with view(stream, first_step=20000) as live:
        live.show({**EVALUATION, "step": 20000})
        clock.seconds += 60  # the first step compiles
        live.advance(20001)
        for _ in range(10):
            clock.seconds += 1
            live.advance(live._step + 10)
        live.show({**EVALUATION, "step": 20101})
    assert "  1,280 images/s  " in stream.getvalue()
    assert f"left {(39100 - 20101) // 10 // 60}m" in stream.getvalue()


def test_images_per_second_follow_the_recent_past(clock):
    stream = io.StringIO()
    with view(stream) as live:
        for rate in (1000, 10):
            for _ in range(100):
                clock.seconds += 1
                live.advance(live._step + rate)
        live.show({**EVALUATION, "step": live._step})
        assert len(live._samples) < 50
    assert "  1,280 images/s  " in stream.getvalue()


def test_first_step_alone_has_no_rate(clock):
    stream = io.StringIO()
    with view(stream, first_step=20000) as live:
        live.advance(20001)
        live.show({**EVALUATION, "step": 20001})
    assert "images/s" not in stream.getvalue() and "left" not in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_advance_is_cheap(stream):
    with view(stream(), total_steps=100_000) as live:
        begin = time.perf_counter()
        for step in range(100_000):
            live.advance(step)
        assert time.perf_counter() - begin < 5


def test_default_stream_is_the_standard_output_of_the_moment(capsys):
    with view(None) as live:
        live.note("here")
    assert "here" in capsys.readouterr().out


def test_missing_figures_are_left_out(clock):
    stream = io.StringIO()
    with view(stream) as live:
        live.show({**EVALUATION, "test_accuracy": None, "train_loss": float("nan")})
    assert "loss nan" in stream.getvalue() and "test" not in stream.getvalue()


def test_closing_rows():
    rows = dict(make_closing_rows(SUMMARY, closing_labels()))
    assert rows["train accuracy, given labels"] == "10.42%"
    assert rows["  corrupted labels, as given"] == "10.42%"
    assert rows["  corrupted labels, true ones"] == "9.75%"
    assert "  examples with true labels" not in rows  # null: there are none
    assert rows["test accuracy"] == "9.98% (chance 10.00%)"
    assert rows["generalization gap"] == "0.44 points"
    reached = [rows[f"steps to {level}% train accuracy"] for level in ("90", "95")]
    assert reached == ["391", "1,391"] and rows["steps to 99%, 99.9%, 100%"] == "not reached"
    assert rows["steps"] == "672 (56.0 epochs)"
    assert rows["time"] == "4m10s"


def test_a_gap_that_is_not_recorded_is_said_to_be_left_out():
    evaluation = {field: value for field, value in EVALUATION.items() if field != "generalization_gap"}
    rows = dict(make_closing_rows({**SUMMARY, "evaluation": evaluation}, closing_labels()))
    assert rows["generalization gap"] == "left out: the test images are not corrupted as the train images are"


def test_realized_rates_stand_beside_the_declared_ones():
    rates = {"labels_changed": {"declared": 0.45, "realized": 0.4478}}
    corruption = {"seed": 3, "train": rates, "test": {}}
    assert make_corruption_rows(corruption) == [("labels changed, train", "44.78% (45.00% declared)")]


def test_how_often_each_label_was_given_stands_in_rows_or_its_largest_parts_in_one():
    few = {"seed": 3, "train": {"label_counts": [[3, 1], [0, 0]]}}
    assert make_corruption_rows(few) == [
        ("% given as, train", "  0   1"),
        ("  of true 0", " 75  25"),
        ("  of true 1", "  .   ."),
    ]
    many = 50 * np.eye(13, dtype=int)
    many[12, 3], many[0, 1] = 50, 5
    named = make_corruption_rows(few, ["cat", "\x1b[2Jowl of a long name"])
    assert [label for label, _ in named[1:]] == ["  of true 0 (cat)", "  of true 1 ([2Jowl of a ...)"]
    [row] = make_corruption_rows({"seed": 3, "train": {"label_counts": many.tolist()}})
    assert row == ("most frequent changes, train", "12 -> 3 50.0%, 0 -> 1 9.1%")


def test_closing_rows_without_an_evaluation():
    labels = [label for label, _ in make_closing_rows({**SUMMARY, "evaluation": None}, closing_labels())]
    assert not any(label.startswith(("train accuracy", "test", "generalization", " ")) for label in labels)
    assert {"steps", "time", "steps to 99%, 99.9%, 100%"} <= set(labels)


def test_hundred_percent_means_every_example():
    assert screen.format_percent(1.0) == "100.00%"
    assert screen.format_percent(49_999 / 50_000) == "99.99%"
    assert screen.format_percent(0.1042) == "10.42%"


@pytest.mark.parametrize(
    "seconds, text",
    [
        (12.34, "12.3s"),
        (45.2, "45s"),
        (59.8, "1m00s"),
        (250, "4m10s"),
        (3725, "1h02m"),
        (2 * 86400 + 3 * 3600, "2d03h"),
    ],
)
def test_duration(seconds, text):
    assert screen.format_duration(seconds) == text


def show_stages(*reports, fail=False):
    stream = io.StringIO()
    try:
        with StageProgress({"Analysis": "theorem1"}, stream) as stages:
            for report in reports:
                stages.report(*report)
            with stages.paused():
                stages.note("[bold] stays as it is")
            if fail:
                raise RuntimeError
    except RuntimeError:
        pass
    return stream.getvalue()


def test_stages_make_plain_lines_without_escape_codes():
    text = show_stages(("factor", 0, 3), ("factor", 3, 3), ("solve", 1, 1))
    lines = text.splitlines()
    assert lines[0] == "Analysis: theorem1"
    assert [line.split("  ")[:2] for line in lines[1:4]] == [["factor", "0/3"], ["factor", "3/3"], ["solve", "1/1"]]
    assert lines[-1] == "[bold] stays as it is"
    assert "\x1b" not in text


def test_a_stage_that_resumes_goes_by_what_it_has_done_since(clock):
    stream = io.StringIO()
    with StageProgress({}, stream) as stages:
        for done, seconds in ((100, 60), (102, 40), (122, 0)):  # the first two take 60 s, as they are compiled
            stages.report("networks", done, 202, by_minute=True)
            clock.seconds += seconds
    assert stream.getvalue().splitlines()[-1] == "networks  122/202  1m40s  30.0 a minute  left 2m40s"


def test_a_stage_that_reports_often_makes_few_lines():
    text = show_stages(*(("factor", done, 1000) for done in range(1001)))
    assert len(text.splitlines()) <= 4
    assert "factor  1,000/1,000" in text


@pytest.mark.parametrize("fail", [False, True])
def test_a_terminal_shows_a_bar_for_each_stage_and_gets_its_cursor_back(monkeypatch, fail):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    try:
        with StageProgress({"Analysis": "theorem1"}, stream) as stages:
            stages.report("factor", 1, 2)
            with stages.paused():
                pass
            stages.report("factor", 2, 2)
            if fail:
                raise RuntimeError
    except RuntimeError:
        pass
    text = stream.getvalue()
    assert "factor" in text and "100%" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") > 0  # hidden as often as shown again


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()], ids=["terminal", "file"])
@pytest.mark.parametrize("label", ["", "mlp_1x512-random-seed0"])
def test_a_narrow_screen_cuts_no_figure(clock, monkeypatch, stream, label):
    monkeypatch.setenv("COLUMNS", "40")
    with RunProgress(
        header={}, total_steps=39100, first_step=0, batch_size=8, steps_per_epoch=391, label=label, stream=stream
    ) as live:
        live.advance(1)
        clock.seconds += 40
        live.show(EVALUATION)
    Display(stream).print_closing_table("fitted", make_closing_rows(SUMMARY, closing_labels()))
    text = visible(stream.getvalue())
    for figure in ("step 782/39100", "10.42%", "9.98%", "chance 10.00%", "99.9%"):
        assert figure in text
    assert "\u2026" not in text  # the sign of what was cut


def test_of_several_runs_each_has_one_line_that_begins_with_its_name(clock):
    stream = Terminal()
    with RunProgress(
        header={}, total_steps=39100, first_step=0, batch_size=8, steps_per_epoch=391, label="one-seed0", stream=stream
    ) as live:
        live.advance(1)
        clock.seconds += 40
        live.show(EVALUATION)
        line = visible(stream.getvalue()).split("\r")[-1]
    assert re.match(r"one-seed0: +\S+ +train 10.42%  test 9.98%  step 782/39100  left 32m\d\ds *$", line)


def test_a_run_that_is_through_waits_for_no_first_step(clock):
    stream = Terminal()
    with view(stream, first_step=39100) as live:
        live.show({**EVALUATION, "step": 39100})
    assert "step 39100/39100" in visible(stream.getvalue()) and "waiting" not in stream.getvalue()
