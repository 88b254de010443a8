"""Opens parquet files in Hugging Face's layout: a column of encoded images and one of labels, in shards of a split.

Needs pyarrow, of the extra `parquet`, which functions import. `datasets` is not needed.
"""

import collections
import contextlib
import functools
import io
import json
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from ml_collections import ConfigDict

from rethink.data import cache, decoding
from rethink.data.arrays import choose_splits
from rethink.data.dataset import Dataset
from rethink.data.encoded import dataset_from_encoded
from rethink.data.folder_layout import walk
from rethink.schema import validation
from rethink.schema.errors import UserError, exists, unreadable

KEPT_BYTES = 2**28  # of the row groups that were read last, in each process
SHARD = re.compile(r"(?P<split>.*)[-_.](?P<index>\d+)-of-(?P<shards>\d+)(?:[-_.].*)?")  # train-00000-of-00002
PART = re.compile(r"(part[-_.]?)?\d+(-[0-9a-f-]+)?(\.\w+)*")  # part-0-0a1b.snappy, 0000: says nothing of the split
SPLITS = ("train", "test", "validation", "val")  # names of splits, whatever folder such a file is in


def open_parquet(location: str, config: ConfigDict) -> Dataset:
    """Returns the splits of a parquet file, or of a folder with the shards of each split, not read yet.

    The files of a split are SPLIT.parquet, SPLIT-00000-of-00002.parquet and so on, or those of a folder SPLIT, wherever
    below the location; where all files are of one split, it is that to train on, whatever its name. Images are in a
    column of bytes or of {bytes, path}. An id is the position of a row in the files of its split, sorted by paths.

    Args:
      location: of the file or the folder.
      config: the config section `data`.

    Raises:
      UserError: pyarrow is not installed; a file is not there, can't be read or is damaged; a split or a column is not
        there; or images or labels can't be used.

    Source: the layout of image data sets on the Hugging Face Hub.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise UserError(f"data.name='{config.name}' needs pyarrow: pip install -e '.[parquet]'") from None
    where = f"data.name='{config.name}'"
    images, labels, declared = {}, {}, set()
    for split, files in _find_splits(location, config).items():
        images[split], labels[split], names = _read_columns(files, f"{where}, split '{split}'", config)
        declared.add(names)
    if len(declared) > 1:
        raise UserError(f"{where} declares other classes in each split: write all splits from one data set.")
    (class_names,) = declared
    name = f"parquet:{validation.expand_path(location, 'data.name').resolve().name}"
    return dataset_from_encoded(name, images, labels, class_names, config)


class ParquetImages:
    """The encoded images of some parquet files, `EncodedImages`; pickled, it holds no open file.

    Attributes:
      files: in the order of the rows.
      paths: of the images, as the files have them; () where they have none.
    """

    def __init__(
        self,
        files: Sequence[pathlib.Path],
        column: tuple[str, ...],
        groups: Sequence[tuple[int, int, int]],
        paths: Sequence[str],
    ):
        """Takes the name of the column and of its field in a struct, and (file, row group, rows) of each group."""
        self.files, self.paths = tuple(files), paths
        self._column, self._groups = column, tuple(groups)
        self._starts = np.cumsum([0, *(rows for _, _, rows in groups)])
        self._kept: collections.OrderedDict[int, Any] = collections.OrderedDict()

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def stamp(self) -> list[Any]:
        """JSON values that change when the files do."""
        return [self._column, cache.stamp_files(self.files)]

    def name(self, row: int) -> str:
        """Returns the file of an image, its row in it, and its path if it has one."""
        file, _, _ = self._groups[int(np.searchsorted(self._starts, row, side="right")) - 1]
        first = self._starts[[number for number, _, _ in self._groups].index(file)]
        path = f" ({self.paths[row]})" if self.paths and self.paths[row] else ""
        return f"{self.files[file].name}, row {row - first}{path}"

    def openers(self, rows: Iterable[int]) -> Iterator[Callable[[], BinaryIO]]:
        """Yields what opens the image of each row, which raises a BadImageError where there is none.

        Each row group is read once where rows ascend; the last ones are kept.
        """
        for row in rows:
            group = int(np.searchsorted(self._starts, row, side="right")) - 1
            encoded = self._read_group(group)[row - int(self._starts[group])].as_py()
            yield functools.partial(_open_bytes, encoded)

    def _read_group(self, group: int) -> Any:
        """Returns the images of a row group as an Arrow array of bytes."""
        if group not in self._kept:
            file, index, _ = self._groups[group]
            with read_parquet(self.files[file]) as parquet:
                self._kept[group] = _read_column(parquet, self._column, [index])
            while len(self._kept) > 1 and sum(values.nbytes for values in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(group)
        return self._kept[group]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_kept": collections.OrderedDict()}


def _open_bytes(encoded: bytes | None) -> BinaryIO:
    if encoded is None:
        raise decoding.BadImageError("no bytes")
    return io.BytesIO(encoded)


# Which files are of which split.


def _find_splits(location: str, config: ConfigDict) -> dict[str, list[pathlib.Path]]:
    """Returns "train" and, where there is one, "test" -> their files, sorted.

    Raises:
      UserError: there are none for a split, or not all of them.
    """
    where = f"data.name='{config.name}'"
    root = validation.expand_path(location, "data.name")
    if not location or not exists(root):
        raise UserError(f"{where}: there is no {location or 'location'}: type parquet:FILE, or parquet:FOLDER.")
    below = sorted(path for path in walk(root).files if path.endswith(".parquet")) if root.is_dir() else [root.name]
    if not below:
        raise UserError(f"{where}: {location} has no file *.parquet: type parquet:FOLDER with some in it.")
    found: dict[str, list[pathlib.Path]] = {}
    for path in map(pathlib.Path, below):
        found.setdefault(_split_of(path, config), []).append(root / path if root.is_dir() else root)
    if len(found) == 1 and config.train_split not in found and not (root.is_dir() and config.test_split in found):
        found = dict(zip(["train"], found.values(), strict=True))
    chosen = choose_splits(list(found), config)
    for split in chosen.values():
        _check_shards(found[split], f"{where}, split '{split}'")
    return {role: found[split] for role, split in chosen.items()}


def _split_of(path: pathlib.Path, config: ConfigDict) -> str:
    """Returns the split that a file is of, by its path below the location: by its name, without shards, or folder."""
    shard = SHARD.fullmatch(path.stem)
    name = shard["split"] if shard else "data" if PART.fullmatch(path.stem) else path.stem
    folder = path.parent.name
    if name in (*SPLITS, config.train_split, config.test_split) or folder in ("", "data"):
        return name
    return folder


def _check_shards(files: list[pathlib.Path], where: str) -> None:
    """Checks that the files are those of one data set, and all of them."""
    folders = sorted({str(file.parent) for file in files})
    if len(folders) > 1:
        raise UserError(
            f"{where} has files in {len(folders)} folders: choose one, such as --config.data.name=parquet:{folders[0]}"
        )
    shards = [match for file in files if (match := SHARD.fullmatch(file.stem))]
    count = int(shards[0]["shards"]) if shards else 0
    numbers = sorted((int(match["index"]), int(match["shards"])) for match in shards)
    if shards and (numbers != [(index, count) for index in range(count)] or len(files) != count):
        raise UserError(
            f"{where} has {len(files)} files in {folders[0]}, and {shards[0][0]}.parquet is one of {count}: "
            f"give a folder with each of 0 to {count - 1} once."
        )


# What is in a file.


def _read_columns(
    files: list[pathlib.Path], where: str, config: ConfigDict
) -> tuple[ParquetImages, Any, tuple[str, ...]]:
    """Returns the images of a split, not read; its labels; and the names of the classes that the files declare.

    Raises:
      UserError: a file is damaged, or has not the columns of the others.
    """
    import pyarrow as pa

    groups, labels, paths = [], [], []
    forms = set()
    for number, file in enumerate(files):
        with read_parquet(file) as parquet:
            schema = parquet.schema_arrow
            if config.label_column not in schema.names:
                raise UserError(
                    f"{where}, {file.name} has no column data.label_column='{config.label_column}': set it to one of "
                    f"{', '.join(schema.names)}."
                )
            column = _find_image_column(schema, f"{where}, {file.name}", config.image_column)
            has_paths = len(column) > 1 and schema.field(column[0]).type.get_field_index("path") >= 0
            forms.add((column, has_paths, _find_class_names(schema, config.label_column)))
            labels.append(_read_column(parquet, (config.label_column,)))
            if has_paths:
                paths += _read_column(parquet, (column[0], "path")).fill_null("").to_pylist()
            metadata = parquet.metadata
            groups += [(number, group, metadata.row_group(group).num_rows) for group in range(parquet.num_row_groups)]
    if len(forms) > 1:
        raise UserError(f"{where} has files of several schemas: write all of them from one data set.")
    ((column, _, class_names),) = forms
    try:
        given = pa.chunked_array(labels)
    except pa.ArrowException:
        raise UserError(f"{where} has labels of several types: write all its files from one data set.") from None
    numeric = pa.types.is_integer(given.type) or pa.types.is_floating(given.type)
    raw = given.to_numpy() if numeric and not given.null_count else given.to_pylist()
    return ParquetImages(files, column, groups, paths if any(paths) else ()), raw, class_names


def _find_image_column(schema: Any, where: str, name: str) -> tuple[str, ...]:
    """Returns the name of the column of images, and of the field of its bytes where it is a struct.

    Args:
      name: of the column; "" for the only one that may hold images.

    Raises:
      UserError: there is no such column, or more than one.
    """
    import pyarrow as pa

    def is_bytes(kind: Any) -> bool:
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    found: dict[str, tuple[str, ...]] = {field.name: (field.name,) for field in schema if is_bytes(field.type)}
    for field in schema:
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            if is_bytes(field.type.field("bytes").type):
                found[field.name] = (field.name, "bytes")
    if name in found or (not name and len(found) == 1):
        return found[name or next(iter(found))]
    problem = f"has no images in data.image_column='{name}'" if name else f"has {len(found)} columns of images"
    columns = ", ".join(f"{field.name} of {field.type}" for field in schema)
    raise UserError(
        f"{where} {problem}: set --config.data.image_column to one of bytes or of {{bytes, path}} (there: {columns})."
    )


def _find_class_names(schema: Any, column: str) -> tuple[str, ...]:
    """Returns the names of the classes that the schema's metadata declare for a column; () where they don't."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(map(str, features[column]["names"]))
    except (KeyError, TypeError, ValueError):
        return ()


