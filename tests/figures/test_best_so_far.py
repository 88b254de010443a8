"""The picture of the best so far: a panel a run, the band and the gain that the rows hold, named an oracle's."""

import math
import warnings

import numpy as np
import pytest

from rethink.figures import best_so_far
from rethink.figures.best_so_far import draw_best_so_far, measure_gain, measure_noise


def evaluations(*accuracies, every=100):
    return [
        {
            "kind": "evaluation",
            "step": every * number,
            "epoch": number,
            "train_accuracy": 0.9,
            "test_accuracy": accuracy,
        }
        for number, accuracy in enumerate(accuracies, start=1)
    ]


TRAIN = {"kind": "train", "step": 10, "epoch": 0.1, "loss": 2.3, "accuracy": 0.1}
WAVY = evaluations(0.5, 0.7, 0.6, 0.65)


def panels(figure):
    return [axes for axes in figure.axes if axes.axison]


def band(axes):
    """{step: (lowest, highest)} of the shaded area, percent."""
    found = {}
    for path in axes.collections[0].get_paths():
        for step, value in path.vertices:
            low, high = found.get(step, (math.inf, -math.inf))
            found[step] = (min(low, value), max(high, value))
    return found


def test_the_band_lies_between_test_and_the_best_so_far(figure_of):
    (axes,) = panels(figure_of(draw_best_so_far, [("run", [TRAIN, *WAVY])]))
    expected = {100: (50, 50), 200: (70, 70), 300: (60, 70), 400: (65, 70)}
    assert {step: pytest.approx(ends) for step, ends in band(axes).items()} == expected
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["test"].get_ydata()) == pytest.approx([50, 70, 60, 65])
    assert list(lines["train"].get_ydata()) == pytest.approx([90] * 4)


def test_the_gain_is_best_minus_last_in_points():
    assert measure_gain(WAVY) == (pytest.approx(5.0), 200)
    assert measure_gain(evaluations(0.1, 0.2, 0.2)) == (0.0, 200)
    assert measure_gain(evaluations(0.5, 0.3, None)) == (pytest.approx(20.0), 100)
    assert measure_gain([TRAIN]) is None and measure_gain(evaluations(None, math.nan)) is None


def test_noise_is_the_deviation_of_errors_about_a_line():
    line = np.linspace(0.3, 0.6, 2_000)
    assert measure_noise(evaluations(*line)) == pytest.approx(0, abs=1e-9)
    errors = np.random.default_rng(0).normal(0, 0.02, len(line))
    assert measure_noise(evaluations(*(line + errors))) == pytest.approx(2.0, rel=0.1)
    assert measure_noise(evaluations(0.5, 0.6)) is None and measure_noise(evaluations(0.5, None, 0.6, 0.7)) is None


def test_panel_and_legend_name_the_oracle(figure_of):
    figure = figure_of(draw_best_so_far, [("with batch norm", WAVY), ("x" * 100, [])])
    titles = [axes.get_title(loc="left") for axes in panels(figure)]
    assert titles[0] == "with batch norm\noracle's gain: 5.00 points (best at step 200)\nnoise: 9.68 points"
    assert titles[1].endswith("no test accuracy") and max(map(len, titles[1].splitlines())) <= best_so_far.LABEL_WIDTH
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["train", "test"] and len(labels) == 3 and "oracle: chosen by the test set" in labels[2]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_every_run_has_a_panel_of_its_own(count, figure_of):
    runs = [(f"run {number}", evaluations(0.1 * number)) for number in range(1, count + 1)]
    found = panels(figure_of(draw_best_so_far, runs))
    assert [axes.get_title(loc="left").split("\n")[0] for axes in found] == [label for label, _ in runs]
    assert [axes.lines[-1].get_ydata()[0] for axes in found] == pytest.approx([10 * n for n in range(1, count + 1)])


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [TRAIN],
        evaluations(None),
        evaluations(0.5),
        evaluations(0.5, None, math.inf, 0.4),
        evaluations(0.1, every=0),
    ],
)
def test_odd_rows_make_a_figure_without_a_warning(tmp_path, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = draw_best_so_far([("p = 0.5, $ and _", rows)], tmp_path / "best_0.5", title="odd $")
    assert [path.name for path in paths] == ["best_0.5.png", "best_0.5.pdf"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_same_rows_give_the_same_bytes(tmp_path):
    first = draw_best_so_far([("a", WAVY)], tmp_path / "first", title="t")
    again = draw_best_so_far([("a", WAVY)], tmp_path / "again", title="t")
    other = draw_best_so_far([("a", WAVY[:-1])], tmp_path / "other", title="t")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert first[0].read_bytes() != other[0].read_bytes()
