"""What the tests of figures share: the drawn figure itself, to look at its panels and curves."""

import pathlib

import matplotlib.figure
import pytest


@pytest.fixture
def figure_of(tmp_path, monkeypatch):
    """figure_of(draw, rows, ...) -> the figure that a function of rethink/figures has drawn; its files are empty."""
    drawn = []

    def savefig(figure, path, **_):
        drawn.append(figure)
        pathlib.Path(path).touch()

    def figure_of(draw, rows, **options):
        draw(rows, tmp_path / "figure", title="title", **options)
        return drawn[-1]

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", savefig)
    return figure_of
