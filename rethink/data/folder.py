"""Opens a folder of image files: split/class/file, class/file, or files with a metadata file.

What a file holds is told by its bytes; its name says only whether it is meant to be an image.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from ml_collections import ConfigDict

from rethink.data import decoding, folder_layout
from rethink.data.dataset import Dataset
from rethink.data.encoded import dataset_from_encoded
from rethink.schema import validation
from rethink.schema.errors import UserError, unreadable


def open_folder(location: str, config: ConfigDict) -> Dataset:
    """Returns the images of a folder, not read yet: "train" and "test", or "train" alone where it has no splits.

    An id is the position of an example among all files of its split, sorted by their paths, or among the rows of the
    metadata; it is the same whether files are bad or not.

    Args:
      location: the folder.
      config: the config section `data`.

    Raises:
      UserError: there is no such folder, its layout is none of those, files or labels can't be used, or images are of
        several sizes.
    """
    root = validation.expand_path(location, "data.name")
    if not location or not root.is_dir():
        raise UserError(f"data.name='{config.name}' is no folder: type folder:PATH, such as folder:data/pets.")
    where = f"data.name='{config.name}'"
    tree = folder_layout.walk(root)
    layout = folder_layout.find_layout(root, tree, where, config)
    images = {
        split: FolderImages(str(root), examples.paths, [tree.files.get(path) for path in examples.paths])
        for split, examples in layout.examples.items()
    }
    labels = {split: examples.labels for split, examples in layout.examples.items()}
    name = f"folder:{root.resolve().name}" + (f" ({', '.join(layout.split_names)})" if layout.split_names else "")
    return dataset_from_encoded(name, images, labels, layout.class_names, config)


@dataclasses.dataclass(frozen=True, eq=False)
class FolderImages:
    """The image files of a split, `EncodedImages`.

    Attributes:
      root: the folder.
      paths: relative to it.
      stamps: of each file, as of `cache.stamp`; None where there is none.
    """

    root: str
    paths: Sequence[str]
    stamps: Sequence[tuple[int, int, int] | None]

    @property
    def stamp(self) -> list[Any]:
        """JSON values that change when the files do, or which of them is in which row."""
        return [os.path.realpath(self.root), list(self.paths), list(self.stamps)]

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, row: int) -> str:
        """Returns the path of an image."""
        return self.paths[row]

    def openers(self, rows: Iterable[int]) -> Iterator[Callable[[], BinaryIO]]:
        """Yields what opens the file of each row; it raises a BadImageError where there was none.

        Raises:
          UserError: in what is yielded: the file can't be read, or is not there any more.
        """
        for row in rows:
            path = os.path.join(self.root, self.paths[row])
            yield functools.partial(_open_file, path) if self.stamps[row] else _refuse_missing


def _open_file(path: str) -> BinaryIO:
    try:
        return open(path, "rb", buffering=0)
    except PermissionError as error:
        raise unreadable(path, error) from error
    except OSError as error:
        raise UserError(f"{path} can't be read any more ({error.strerror}): bring it back, and start again.") from error


def _refuse_missing() -> BinaryIO:
    raise decoding.BadImageError("no such file")
