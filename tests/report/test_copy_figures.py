"""What is taken out of a table's directory to stand beside a text."""

import pytest

from rethink.report import copy_figures, page
from rethink.report.page import drawing
from rethink.schema.errors import UserError


@pytest.fixture
def make(write_run, tmp_path, monkeypatch):
    """make(table, figures) -> the directory TABLE of two runs, with made-up figures and its page."""
    monkeypatch.setattr(drawing, "library", lambda: "plotly")

    def make(table="mine", figures=("loss_curves",)):
        for cell in ("mlp_3x512-none", "mlp_3x512-wd"):
            write_run(table, cell)
        for name in (*(f"figures/{stem}.{suffix}" for stem in figures for suffix in ("png", "pdf", "csv")),):
            (tmp_path / table / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / table / name).write_text(name)
        page.write_page([tmp_path / table], tmp_path / table / "index.html")
        return tmp_path / table

    return make


def test_a_directory_of_any_name_has_its_runs(make, tmp_path):
    written = copy_figures.copy_figures(make("a name with spaces" + 100 * "x"), tmp_path / "own")
    assert tmp_path / "own_runs.csv" in written


def test_pictures_numbers_runs_and_the_tables_asked_for_are_copied(make, tmp_path):
    written = copy_figures.copy_figures(make("table1"), tmp_path / "own", ["table1", "table1-orderings"])
    texts = {path.name: path.read_text() for path in written}
    assert texts.keys() == {"own.png", "own.csv", "own_runs.csv", "own_table1.md", "own_table1-orderings.md"}
    assert texts["own.png"] == "figures/loss_curves.png" and texts["own.csv"] == "figures/loss_curves.csv"
    assert [line.partition(",")[0] for line in texts["own_runs.csv"].splitlines()[1:]] == [
        "mlp_3x512-none-seed0",
        "mlp_3x512-wd-seed0",
    ]
    row = next(line for line in texts["own_table1.md"].splitlines() if "mlp_3x512-none" in line and "test" in line)
    assert "not run" not in row and "mlp_3x512" in texts["own_table1-orderings.md"]


def test_runs_of_no_table_of_the_paper_have_one_of_their_own(make, tmp_path):
    assert tmp_path / "own_runs.md" in copy_figures.copy_figures(make(), tmp_path / "own", ["runs"])
    with pytest.raises(UserError, match="table1.md is not there"):
        copy_figures.copy_figures(tmp_path / "mine", tmp_path / "own", ["table1"])


def test_of_several_figures_each_keeps_its_name(make, tmp_path):
    written = copy_figures.copy_figures(make(figures=("a", "b")), tmp_path / "own")
    assert [path.name for path in written] == ["own_a.csv", "own_a.png", "own_b.csv", "own_b.png", "own_runs.csv"]


def test_nothing_is_copied_of_a_table_that_has_not_ended(make, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty-runs.csv is not there: give .* with its page \(python -m rethink"):
        copy_figures.copy_figures(tmp_path / "empty", tmp_path / "own")
    with pytest.raises(UserError, match="table9.md is not there"):
        copy_figures.copy_figures(make(), tmp_path / "own", ["table9"])
    assert not list(tmp_path.glob("own*"))
    with pytest.raises(UserError, match="nothing can be written there"):
        copy_figures.copy_figures(tmp_path / "mine", tmp_path / "nowhere" / "own")
