"""Follows each section of docs/extending.md on a copy of the package, and nothing but it, and runs what it adds."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
EDIT = re.compile(
    r"^(?:A new file `(?P<new>[^`]+)`|In `(?P<file>[^`]+)`, (?P<where>above|below|instead of) `(?P<anchor>[^`]+)`):\n\n"
    r"```python\n(?P<code>.*?)```$",
    re.MULTILINE | re.DOTALL,
)
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", (ROOT / "docs/extending.md").read_text(), re.M | re.S))


@pytest.fixture
def package(tmp_path):
    """A copy of what a run needs."""
    folder = tmp_path / "package"
    for name in ("rethink", "configs"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True)
    shutil.copy(ROOT / "main.py", folder)
    return folder


@pytest.fixture
def run_main(package):
    """Runs the copy's main.py for an epoch of a few digits; returns its directory and what it printed."""

    def run(*words, config="digits_random.py:mlp_tiny"):
        small = ("data.train_examples=256", "train.total_epochs=1.0", "log.tensorboard=False")
        command = [sys.executable, "main.py", f"--config=configs/{config}", "--workdir=run"]
        command += [f"--config.{field}" for field in (*small, *words)]
        ended = subprocess.run(command, cwd=package, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
        return package / "run", ended.stdout

    return run


def follow(section, package):
    """Makes the edits of a section, and no other."""
    edits = list(EDIT.finditer(SECTIONS[section]))
    assert len(edits) == SECTIONS[section].count("```python")
    for edit in edits:
        if edit["new"]:
            (package / edit["new"]).write_text(edit["code"])
            continue
        path = package / edit["file"]
        lines = path.read_text().splitlines(keepends=True)
        at = next(number for number, line in enumerate(lines) if line.strip().startswith(edit["anchor"]))
        start, end = {"above": (at, at), "below": (at + 1, at + 1), "instead of": (at, at + 1)}[edit["where"]]
        path.write_text("".join([*lines[:start], edit["code"], *lines[end:]]))


def read_manifest(run):
    return json.loads((run / "manifest.json").read_text())


def read_evaluations(run):
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [row for row in rows if row["kind"] == "evaluation"]


@pytest.mark.slow
def test_a_data_set(package, run_main):
    rng = np.random.default_rng(0)
    labels, pixels = rng.integers(0, 3, (400, 1)), rng.integers(0, 256, (400, 36))
    np.savetxt(package / "mine.csv", np.hstack([labels, pixels]), "%d", ",", header="label,pixels")
    follow("A data set", package)
    run, _ = run_main("data.name=csv:mine.csv", config="digits_true.py:mlp_tiny")
    data = read_manifest(run)["data"]
    assert (data["name"], data["train_examples"], data["full_train_examples"]) == ("csv:mine.csv", 256, 320)
    with np.load(run / "corruption.npz") as arrays:
        assert np.array_equal(arrays["true_labels"], labels[arrays["ids"], 0])


def test_a_kind_of_label_noise(package, run_main):
    follow("A kind of label noise", package)
    run, _ = run_main("corruption.labels=neighbour", "corruption.label_probability=0.4")
    with np.load(run / "corruption.npz") as arrays:
        true, given, resampled = (arrays[name] for name in ("true_labels", "given_labels", "resampled"))
    assert 0.3 < resampled.mean() < 0.5
    assert np.array_equal(given != true, resampled)
    assert set(((given - true) % 10)[resampled]) == {1, 9}


@pytest.mark.slow
def test_a_model_of_your_own(package, run_main):
    follow("A model of your own", package)
    run, _ = run_main("model.name=my_net:MyNet")
    assert read_manifest(run)["parameters"] == (64 * 32 + 32) + (32 * 10 + 10)


@pytest.mark.slow
def test_a_model_with_a_name(package, run_main):
    follow("A model with a name", package)
    run, _ = run_main("data.name=digits", "preprocess.crop=8", config="cifar_true.py:small_conv")
    manifest = read_manifest(run)
    assert manifest["parameters"] == (9 * 8 + 8) + (9 * 8 * 16 + 16) + (16 * 10 + 10)
    assert manifest["config"]["optimizer.learning_rate"] == 0.05


@pytest.mark.slow
def test_a_metric(package, run_main):
    follow("A metric", package)
    run, printed = run_main()
    rows = read_evaluations(run)
    for row in rows:
        for split in ("train", "test"):  # the mean of exp(-loss) is no smaller than exp(-mean loss)
            assert np.exp(-row[f"{split}_loss"]) <= row[f"{split}_given_probability"] < 1
    assert rows[-1]["train_given_probability"] > rows[0]["train_given_probability"]
    assert "probability of the given label" in printed


def test_a_score(package):
    follow("A score", package)
    program = (
        "import numpy, rethink; logits = numpy.eye(3)[[[0, 0, 0], [0, 1, 0], [0, 1, 2], [0, 0, 1]]]\n"
        "print(rethink.score_history(logits, [0, 0, 0])['prediction_changes'].tolist())"
    )
    printed = subprocess.run([sys.executable, "-c", program], cwd=package, capture_output=True, text=True, check=True)
    assert printed.stdout == "[0.0, 2.0, 2.0]\n"


@pytest.mark.slow
def test_a_config_field(package, run_main):
    follow("A config field", package)
    run, _ = run_main("optimizer.name=adam", "axes=optimizer.first_moment_decay=0.0,0.9")
    slow, fast = (read_evaluations(run / f"first_moment_decay={decay}-seed0") for decay in (0.9, 0.0))
    assert slow[0] == fast[0] and slow[-1] != fast[-1]
    with pytest.raises(AssertionError, match=r"optimizer.first_moment_decay=1.5"):
        run_main("optimizer.name=adam", "optimizer.first_moment_decay=1.5")


@pytest.mark.parametrize("section", SECTIONS)
def test_the_edits_of_every_section_find_their_places(package, section):
    follow(section, package)
    for edit in EDIT.finditer(SECTIONS[section]):
        path = edit["new"] or edit["file"]
        compile((package / path).read_text(), path, "exec")


def test_every_section_has_its_test():
    tests = {name for name in globals() if name.startswith("test_")}
    assert {"test_" + name.lower().replace(" ", "_") for name in SECTIONS} <= tests
