"""Fixtures that the tests of several rooms share."""

import os
import pathlib

import pytest


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The directory of prepared TFDS sets beside the repository, or the one that RETHINK_TFDS names."""
    beside = pathlib.Path(__file__).parents[2] / "shared" / "tfds"
    folder = pathlib.Path(os.environ.get("RETHINK_TFDS", beside))
    if not folder.is_dir():
        pytest.skip(f"no prepared TFDS sets in {folder}; name a directory that has some with RETHINK_TFDS")
    return folder
