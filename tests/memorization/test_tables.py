"""The scores of recorded runs, as python -m rethink.memorization writes and prints them, without JAX."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas
import pytest

from rethink.memorization import dynamics
from rethink.memorization.__main__ import group_by_seed
from rethink.memorization.dynamics import PRESENTATION_SCORES, RUN_SCORES, SCORES, compute_scores
from rethink.memorization.tables import make_score_table
from rethink.results import example_history, files, runs
from rethink.results.presentations import DTYPES, PRESENTATIONS, SUMS, Presentations
from rethink.schema.errors import UserError

IDS = np.array([2, 3, 5, 8, 9, 11], np.uint32)
TRUE, GIVEN = np.array([0, 1, 2, 0, 1, 2], np.int32), np.array([0, 1, 2, 1, 2, 2], np.int32)  # two are wrong


def write_run(folder, seed, given=GIVEN):
    """Writes what a run records of single examples, at steps 0, 2, 4, 6."""
    folder.mkdir(parents=True)
    manifest = {
        "config": {"name": folder.name, "seed": seed},
        "status": "done",
        "data": {"class_names": ["a", "b", "c"]},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    np.savez(folder / "corruption.npz", ids=IDS, true_labels=TRUE, given_labels=given, resampled=given != TRUE)
    (folder / "paths.csv").write_text("split,id,path\n" + "".join(f"train,{one},a/{one}.png\n" for one in IDS))
    numbers = np.random.default_rng(seed)
    for step in (0, 2, 4, 6):
        seen = SimpleNamespace(
            losses=numbers.exponential(size=6),
            margins=numbers.normal(size=6),
            errors=numbers.random(6),
            predicted=numbers.integers(3, size=6),
        )
        example_history.append_row(folder / "examples_train.bin", 3, example_history.make_row(step, 3, seen))
        files.append_line(folder / "metrics.jsonl", {"kind": "evaluation", "step": step})
    seen = {name: numbers.random(6) if name in SUMS else np.arange(6) for name in Presentations._fields}
    np.savez(folder / PRESENTATIONS, **{name: seen[name].astype(dtype) for name, dtype in DTYPES.items()})
    return runs.load_run(folder)


@pytest.fixture
def pair(tmp_path):
    """Two seeds with the same labels."""
    return [write_run(tmp_path / f"cell-seed{seed}", seed) for seed in range(2)]


def test_the_command_line_writes_the_scores_and_what_they_are_worth(pair, tmp_path, run_module):
    ended = run_module("rethink.memorization", tmp_path)
    assert ended.returncode == 0
    for run in pair:
        written = pandas.read_csv(run.folder / "scores.csv")
        assert list(written) == [
            *("id", "true_label", "given_label", "resampled", "true_class", "given_class", "path"),
            *SCORES,
            *PRESENTATION_SCORES,
        ]
        seen = run.presentations()
        assert np.array_equal(written["training_aum"][1:], (seen.margin_sum / np.maximum(seen.count, 1))[1:])
        assert written["path"].tolist() == [f"a/{one}.png" for one in IDS]
        for name, values in compute_scores(run.example_history()).items():
            assert np.array_equal(written[name], values)
    assert ended.stdout.count("2 labels are wrong.") == 3  # of each run, and over both seeds
    assert all(ended.stdout.count(f"\n{name} ") == 2 for name in (*SCORES, *PRESENTATION_SCORES))
    assert all(ended.stdout.count(f"\n{name} ") == 1 for name in RUN_SCORES)
    over_seeds = pandas.read_csv(tmp_path / "cell-scores_over_seeds.csv")
    assert list(over_seeds) == ["id", "given_label", "true_label", *RUN_SCORES]


def test_seeds_with_labels_of_their_own_have_no_scores_over_seeds(pair, tmp_path, run_module):
    write_run(tmp_path / "cell-seed2", 2, given=TRUE)
    ended = run_module("rethink.memorization", tmp_path)
    assert ended.returncode == 0 and "cell, 3 seeds: Scores over runs want the same examples and labels" in ended.stdout
    assert "No given label is known to be wrong" in ended.stdout  # of the last
    assert not list(tmp_path.glob("*.csv"))


def test_scores_at_a_step_read_no_later_evaluation(pair, run_module):
    table = make_score_table(pair[0], step=5)
    for name, values in compute_scores(pair[0].example_history(), last=2).items():
        assert np.array_equal(table[name], values)
    assert not set(PRESENTATION_SCORES) & set(table)
    ended = run_module("rethink.memorization", pair[0].folder, "--step=-1")
    assert ended.returncode == 2 and "--step=-1 is before the first evaluation" in ended.stderr


def test_a_row_of_the_table_is_in_every_table_of_scores(pair, run_module, monkeypatch):
    row = dynamics.Score(lambda history: history.loss.astype(float) ** 2, "high", "the square of -log p_y", "here")
    monkeypatch.setitem(SCORES, "squared_loss", row)
    table = make_score_table(pair[0])
    assert np.array_equal(table["squared_loss"], table["last_loss"] ** 2)
    assert "\nsquared_loss " in run_module("rethink.memorization", pair[0].folder).stdout
    assert "squared_loss" in pandas.read_csv(pair[0].folder / "scores.csv")


def test_a_run_without_a_record_of_examples_is_one_line(pair, run_module):
    (pair[0].folder / "examples_train.bin").unlink()
    with pytest.raises(UserError, match=r"no record of single examples: train it with --config.log.examples=all"):
        make_score_table(pair[0])
    ended = run_module("rethink.memorization", pair[0].folder)
    assert ended.returncode == 2 and "train with --config.log.examples=all" in ended.stderr
    assert "Left out: 1" in run_module("rethink.memorization", pair[0].folder.parent).stdout


def test_a_copy_of_a_run_is_no_other_seed(pair):
    assert [len(group) for group in group_by_seed(pair)] == [2]
    assert group_by_seed([pair[0], pair[0]]) == []


def test_records_of_some_evaluations_alone_have_no_scores(pair):
    run, _ = pair
    files.append_line(run.folder / "metrics.jsonl", {"kind": "evaluation", "step": 8})
    with pytest.raises(UserError, match="single examples of 4 of its 5 evaluations"):
        make_score_table(run)


def test_scores_are_written_without_jax(pair):
    program = "import sys, rethink.memorization.__main__ as it; print('jax' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"
