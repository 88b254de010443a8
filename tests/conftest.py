"""Fixtures that the tests of several rooms share."""

import os
import pathlib
import re

import pytest
from absl import flags

DEFAULT = str(pathlib.Path(__file__).parents[1] / "configs" / "digits_random.py")


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The directory of prepared TFDS sets beside the repository, or the one that RETHINK_TFDS names."""
    beside = pathlib.Path(__file__).parents[2] / "shared" / "tfds"
    folder = pathlib.Path(os.environ.get("RETHINK_TFDS", beside))
    if not folder.is_dir():
        pytest.skip(f"no prepared TFDS sets in {folder}; name a directory that has some with RETHINK_TFDS")
    return folder


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
        holder, rest = define_config(read_words(list(words)), DEFAULT)
        parse_flags(["main.py", *rest])
        return holder.value

    yield read
    without_flags()
