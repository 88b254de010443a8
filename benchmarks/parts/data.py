"""The copy of the data that PyTorch trains on: made once for all parts of the benchmark."""

import pathlib

from benchmarks import workers
from benchmarks.parts.settings import Settings


def copied(settings: Settings) -> str:
    """Returns the folder of images and random labels."""
    folder = pathlib.Path(settings.folder, "data")
    if not folder.exists():
        folder.mkdir()
        options = {"data_dir": settings.data_dir, "examples": settings.examples}
        with workers.worker("benchmarks.ours.data", **options) as ours:
            ours.ask("copy", folder=str(folder))
    return str(folder)
