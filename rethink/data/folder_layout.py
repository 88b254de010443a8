"""Finds the examples in a folder of image files: split/class/file, class/file, or the rows of a metadata file.

Opens no image.
"""

import logging
import os
import pathlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from rethink.data import cache, metadata
from rethink.data.arrays import SPLIT_NAMES
from rethink.schema.errors import UserError, unknown_name, unreadable

# Ends of names, in small letters.
IMAGE_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".apng"
}  # fmt: skip
NAMED = 3  # examples that a message names

_log = logging.getLogger(__name__)


class Tree(NamedTuple):
    """What a folder holds below it: path -> the `cache.stamp` of each file, and the folders; relative."""

    files: dict[str, tuple[int, int, int]]
    folders: list[str]


class Examples(NamedTuple):
    """The examples of a split, in the order of their ids: path and raw label of each."""

    paths: list[str]
    labels: list[Any]


class Layout(NamedTuple):
    """Examples of "train" and "test", or of "train" alone; their names in the folder; the classes that it declares."""

    examples: dict[str, Examples]
    split_names: tuple[str, ...]
    class_names: tuple[str, ...]


def walk(root: pathlib.Path) -> Tree:
    """Returns what a folder holds, but for hidden files and folders and __MACOSX; links are followed.

    Raises:
      UserError: a folder can't be read, is in itself by a link, or a name is no UTF-8.
    """
    tree = Tree({}, [])

    def walk(folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> None:
        status = os.stat(folder)
        place = (status.st_dev, status.st_ino)
        if place in above:
            raise UserError(f"{folder} is a link to a folder that it is in: take the link out of the data set.")
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                path = prefix + entry.name
                if not path.isprintable() and any(0xD800 <= ord(sign) < 0xE000 for sign in path):
                    raise UserError(f"{folder} has a file {entry.name!r}, whose name is no UTF-8: rename it.")
                if entry.is_dir():
                    tree.folders.append(path)
                    walk(entry.path, f"{path}/", (*above, place))
                elif entry.is_file():
                    tree.files[path] = cache.stamp(entry.stat())

    try:
        walk(str(root), "", ())
    except OSError as error:
        raise unreadable(str(error.filename or root), error) from error
    tree.folders.sort()
    return tree


def _is_image(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


def find_layout(root: pathlib.Path, tree: Tree, where: str, config: ConfigDict) -> Layout:
    """Returns the examples of each split, by the metadata of the folder, or by those of its splits, or by folders.

    Raises:
      UserError: the folder has none of these layouts, or lacks a split.
    """
    if file := metadata.find_metadata(root):
        return _read_root_metadata(file, tree, where, config)
    in_splits = {path.partition("/")[2] for path in tree.files} & {*metadata.NAMES}
    if config.label_column != "label" and not in_splits:
        raise UserError(
            f"data.label_column='{config.label_column}' has no effect on {where}, which has no metadata: leave it at "
            "'label'."
        )
    # A split holds metadata or folders. A folder that holds images by itself is a class, but for two with the names of
    # splits that hold images in folders, too.
    with_metadata = {path.partition("/")[0] for path in tree.files if path.partition("/")[2] in metadata.NAMES}
    with_images = {path.partition("/")[0] for path in tree.files if path.count("/") == 1 and _is_image(path)}
    with_folders = {path.partition("/")[0] for path in tree.folders if path.count("/") == 1}
    with_deep = {path.partition("/")[0] for path in tree.files if path.count("/") > 1 and _is_image(path)}
    certain = with_metadata | (with_folders - with_images)
    names = _find_splits(sorted(certain | with_deep), where, config, may_lack_one=True)
    names = names or _find_splits(sorted(certain), where, config)
    if not names:
        classes, examples = _read_class_folders(tree, [""], where)
        return Layout({"train": examples[0]}, (), classes)
    files = {split: file for split, name in names.items() if (file := metadata.find_metadata(root / name))}
    if len(files) == len(names):
        return _read_split_metadata(files, names, tree, where, config)
    if files:
        (lacking,) = (name for split, name in names.items() if split not in files)
        raise UserError(f"{where}: '{lacking}' has no {' or '.join(metadata.NAMES)}, as the other split has: add it.")
    classes, parts = _read_class_folders(tree, [f"{name}/" for name in names.values()], where)
    return Layout(dict(zip(names, parts, strict=True)), tuple(names.values()), classes)


def _find_splits(names: Sequence[str], where: str, config: ConfigDict, may_lack_one: bool = False) -> dict[str, str]:
    """Returns "train" and "test" -> their names among `names`; {} where neither is there and none was asked for.

    Args:
      may_lack_one: whether one of them by itself is no split.

    Raises:
      UserError: one of them is not there.
    """
    exact = {name.casefold(): name for name in names} | {name: name for name in names}
    found: dict[str, str] = {}
    for split, usual in SPLIT_NAMES.items():
        wanted = config[f"{split}_split"]
        given = [exact[name] for name in (usual if wanted == usual[0] else (wanted,)) if name in exact]
        if free := [name for name in given if name not in found.values()]:
            found[split] = free[0]
        elif wanted != usual[0]:
            raise UserError(unknown_name(f"data.{split}_split", wanted, names or ["(no splits)"]))
    if len(found) == 2 or not found or may_lack_one:
        return found if len(found) == 2 else {}
    ((split, name),) = found.items()
    lacking = "test" if split == "train" else "train"
    raise UserError(
        f"{where} has a split '{name}' and none to {lacking} with (there: {', '.join(names)}): set "
        f"--config.data.{lacking}_split to the name of that one, or open '{name}' by itself."
    )


def _read_class_folders(tree: Tree, prefixes: list[str], where: str) -> tuple[tuple[str, ...], list[Examples]]:
    """Returns the classes, which are the folders in all `prefixes` together, sorted; and the examples of each prefix.

    An empty folder is a class too, so that the numbers of the others don't depend on what it holds. Names are equal
    whatever the form of their accents.

    Raises:
      UserError: a prefix holds no images in class folders, or only such as lie deeper; or there is one class.
    """
    classes: set[str] = set()
    for prefix in prefixes:
        inside = (path[len(prefix) :] for path in tree.folders if path.startswith(prefix))
        classes.update(metadata.compose(path) for path in inside if "/" not in path)
    number = {name: place for place, name in enumerate(sorted(classes))}
    parts = []
    for prefix in prefixes:
        images = sorted(path for path in tree.files if path.startswith(prefix) and _is_image(path))
        paths = [path for path in images if "/" in path[len(prefix) :]]
        parts_of = [path[len(prefix) :].split("/") for path in paths]
        folder = f"{where}, folder '{prefix}'" if prefix else where
        if not paths:
            raise UserError(
                f"{folder} has no images in class folders ({_describe_files(tree, prefix)}): give each class a folder "
                f"of its images ({', '.join(sorted(IMAGE_SUFFIXES))}), or add metadata.csv with the columns file_name "
                "and label."
            )
        if all(len(names) > 2 for names in parts_of):
            raise UserError(
                f"{folder} has folders ({name_some(sorted(classes))}) that hold folders alone, so that they may be "
                "splits: set --config.data.train_split and --config.data.test_split to two of them, or open one alone."
            )
        if len(paths) < len(images):
            stray = [path for path in images if "/" not in path[len(prefix) :]]
            _log.warning("%s: %d images in no class folder are left out (%s).", folder, len(stray), name_some(stray))
        parts.append(Examples(paths, [number[metadata.compose(names[0])] for names in parts_of]))
    if len(number) < 2:
        raise UserError(
            f"{where} has one class, the folder '{next(iter(number))}': give each class a folder of its own, or, if a "
            "table tells the classes, name it metadata.csv, with columns file_name and label."
        )
    used = {label for part in parts for label in part.labels}
    if empty := [name for name, place in number.items() if place not in used]:
        _log.warning("%s: %d classes have no images (%s).", where, len(empty), name_some(empty))
    _mention_other_files(tree, where)
    return tuple(number), parts


def _describe_files(tree: Tree, prefix: str) -> str:
    """Returns how many files of which endings a folder holds."""
    counts = Counter(os.path.splitext(path)[1].lower() or "none" for path in tree.files if path.startswith(prefix))
    return ", ".join(f"{count:,} files {suffix}" for suffix, count in counts.most_common(5)) or "no files"


def _mention_other_files(tree: Tree, where: str) -> None:
    """Logs the files that are no images by their names, such as those of a format that is not read."""
    others = [path for path in tree.files if not _is_image(path)]
    if others:
        _log.info("%s: %d files are no images by their names (%s).", where, len(others), name_some(sorted(others)))


# Metadata.


def _read_root_metadata(file: pathlib.Path, tree: Tree, where: str, config: ConfigDict) -> Layout:
    """Returns the examples of a metadata file of the whole folder.

    Their splits are those of the column `split`; without one, the folders in which the files are where these are named
    as splits; else there are none.
    """
    rows = metadata.read_metadata(file, config.label_column)
    finder = metadata.PathFinder(tree.files)
    paths = [finder.find(row, "") for row in rows]
    if unsplit := [row for row in rows if row.split is None]:
        if len(unsplit) < len(rows):
            raise UserError(f"{unsplit[0].where} has no split, as others have: give it one, such as train or test.")
        folders = [path.rpartition("/")[0].partition("/")[0] for path in paths]
        rows = [row._replace(split=folder) for row, folder in zip(rows, folders, strict=True)]
        names = _find_splits(sorted({*folders} - {""}), where, config, may_lack_one=len(set(folders)) == 1)
    else:
        found = sorted({row.split or "" for row in rows})
        names = _find_splits(found, where, config)
        if not names:
            raise UserError(
                f"{where} has the splits {name_some(found)} in {file.name}: set --config.data.train_split and "
                "--config.data.test_split to two of these."
            )
    return _collect_rows(list(zip(rows, paths, strict=True)), names, tree, where)


def _read_split_metadata(
    files: dict[str, pathlib.Path], names: dict[str, str], tree: Tree, where: str, config: ConfigDict
) -> Layout:
    """Returns the examples of one metadata file in the folder of each split."""
    finder = metadata.PathFinder(tree.files)
    rows = [
        (row._replace(split=names[split]), finder.find(row, names[split]))
        for split, file in files.items()
        for row in metadata.read_metadata(file, config.label_column)
    ]
    return _collect_rows(rows, names, tree, where)


def _collect_rows(rows: list[tuple[metadata.Row, str]], names: dict[str, str], tree: Tree, where: str) -> Layout:
    """Returns the examples that rows stand for, by splits, or all of them as "train" where there are no `names`.

    Args:
      rows: with the paths of their files.

    Raises:
      UserError: two rows give one file different labels.
    """
    examples: dict[str, Examples] = {split: Examples([], []) for split in names or ("train",)}
    split_of = {name: split for split, name in names.items()}
    first_rows: dict[str, metadata.Row] = {}
    left_out = []
    for row, path in rows:
        first = first_rows.setdefault(path, row)
        if first.label != row.label:
            raise UserError(
                f"{row.where} gives '{path}' the label {row.label!r}, and {first.where} gives it {first.label!r}: "
                "leave one of them out."
            )
        if split := split_of.get(row.split or "") if names else "train":
            examples[split].paths.append(path)
            examples[split].labels.append(row.label)
        else:
            left_out.append(row.file_name)
    if left_out:
        _log.warning("%s: %d rows are of no split that is used (%s).", where, len(left_out), name_some(left_out))
    unlisted = sorted(path for path in tree.files if path not in first_rows and _is_image(path))
    if unlisted:
        _log.warning("%s: %d images are in no row and left out (%s).", where, len(unlisted), name_some(unlisted))
    return Layout(examples, tuple(names.values()), ())


def name_some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
