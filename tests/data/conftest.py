"""A small TFDS set on disk that several test modules read."""

import pytest
from data_sets import write_set


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A directory with the set `tiny`; tests leave it as it is."""
    root = tmp_path_factory.mktemp("tfds")
    write_set(root, shards=3)
    return root
