"""Fixtures that the tests of several rooms share."""

import os
import pathlib
import re
import runpy
import subprocess
import sys
import tempfile
import warnings

import pytest
from absl import flags


def pytest_configure(config):
    """Gives all tests, also those of other workers and processes, one new home, where they share compiled functions."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    home = tempfile.TemporaryDirectory(prefix="home-of-tests-")
    config.add_cleanup(home.cleanup)
    os.environ["HOME"] = home.name
    # From the first computation on: JAX does not turn to a cache that a later one, the run's, names.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{home.name}/.cache/rethink/xla"
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The directory of prepared TFDS sets beside the repository, or the one that RETHINK_TFDS names."""
    beside = pathlib.Path(__file__).parents[2] / "shared" / "tfds"
    folder = pathlib.Path(os.environ.get("RETHINK_TFDS", beside))
    if not folder.is_dir():
        pytest.skip(f"no prepared TFDS sets in {folder}; name a directory that has some with RETHINK_TFDS")
    return folder


@pytest.fixture
def run_module(monkeypatch, capsys):
    """run_module(name, *words) -> how `python -m name words` ends, in this process: a new one imports for seconds."""

    def run(name, *words):
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        capsys.readouterr()
        exit_code = 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # that the module is imported already
            try:
                runpy.run_module(name, run_name="__main__")
            except SystemExit as ended:
                exit_code = ended.code or 0
        return subprocess.CompletedProcess(words, exit_code, *capsys.readouterr())

    return run


def without_flags():
    """Forgets `--config` and its overrides."""
    for name in [name for name in flags.FLAGS if re.match(r"config(\.|$)", name)]:
        delattr(flags.FLAGS, name)


@pytest.fixture
def command():
    """Reads a command line, as main.py does, into a config."""
    from rethink.schema.flags import (
        define_config,
        parse_flags,
        read_words,  # and JAX, which not every test needs
    )

    def read(*words):
        without_flags()
        holder, rest = define_config(read_words(list(words)))
        parse_flags(["main.py", *rest])
        return holder.value

    yield read
    without_flags()
