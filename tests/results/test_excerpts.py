"""What is taken out of a table's directory to stand beside a text."""

import pytest

from rethink.results import excerpts
from rethink.settings import UserError


def make(folder, figures=("loss_curves",)):
    for name in (*(f"figures/{stem}.{suffix}" for stem in figures for suffix in ("png", "pdf", "csv")),):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "tables").mkdir()
    for name in (f"{folder.name}-runs.csv", "table1.md", "table2.md"):
        (folder / "tables" / name).write_text(name)
    return folder


def test_pictures_numbers_and_the_tables_asked_for_are_copied(tmp_path):
    written = excerpts.copy(make(tmp_path / "mine"), tmp_path / "figure1a", ["table1"])
    assert {path.name: path.read_text() for path in written} == {
        "figure1a.png": "figures/loss_curves.png",
        "figure1a.csv": "figures/loss_curves.csv",
        "figure1a_runs.csv": "mine-runs.csv",
        "figure1a_table1.md": "table1.md",
    }


def test_of_several_figures_each_keeps_its_name(tmp_path):
    written = excerpts.copy(make(tmp_path / "mine", ("a", "b")), tmp_path / "own")
    assert [path.name for path in written] == ["own_a.csv", "own_a.png", "own_b.csv", "own_b.png", "own_runs.csv"]


def test_nothing_is_copied_of_a_table_that_has_not_ended(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty-runs.csv is not there: give .* with its page \(python -m rethink"):
        excerpts.copy(tmp_path / "empty", tmp_path / "own")
    with pytest.raises(UserError, match="table9.md is not there"):
        excerpts.copy(make(tmp_path / "mine"), tmp_path / "own", ["table9"])
    assert not list(tmp_path.glob("own*"))
    with pytest.raises(UserError, match="nothing can be written there"):
        excerpts.copy(tmp_path / "mine", tmp_path / "nowhere" / "own")