def _read_column(parquet: Any, column: tuple[str, ...], groups: Sequence[int] | None = None) -> Any:
    """Returns a column, or a field of a struct, of a file or of some of its row groups, as one Arrow array."""
    import pyarrow as pa
    from pyarrow import compute

    groups = range(parquet.num_row_groups) if groups is None else groups
    values = parquet.read_row_groups(groups, columns=[".".join(column)], use_threads=False).column(0).combine_chunks()
    rows = sum(parquet.metadata.row_group(group).num_rows for group in groups)
    if len(values) != rows:
        raise ValueError(f"{len(values)} values of {'.'.join(column)} for {rows} rows")
    for field in column[1:]:
        values = compute.struct_field(values, field)
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


@contextlib.contextmanager
def read_parquet(path: pathlib.Path) -> Iterator[Any]:
    """Opens a file as a `pyarrow.parquet.ParquetFile`.

    Raises:
      UserError: it may not be read, or is damaged, which may show only when the body reads it.
    """
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (UserError, MemoryError):
        raise
    except PermissionError as error:
        raise unreadable(str(path), error) from error
    except Exception as error:  # on damaged bytes anything: ArrowInvalid, OSError, UnicodeDecodeError, ...
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise UserError(f"{path} is no whole parquet file ({reason}): bring it back from a copy.") from error
