"""What is built and installed elsewhere has the configs in it, hides nothing of the user's, and runs."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import rethink
from rethink.schema import validation

ROOT = pathlib.Path(__file__).parents[1]
USE = """
import os, pathlib, rethink, rethink.configs.base
assert os.path.dirname(rethink.__file__) == os.path.join(PLACE, "rethink"), rethink.__file__
assert rethink.configs.base.__file__.startswith(PLACE)
assert rethink.config("cifar_random:mlp_1x512").name == "cifar_random-mlp_1x512"
assert rethink.config("paper/table1").name == "table1"
try:
    import configs
except ModuleNotFoundError:
    print("as it should be")
"""


@pytest.mark.slow
def test_a_wheel_and_an_sdist_have_the_configs_and_run_where_they_are_installed(tmp_path):
    pytest.importorskip("setuptools")
    source, place, elsewhere = tmp_path / "source", tmp_path / "site", tmp_path / "elsewhere"
    for name in ("rethink", "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    build = "from setuptools import build_meta as build; build.build_wheel('..'); build.build_sdist('..')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    # All files, and no other top-level package.
    wheel, sdist = next(tmp_path.glob("*.whl")), next(tmp_path.glob("*.tar.gz"))
    wanted = {f"rethink/configs/{path.relative_to(ROOT / 'configs')}" for path in (ROOT / "configs").rglob("*.py")}
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        files.extractall(place)
    assert wanted <= names and {name.split("/")[0] for name in names if "dist-info" not in name} == {"rethink"}
    with tarfile.open(sdist) as archive:
        assert wanted <= {name.partition("/")[2] for name in archive.getnames()}
    # As in an environment of which `place` is the directory of packages.
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONSAFEPATH": "1"}
    code = f"PLACE = {str(place)!r}\n{USE}"
    used = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert used.stdout == "as it should be\n", used.stderr
    config = rethink.config("digits_random:mlp_tiny", **{"data.train_examples": 128, "train.total_epochs": 1})
    (elsewhere / "config.json").write_text(validation.to_json(config))
    worker = [sys.executable, "-m", "rethink.sweeps.worker", "config.json", "run"]
    ended = subprocess.run(worker, cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert json.loads((elsewhere / "run" / "manifest.json").read_text())["launches"][0]["commit"] is None


def test_the_configs_are_those_of_the_same_tree():
    assert (ROOT / "rethink" / "configs").resolve() == ROOT / "configs"
