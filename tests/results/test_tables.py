"""Tables of runs: what a row holds, that only a run that has ended makes one, and how rows are written."""

import csv
import io
import json

import pytest

from rethink.results import runs, tables
from rethink.schema.errors import UserError

MANIFEST = {
    "config": {
        "name": "cifar_random-mlp_1x512",
        "model.name": "mlp_1x512",
        "corruption.labels": "uniform",
        "corruption.label_probability": 0.5,
        "corruption.pixels": "none",
        "seed": 3,
    },
    "status": "done",
    "data": {"train_examples": 1000},
    "launches": [{"first_step": 0, "last_step": 400, "hardware": {"devices": 2, "kind": "cpu"}, "versions": {}}],
    "summary": {
        "steps": 391,
        "evaluation": {"train_accuracy": 0.98765, "test_accuracy": 0.1},
        "steps_to_train_accuracy": {"0.99": 300, "1.0": None},
        "seconds": 12.4,
    },
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    return tmp_path


def test_a_row_says_what_ran_and_how_it_ended(folder):
    row = runs.describe_run(runs.load_run(folder))
    assert row["labels"] == "uniform p=0.5" and row["pixels"] == "true"
    assert row["train accuracy %"] == "98.77" and row["test accuracy %"] == "10.00"
    assert row["steps to 99%"] == "300" and row["steps to 100%"] == "not reached"
    assert row["train examples"] == 1000 and row["devices"] == "2 x cpu"


@pytest.mark.parametrize("pixels, shown", [("gaussian", ", test too"), ("shuffled_pixels", ""), ("none", "")])
def test_what_the_field_test_pixels_changes_nothing_of_has_one_description(folder, pixels, shown):
    config = {**MANIFEST["config"], "corruption.pixels": pixels}
    seen = []
    for test_pixels in (False, True):
        changed = {**MANIFEST, "config": {**config, "corruption.test_pixels": test_pixels}}
        (folder / "manifest.json").write_text(json.dumps(changed))
        seen.append(runs.describe_run(runs.load_run(folder))["pixels"])
    assert seen[1] == seen[0] + shown


@pytest.mark.parametrize(
    "watched, shown",
    [
        (None, "last step"),
        ({"monitor": "oracle", "best_step": 12, "restored": False}, "last step"),
        ({"monitor": "oracle", "best_step": 12, "restored": True}, "step 12, best by the ORACLE (test set)"),
        ({"monitor": "validation", "best_step": 12, "restored": True}, "step 12, best by validation"),
    ],
)
def test_accuracies_that_the_test_set_chose_say_so(folder, watched, shown):
    summary = {**MANIFEST["summary"], **({"early_stopping": watched} if watched else {})}
    (folder / "manifest.json").write_text(json.dumps({**MANIFEST, "summary": summary}))
    row = runs.describe_run(runs.load_run(folder))
    assert row["result of"] == shown
    assert set(runs.BRIEF_COLUMNS) < set(row)


def test_only_a_run_without_a_miss_has_an_accuracy_of_100(folder):
    for right, shown in ((49_998, "99.99"), (50_000, "100.00")):
        evaluation = {"train_accuracy": right / 50_000, "test_accuracy": right / 50_000}
        summary = {**MANIFEST["summary"], "evaluation": evaluation}
        (folder / "manifest.json").write_text(json.dumps({**MANIFEST, "summary": summary}))
        row = runs.describe_run(runs.load_run(folder))
        assert row["train accuracy %"] == row["test accuracy %"] == shown


def test_a_damaged_run_is_named(folder):
    (folder / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="manifest.json is damaged"):
        runs.describe_run(runs.load_run(folder))


def test_csv_and_markdown_hold_the_same_cells(folder):
    row = runs.describe_run(runs.load_run(folder))
    read = list(csv.DictReader(io.StringIO(tables.to_csv([row, row], list(row)))))
    assert read == [{name: str(value) for name, value in row.items()}] * 2
    lines = tables.to_markdown([{**row, "run": "a|b"}], list(row)).splitlines()
    assert len(lines) == 3 and lines[2].startswith("| a\\|b | mlp_1x512 |")


def test_text_is_aligned_and_leaves_out_empty_columns():
    rows = [{"a": "long entry", "b": "", "c": 1}, {"a": "x", "b": "", "c": 22}]
    assert tables.to_text(rows, ("a", "b", "c")).splitlines() == ["a           c", "long entry  1", "x           22"]


def test_of_a_narrow_table_no_blank_cell_is_shown_below_it(monkeypatch):
    monkeypatch.setenv("COLUMNS", "12")
    rows = [{"a": "long entry", "b": "", "c": 1}, {"a": "x", "b": "only", "c": 22}]
    shown = tables.to_text(rows, ("a", "b", "c")).splitlines()
    assert shown == ["a", "long entry", "  c: 1", "x", "  b: only;", "    c: 22"]


def test_a_run_that_has_not_ended_is_named(folder):
    (folder / "manifest.json").write_text(json.dumps({**MANIFEST, "status": "running", "summary": None}))
    with pytest.raises(UserError, match="has not ended"):
        runs.describe_run(runs.load_run(folder))


def test_the_command_refuses_what_is_no_run_in_one_line(tmp_path, run_module):
    ended = run_module("rethink.results", tmp_path)
    assert ended.returncode == 2 and ended.stderr.startswith("Error: ") and ended.stderr.count("\n") == 1


def test_latex_shows_every_sign_of_a_name():
    rows = [{"a": r"100% & $x_1$ # {b} ~ ^ \input{/etc/passwd}", "b": '[1cm] <= 3 | "q"'}]
    text = tables.to_latex(rows, ("a", "b"), r"50% \write18{ls}")
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    assert (
        r"100\% \& \$x\_1\$ \# \{b\} \textasciitilde{} \textasciicircum{} \textbackslash{}input\{/etc/passwd\}" in text
    )
    assert r"{[}1cm] \textless{}= 3 \textbar{} \textquotedbl{}q\textquotedbl{} \\" in text
    assert r"\caption{50\% \textbackslash{}write18\{ls\}}" in text
    (line,) = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(line.replace(r"\&", "").split("&")) == 2


@pytest.mark.parametrize("columns", [16, 40, 80, 200])
def test_no_cell_of_a_text_is_cut_and_no_line_is_wider_than_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = [
        {"run": f"mlp-seed{n}", "train accuracy %": f"{83.25 + n}", "status": "done", "notes": "data: digits; and more"}
        for n in range(2)
    ]
    text = tables.to_text(rows, list(rows[0]))
    assert max(map(len, text.splitlines())) <= columns
    words = " ".join(text.split())
    assert all(words.count(f"{83.25 + n}") == 1 for n in range(2))
    assert words.count("digits") == (1 if columns < 80 else 2)  # the same of all rows, once below them
    assert ("\n  train accuracy" in text) == (columns == 16)


def test_the_command_takes_the_folder_of_a_suite_for_its_runs_that_have_ended(tmp_path, run_module):
    for place, status in (("table1/a-seed0", "done"), ("table1/b-seed0", "running"), ("linear", "done")):
        (tmp_path / place).mkdir(parents=True)
        changes = {"status": status, "summary": MANIFEST["summary"] if status == "done" else None}
        changes["config"] = {**MANIFEST["config"], "name": place}
        (tmp_path / place / "manifest.json").write_text(json.dumps({**MANIFEST, **changes}))
    ended = run_module("rethink.results", tmp_path)
    assert [row["run"] for row in csv.DictReader(io.StringIO(ended.stdout))] == ["linear", "table1/a-seed0"]
    assert ended.stderr == "Left out: 1 that have not ended.\n"
    ended = run_module("rethink.results", tmp_path / "table1/b-seed0")
    assert ended.returncode == 2 and "No run has ended" in ended.stderr and ended.stderr.count("\n") == 1


def test_a_column_that_can_be_spared_takes_no_line_of_its_own(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    rows = [{"run": "a" * 15, "seconds": number} for number in (1, 2)]
    assert tables.to_text(rows, ["run", "seconds"], ["seconds"]).splitlines() == ["run", "a" * 15, "a" * 15]
    assert "seconds: 1" in tables.to_text(rows, ["run", "seconds"])
    monkeypatch.setenv("COLUMNS", "80")
    assert "seconds" in tables.to_text(rows, ["run", "seconds"], ["seconds"])
