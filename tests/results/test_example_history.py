"""What each evaluation saw of each example, as a file that grows by whole rows."""

from types import SimpleNamespace

import numpy as np
import pytest

from rethink.results import example_history
from rethink.schema.errors import UserError


def seen(seed, examples=5, classes=300):
    numbers = np.random.default_rng(seed)
    return SimpleNamespace(
        losses=numbers.exponential(size=examples).astype(np.float16),
        margins=numbers.normal(size=examples).astype(np.float16),
        errors=numbers.uniform(size=examples).astype(np.float16),
        predicted=numbers.integers(classes, size=examples),
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "examples_train.bin"
    for step in (0, 3, 6):
        example_history.append_row(path, 300, example_history.make_row(step, 300, seen(step)))
    return path


def test_rows_come_back_as_they_were(path):
    table = example_history.read_table(path)
    assert table["step"].tolist() == [0, 3, 6]
    for row in table:
        wanted = seen(int(row["step"]))
        for field in ("loss", "margin", "error"):
            assert np.array_equal(row[field], getattr(wanted, "losses" if field == "loss" else f"{field}s"))
        assert np.array_equal(row["predicted"], wanted.predicted)


def test_a_row_that_a_kill_has_cut_is_left_out_and_dropped(path):
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert example_history.read_table(path)["step"].tolist() == [0, 3]
    example_history.drop_rows(path, 6)
    example_history.append_row(path, 300, example_history.make_row(6, 300, seen(6)))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("last, kept", [(0, [0]), (5, [0, 3]), (6, [0, 3, 6])])
def test_rows_after_a_step_are_dropped(path, last, kept):
    example_history.drop_rows(path, last)
    assert example_history.read_table(path)["step"].tolist() == kept


def test_a_run_that_begins_anew_drops_a_file_whatever_a_kill_has_left_of_it(path):
    for content in (path.read_bytes(), b"", b"short"):
        path.write_bytes(content)
        example_history.drop_rows(path, -1)
        assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"short", bytes(16), b"\xff" * 40])
def test_a_damaged_file_is_one_line(tmp_path, content):
    path = tmp_path / "examples_train.bin"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"examples_train.bin is damaged"):
        example_history.read_table(path)


def test_a_bare_beginning_has_no_rows(path):
    path.write_bytes(path.read_bytes()[:20])
    assert len(example_history.read_table(path)) == 0


def test_few_classes_take_a_byte():
    assert example_history.make_row(0, 10, seen(0, classes=10)).nbytes == 8 + 5 * 7
