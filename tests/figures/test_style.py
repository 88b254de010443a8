"""Matplotlib, whatever the environment says of it."""

import os
import subprocess
import sys

import pytest

from rethink.figures import style
from rethink.schema.errors import UserError

DRAW = """
import pathlib
from rethink.figures import style
with style.open_figure(pathlib.Path("figure"), (2, 2), "title"):
    pass
"""


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_the_backend_of_a_notebook_does_not_reach_a_figure(tmp_path, backend):
    paths = os.pathsep.join(sys.path)
    environment = {**os.environ, "MPLBACKEND": backend, "PYTHONPATH": paths}
    ended = subprocess.run([sys.executable, "-c", DRAW], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "figure.png").is_file()


def test_matplotlib_that_can_not_be_imported_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"^Matplotlib can't be imported \(ModuleNotFoundError: .*install it again.$"):
        style.load_matplotlib()
