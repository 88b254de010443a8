"""The learning curve: files whole and the same for the same rows, every curve drawn, odd rows survived."""

import json
import math
import re
import subprocess
import sys
import warnings
import zlib

import pytest

from rethink.figures import learning_curve
from rethink.figures.learning_curve import draw_learning_curve


def train(step, loss=2.3):
    return {"kind": "train", "step": step, "epoch": step / 100, "loss": loss, "accuracy": 0.1, "learning_rate": 0.01}


def evaluation(step, train_loss=2.3, test_loss=2.4, corrupted_true=0.1):
    return {
        "kind": "evaluation",
        "step": step,
        "epoch": step / 100,
        "train_loss": train_loss,
        "train_accuracy": 0.5,
        "train_accuracy_clean": None,
        "train_accuracy_corrupted_given": 0.4,
        "train_accuracy_corrupted_true": corrupted_true,
        "test_loss": test_loss,
        "test_accuracy": 0.25,
        "generalization_gap": 0.25,
    }


ROWS = [row for step in range(100, 1100, 100) for row in (train(step - 50), train(step), evaluation(step))]
ODD = {
    "nothing": [],
    "no evaluation yet": [train(10), train(20)],
    "one train row": [train(10)],
    "one evaluation": [evaluation(100)],
    "evaluation before the first step": [evaluation(0)],
    "not a number": [train(10), train(20, math.nan), train(30, math.inf), evaluation(30, math.nan, math.inf)],
    "nothing finite": [train(10, math.nan), evaluation(10, math.nan, math.nan)],
    "zero loss": [train(10, 0.0), evaluation(10, 0.0, 5.0), evaluation(20, 1e-3, 5.0)],
    "all losses zero": [train(10, 0.0), evaluation(10, 0.0, 0.0)],
}


@pytest.fixture
def curves(figure_of):
    """curves(rows) -> {(panel, label): line} of the drawn figure."""
    return lambda rows, **options: _curves(figure_of(draw_learning_curve, rows, **{"num_classes": 10, **options}))


def _curves(figure):
    panels = zip(("loss", "accuracy"), figure.axes, strict=True)
    return {(name, line.get_label()): line for name, axes in panels for line in axes.lines}


@pytest.mark.parametrize("rows", ODD.values(), ids=ODD)
def test_odd_rows_make_a_figure_without_a_warning(tmp_path, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = draw_learning_curve(json.loads(json.dumps(rows)), tmp_path / "curve", title="odd", num_classes=10)
    assert all(path.stat().st_size > 1000 for path in paths)


def test_writes_png_and_pdf_whole_and_leaves_nothing_else(tmp_path):
    stem = tmp_path / "labels_0.5"  # a point in the name is no suffix
    paths = draw_learning_curve(ROWS, stem, title="p = 0.5, $ and _", num_classes=10)
    assert [path.name for path in paths] == ["labels_0.5.png", "labels_0.5.pdf"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert paths[0].read_bytes().startswith(b"\x89PNG") and paths[0].read_bytes().endswith(b"IEND\xaeB`\x82")
    assert paths[1].read_bytes().startswith(b"%PDF") and paths[1].read_bytes().rstrip().endswith(b"%%EOF")


def test_same_rows_give_the_same_bytes(tmp_path):
    first = draw_learning_curve(ROWS, tmp_path / "first", title="a", num_classes=10)
    again = draw_learning_curve(ROWS, tmp_path / "again", title="a", num_classes=10)
    other = draw_learning_curve(ROWS[:-1], tmp_path / "other", title="a", num_classes=10)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert first[0].read_bytes() != other[0].read_bytes()
    assert not any(word in path.read_bytes() for path in first for word in (b"CreationDate", b"Creation Time", b"tIME"))


def test_a_failed_drawing_leaves_the_old_file_and_no_partial_one(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    draw_learning_curve(ROWS, tmp_path / "curve", title="a", num_classes=10)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def fail_halfway(self, path, **_):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Figure, "savefig", fail_halfway)
    with pytest.raises(OSError, match="no space"):
        draw_learning_curve(ROWS[:3], tmp_path / "curve", title="b", num_classes=10)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_pdf_embeds_truetype_fonts_only(tmp_path):
    rows = [*ROWS, evaluation(1100, 1e-4, 20.0)]  # a logarithmic axis, whose labels are set as mathematics
    data = draw_learning_curve(rows, tmp_path / "curve", title="a", num_classes=10)[1].read_bytes()
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL):
        try:
            data += zlib.decompress(stream)
        except zlib.error:
            continue
    assert b"/FontFile2" in data and b"/Type3" not in data


def test_every_figure_is_drawn_where_it_belongs(curves):
    lines = curves(ROWS)
    steps = list(range(100, 1100, 100))
    assert list(lines["loss", "train, during training"].get_xdata()) == list(range(50, 1050, 50))
    assert list(lines["loss", "train, all given labels"].get_ydata()) == [2.3] * 10
    assert list(lines["loss", "test"].get_ydata()) == [2.4] * 10
    assert list(lines["accuracy", "train, all given labels"].get_xdata()) == steps
    assert list(lines["accuracy", "train, all given labels"].get_ydata()) == [50.0] * 10
    assert list(lines["accuracy", "test"].get_ydata()) == [25.0] * 10
    assert list(lines["accuracy", "corrupted examples, by their true labels"].get_ydata()) == [10.0] * 10
    assert set(curves(ROWS, num_classes=4)["accuracy", "chance"].get_ydata()) == {25.0}


def test_of_partially_corrupted_labels_each_part_has_its_curve(curves):
    rows = [{**row, "train_accuracy_clean": 0.8} for row in ROWS]
    values = {
        "train, all given labels": 50.0,
        "examples with true labels": 80.0,
        "corrupted examples, by their given labels": 40.0,
        "corrupted examples, by their true labels": 10.0,
        "test": 25.0,
    }
    drawn = curves(rows, has_parts=True)
    lines = {label: drawn["accuracy", label] for label in values}
    assert {label: set(line.get_ydata()) for label, line in lines.items()} == {k: {v} for k, v in values.items()}
    # Told apart without colour: no two have the same marks and the same line.
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines.values()}) == len(lines)
    assert "examples with true labels" not in {label for _, label in curves(rows)}


