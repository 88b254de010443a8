"""Downloads a TFDS data set, checks the files and writes them as array_record, before its first use.

A file is refused if its checksum is not the one that TFDS has registered. Nothing is unpickled. data/tfds.py reads the
result.
"""

import contextlib
import errno
import functools
import io
import logging
import os
import pathlib
import sys
import tarfile
import urllib.error
import urllib.parse
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from rethink.data import idx
from rethink.schema.errors import UserError, unknown_name

Examples = Iterator[tuple[int, dict[str, Any]]]  # (key, features); TFDS stores them in the order of the hashed keys

# The two binary versions of CIFAR: the files of each split; the file of class names of each label, in a record's order.
CIFAR_FILES = {
    "cifar10": {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
    "cifar100": {"train": ["train.bin"], "test": ["test.bin"]},
}
CIFAR_NAMES = {
    "cifar10": {"label": "batches.meta.txt"},
    "cifar100": {"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"},
}
MNIST_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
RETRIES = 3  # these take 1 second in all; the 10 of TFDS take 200
TIMEOUT_SECONDS = (10, 60)  # to connect, and between two pieces of a file; TFDS has none


def _read_cifar(builder, dl_manager) -> dict[str, Examples]:
    """Returns the examples of each split of `builder`, CIFAR-10 or CIFAR-100, and sets its class names."""
    (url,) = builder.url_infos
    with tarfile.open(dl_manager.download(url)) as archive:
        files = {os.path.basename(info.name): file.read() for info in archive if (file := archive.extractfile(info))}
    names = CIFAR_NAMES[builder.name]
    for label, names_file in names.items():
        builder.info.features[label].names = files[names_file].decode().split()
    return {
        split: _cifar_examples(split, b"".join(files[file] for file in split_files), list(names))
        for split, split_files in CIFAR_FILES[builder.name].items()
    }


def _cifar_examples(split: str, records: bytes, labels: list[str]) -> Examples:
    """Yields the examples in `records`: one byte for each of `labels`, then the image, uint8 [3, 32, 32]."""
    rows = np.frombuffer(records, np.uint8).reshape(-1, len(labels) + 3 * 32 * 32)
    images = rows[:, len(labels) :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    for index, (row, image) in enumerate(zip(rows, images, strict=True)):
        values = {label: int(value) for label, value in zip(labels, row, strict=False)}
        yield index, {"id": f"{split}_{index:05d}", "image": Image.fromarray(image), **values}


def _read_mnist(builder, dl_manager) -> dict[str, Examples]:
    """Returns the examples of each split of `builder`, MNIST or Fashion-MNIST."""
    paths = dl_manager.download({url.rsplit("/", 1)[1]: url for url in builder.url_infos})
    return {split: _mnist_examples(paths[images], paths[labels]) for split, (images, labels) in MNIST_FILES.items()}


def _mnist_examples(images_path, labels_path) -> Examples:
    """Yields the examples of a file of images, uint8 [examples, 28, 28], and a file of labels, uint8 [examples]."""
    for index, (image, label) in enumerate(zip(idx.read_idx(images_path), idx.read_idx(labels_path), strict=True)):
        yield index, {"image": Image.fromarray(image), "label": int(label)}


READERS = {"cifar10": _read_cifar, "cifar100": _read_cifar, "mnist": _read_mnist, "fashion_mnist": _read_mnist}


def download_and_prepare(name: str, data_dir: str) -> pathlib.Path:
    """Returns the directory of `name` below `data_dir`: downloaded and written as TFDS array_record, if it is not yet.

    The result is what TFDS itself prepares: same directory, features, class names and order of examples. The sets in
    `READERS` need no TensorFlow; most others do. The directory of the data set appears in one rename, so a preparation
    that fails or is killed is never taken for a finished one.

    Args:
      name: as TFDS has it, such as "cifar10" or "name/config:1.0.0".
      data_dir: directory of prepared TFDS sets; it is created if needed.

    Raises:
      UserError: the name is unknown, there is no network, a file is not the registered one, TensorFlow is missing,
        files must be downloaded by hand, or the directory cannot be written or holds an unfinished copy.
    """
    import tensorflow_datasets as tfds  # here, as it takes half a second

    data_dir = os.path.expanduser(data_dir)
    # Find the builder; what it has prepared before is used as it is.
    with quiet_tfds():
        try:
            builder = tfds.builder(name, data_dir=data_dir)
        except (ValueError, AssertionError) as error:
            rest = "These need no TensorFlow; any other TFDS image classification set works too."
            raise UserError(f"{unknown_name('data.name', name, READERS)} {rest}") from error
        if builder.is_prepared():
            return pathlib.Path(builder.data_dir)

    # The sets of READERS are read here in place of TFDS's own code, which needs TensorFlow.
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    size = ""
    if builder.name in READERS:
        builder._split_generators = functools.partial(READERS[builder.name], builder)
        config.force_checksums_validation = True
        config.manual_dir = _manual_dir(builder)
        size = f"; downloads {sum(info.size for info in builder.url_infos.values()) / 2**20:.0f} MiB"

    print(f"Preparing {name} in {data_dir} (first use{size})", flush=True)
    with quiet_tfds():
        try:
            builder.download_and_prepare(download_config=config, file_format="array_record")
        except Exception as error:
            if builder.is_prepared():  # another process was faster
                return pathlib.Path(builder.data_dir)
            message = _explain_error(error, builder)
            if message is None:
                raise
            raise UserError(f"data.name='{name}' {message}") from error
        if not builder.is_prepared():  # TFDS touches no directory that is already there
            raise UserError(
                f"data.name='{name}' is an unfinished copy in {builder.data_dir}: finish it, or move it away."
            )
    return pathlib.Path(builder.data_dir)


def _manual_dir(builder) -> str:
    """Returns the directory where TFDS looks for original files before it downloads them.

    Each set has its own, as both MNISTs name their files alike.
    """
    return os.path.join(builder.data_dir_root, "downloads", "manual", builder.name)


def _explain_error(error: Exception, builder) -> str | None:
    """Returns the end of a line: what went wrong and what to do; None for an error that the user can't mend."""
    import requests
    from tensorflow_datasets.core.download import DownloadError
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    first_line = str(error).partition("\n")[0].rstrip(":")
    if isinstance(error, NonMatchingChecksumError):
        return f"is refused: {first_line}; remove that file and run again."
    if isinstance(error, requests.RequestException | urllib.error.URLError | DownloadError):
        return _explain_network(error, first_line, builder)
    if any(isinstance(cause, ImportError) and cause.name == "tensorflow" for cause in iterate_causes(error)):
        return "needs TensorFlow to be prepared: pip install -e '.[tf]'"
    if isinstance(error, AssertionError) and builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        return f"has files that you must download yourself: {' '.join(str(error).split())}"
    # array_record reports a full disk as a RuntimeError.
    disk_full = any(os.strerror(code) in first_line for code in (errno.ENOSPC, errno.EDQUOT))
    if disk_full or isinstance(error, OSError):
        where = f"could not be written in {builder.data_dir_root} ({first_line})"
        return f"{where}: make space there or allow writing, or point --config.data.dir at another directory."
    return None


def _explain_network(error: Exception, first_line: str, builder) -> str:
    """Returns the end of the line for a download that failed: where, why, and what the user can do."""
    request = getattr(error, "request", None)
    reason = f"{type(error).__name__} at {urllib.parse.urlsplit(request.url).hostname}" if request else first_line
    by_hand = ""
    if builder.name in READERS:
        files = ", ".join(info.filename for info in builder.url_infos.values())
        by_hand = f"put {files} into {_manual_dir(builder)}, or "
    return (
        f"is not prepared in {builder.data_dir_root} and could not be downloaded ({reason}): connect to a network and "
        f"run again, or {by_hand}copy a prepared TFDS directory there, or point --config.data.dir at one."
    )


def iterate_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields the error, the one that it was raised from, and so on back to the first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Silences TFDS and what it uses, shows progress bars on a terminal only, and sets the timeouts above."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    # Never set back: threads that still retry outlive the failure of the first one.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    absl = logging.getLogger("absl")
    level, retries, open_url = absl.level, downloader.MAX_RETRIES, downloader._open_url
    tfds.display_progress_bar(sys.stderr.isatty())
    try:
        absl.setLevel(logging.ERROR)
        downloader.MAX_RETRIES = RETRIES
        downloader._open_url = functools.partial(open_url, timeout=TIMEOUT_SECONDS)
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        downloader.MAX_RETRIES, downloader._open_url = retries, open_url
        absl.setLevel(level)
