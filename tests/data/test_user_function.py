"""A function of the user's gives a data set; what fails in it is one line with its place."""

import itertools
import sys

import numpy as np
import pytest
from data_sets import load, refusal

COUNTER = itertools.count()
ARRAYS = "import numpy as np\nx = np.arange(40, dtype=np.uint8).reshape(10, 2, 2)\ny = np.array(['b', 'a'] * 5)\n"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module; returns `data.name` of its function `load`."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    def write(code):
        name = f"own_data_{next(COUNTER)}"
        (tmp_path / f"{name}.py").write_text(ARRAYS + code)
        return f"module:{name}:load"

    return write


@pytest.mark.parametrize(
    "returned",
    [
        "{'train': (x, y), 'test': (x[:4], y[:4])}",
        "((x, y), (x[:4], y[:4]))",
        "{'test': [x[:4], y[:4]], 'train': [x, y], 'extra': (x, y), 'class_names': ['a', 'b']}",
    ],
)
def test_a_function_gives_a_data_set(module, returned):
    opened, train, test = load(name=module(f"def load(): return {returned}"))
    np.testing.assert_array_equal(train.images.reshape(-1), np.arange(40))
    assert (opened.class_names, train.labels.tolist()[:3], test.labels.tolist()) == (
        ("a", "b"),
        [1, 0, 1],
        [1, 0, 1, 0],
    )


def test_of_one_pair_a_test_part_is_drawn(module):
    _, train, test = load(name=module("def load(): return x, y"), test_fraction=0.2)
    assert (len(train.ids), len(test.ids)) == (8, 2)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def load(): return x", "returns a ndarray of another form: return {"),
        ("def load(): return {}", "returns a dict of another form: return {"),
        ("def load(): return {'train': x}", "returns a dict of another form: return {"),
        ("def load(): return x, y[:9]", "split 'train' has 10 images and 9 labels"),
        ("def load():\n    raise OSError('no disk')", "fails: no disk (OSError, "),
        ("def load():\n    np.load('nothing.npy')", ".py:5)"),
        ("def load():\n    raise SystemExit(3)", "fails: calls sys.exit(3)"),
        ("def load(path): return x, y", "missing 1 required positional argument: 'path'"),
        ("def other(): return x, y", "has no function 'load'; it has other."),
        ("import nothing_of_this_name", "cannot be imported: No module named 'nothing_of_this_name'"),
    ],
)
def test_what_fails_in_it_is_one_line_with_its_place(module, code, message):
    name = module(code)
    said = refusal(name=name)
    assert said.startswith(f"data.name='{name}'") and message in said


@pytest.mark.parametrize("name", ["module", "module:", "module:own_data", "module:own/data:load"])
def test_a_malformed_name_is_answered_with_the_form(name):
    assert refusal(name=name) == f"data.name='{name}' is malformed: write module:package.module:function."