def test_a_curve_without_values_is_not_drawn(curves):
    assert ("accuracy", "corrupted examples, by their true labels") not in curves(
        [evaluation(100, corrupted_true=None)]
    )
    assert {label for _, label in curves([])} == {"chance"}


def test_a_single_point_is_marked(curves):
    assert curves([train(10)])["loss", "train, during training"].get_marker() == "o"


@pytest.mark.parametrize("smallest, scale", [(1e-3, "log"), (2.0, "linear")])
def test_losses_that_span_decades_get_a_logarithmic_axis(smallest, scale, figure_of):
    figure = figure_of(draw_learning_curve, [evaluation(100), evaluation(200, smallest)], num_classes=10)
    assert figure.axes[0].get_yscale() == scale
    assert (figure.axes[0].get_ylim()[0] == 0) == (scale == "linear")


def test_epoch_axis_counts_epochs(figure_of):
    axis = figure_of(draw_learning_curve, ROWS, num_classes=10).axes[0].child_axes[0]
    assert axis._functions[0](250) == pytest.approx(2.5) and axis._functions[1](2.5) == pytest.approx(250)


def test_the_users_style_stays_out_and_comes_back(tmp_path):
    import matplotlib

    plain = draw_learning_curve(ROWS, tmp_path / "plain", title="a", num_classes=10)[0].read_bytes()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        assert draw_learning_curve(ROWS, tmp_path / "own", title="a", num_classes=10)[0].read_bytes() == plain
        assert matplotlib.rcParams["font.size"] == 30 and matplotlib.rcParams["pdf.fonttype"] == 3


def test_matplotlib_is_imported_only_to_draw_and_pyplot_never(tmp_path):
    code = (
        "import sys, pathlib; from rethink.figures.learning_curve import draw_learning_curve;"
        "assert 'matplotlib' not in sys.modules;"
        f"draw_learning_curve([], pathlib.Path({str(tmp_path)!r}) / 'a', title='', num_classes=2);"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_draft_that_a_kill_has_left_is_replaced(tmp_path):
    (tmp_path / ".curve.png").write_bytes(b"half a picture")
    learning_curve.draw_learning_curve([], tmp_path / "curve", title="run", num_classes=10)
    assert {path.name for path in tmp_path.iterdir()} == {"curve.png", "curve.pdf"}
