"""Tests the preparation of small sets in the original formats, through TFDS's own download manager and reader."""

import gzip
import http.server
import importlib.machinery
import io
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import hashing
from tensorflow_datasets.core.download import checksums

from rethink.data import download
from rethink.schema.errors import UserError

SETS = ("cifar10", "cifar100", "mnist", "fashion_mnist")
SIZES = {"train": 15, "test": 4}
CLOSED_PORT = "http://127.0.0.1:9"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class FinderWithoutTensorFlow(importlib.machinery.PathFinder):
    """Finds every installed module but TensorFlow."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "tensorflow" else super().find_spec(name, path, target)


@pytest.fixture(autouse=True)
def _no_tensorflow_and_no_network(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    without = {importlib.machinery.PathFinder: FinderWithoutTensorFlow}
    monkeypatch.setattr(sys, "meta_path", [without.get(finder, finder) for finder in sys.meta_path])
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", CLOSED_PORT)
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", CLOSED_PORT)
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)


def make_cifar(folder, name):
    """Writes the archive of a tiny CIFAR and returns its examples, in the order of the archive."""
    rng = np.random.default_rng(0)
    labels = {"cifar10": {"label": 10}, "cifar100": {"coarse_label": 20, "label": 100}}[name]
    top = {"cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary"}[name]
    batches = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
    files = {"cifar10": batches, "cifar100": {"train": ["train.bin"], "test": ["test.bin"]}}[name]
    content, examples = {"readme.html": b"not data"}, {}
    for split, split_files in files.items():
        images = rng.integers(0, 256, (SIZES[split], 32, 32, 3), dtype=np.uint8)
        given = {label: rng.integers(0, count, SIZES[split]) for label, count in labels.items()}
        planes = images.transpose(0, 3, 1, 2).reshape(SIZES[split], -1)
        records = np.column_stack([*given.values(), planes]).astype(np.uint8)
        for file, part in zip(split_files, np.split(records, len(split_files)), strict=True):
            content[file] = part.tobytes()
        examples[split] = [
            {"id": f"{split}_{i:05d}".encode(), "image": images[i], **{label: given[label][i] for label in labels}}
            for i in range(SIZES[split])
        ]
    content["batches.meta.txt"] = ("\n".join(CLASSES) + "\n\n").encode()
    content["fine_label_names.txt"] = "".join(f"fine_{i}\n" for i in range(100)).encode()
    content["coarse_label_names.txt"] = "".join(f"coarse_{i}\n" for i in range(20)).encode()
    with tarfile.open(folder / f"cifar-{name[5:]}-binary.tar.gz", "w:gz") as archive:
        for file, data in reversed(content.items()):  # the order of the archive is not the order of the files' names
            info = tarfile.TarInfo(f"{top}/{file}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return examples


def make_mnist(folder, name):
    """Writes the four files of a tiny MNIST and returns its examples."""
    rng = np.random.default_rng(len(name))
    examples = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = rng.integers(0, 256, (SIZES[split], 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, SIZES[split]).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
        examples[split] = [
            {"image": image[..., None], "label": label} for image, label in zip(images, labels, strict=True)
        ]
    return examples


def make_originals(folder, name):
    folder.mkdir(parents=True)
    return (make_cifar if name.startswith("cifar") else make_mnist)(folder, name)


def register(folder, name, setitem):
    """Replaces the registered checksums of `name` by those of the files in `folder`."""
    url_infos = tfds.builder_cls(name).url_infos
    for url in list(url_infos):
        setitem(url_infos, url, checksums.compute_url_info(folder / url.rsplit("/", 1)[1]))


def downloaded(data_dir, name):
    """Where a user may put original files, as if they were downloaded."""
    return data_dir / "downloads" / "manual" / name


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """Makes tiny originals of a set, downloaded by hand and registered, and returns their examples."""

    def make(name):
        examples = make_originals(downloaded(tmp_path, name), name)
        register(downloaded(tmp_path, name), name, monkeypatch.setitem)
        return examples

    return make


def version_dir(data_dir, name):
    return pathlib.Path(tfds.builder(name, data_dir=data_dir).data_dir)


def assert_prepared(data_dir, name, examples):
    """TFDS reads back exactly `examples`, in the order in which TFDS stores them, without TensorFlow."""
    builder = tfds.builder_from_directory(version_dir(data_dir, name))
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == SIZES
    for split, wanted in examples.items():
        order = sorted(range(len(wanted)), key=hashing.Hasher(split).hash_key)
        source = builder.as_data_source(split)
        assert len(source) == len(wanted)
        for i, example in zip(order, source, strict=True):
            assert example.keys() == wanted[i].keys()
            for key, value in wanted[i].items():
                np.testing.assert_array_equal(example[key], value)
            assert example["image"].dtype == np.uint8
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize("name", SETS)
def test_reads_back_what_the_originals_hold(name, tmp_path, registered):
    examples = registered(name)
    assert download.download_and_prepare(name, str(tmp_path)) == version_dir(tmp_path, name)
    assert_prepared(tmp_path, name, examples)

    by_name, original = tfds.builder(name, data_dir=tmp_path), tfds.builder_cls(name)
    assert by_name.is_prepared()
    assert (by_name.name, str(by_name.version)) == (name, str(original.VERSION))
    by_directory = tfds.builder_from_directory(by_name.data_dir)
    assert by_directory.info.module_name == original.__module__
    assert repr(by_directory.info.features) == repr(by_name.info.features)


def test_class_names_are_those_of_the_files(tmp_path, registered):
    for name in SETS:
        registered(name)
        download.download_and_prepare(name, str(tmp_path))
    features = {name: tfds.builder_from_directory(version_dir(tmp_path, name)).info.features for name in SETS}
    assert features["cifar10"]["label"].names == CLASSES
    assert features["cifar100"]["label"].names == [f"fine_{i}" for i in range(100)]
    assert features["cifar100"]["coarse_label"].names == [f"coarse_{i}" for i in range(20)]
    assert features["mnist"]["label"].names == [str(i) for i in range(10)]
    assert features["fashion_mnist"]["label"].names[0] == "T-shirt/top"


def test_second_prepare_does_nothing(tmp_path, registered, capsys):
    registered("mnist")
    download.download_and_prepare("mnist", str(tmp_path))
    assert capsys.readouterr().out == f"Preparing mnist in {tmp_path} (first use; downloads 0 MiB)\n"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert download.download_and_prepare("mnist", str(tmp_path)) == version_dir(tmp_path, "mnist")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder that a proxy serves for every http address."""
    folder = tmp_path / "served"

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            file = folder / os.path.basename(self.path)
            self.send_response(200 if file.exists() else 404)
            self.end_headers()
            self.wfile.write(file.read_bytes() if file.exists() else b"")

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for variable in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{server.server_port}")
        yield folder
        server.shutdown()


def test_downloads_what_is_not_there(tmp_path, served, monkeypatch):
    examples = make_originals(served, "fashion_mnist")
    register(served, "fashion_mnist", monkeypatch.setitem)
    download.download_and_prepare("fashion_mnist", str(tmp_path))
    assert_prepared(tmp_path, "fashion_mnist", examples)


def refusal(name, data_dir):
    """The message of the one-line error with which `prepare` refuses; nothing is taken for prepared then."""
    with pytest.raises(UserError) as error:
        download.download_and_prepare(name, str(data_dir))
    assert "\n" not in str(error.value)
    assert f"data.name='{name}'" in str(error.value)
    return str(error.value)


def test_a_download_with_another_checksum_is_refused(tmp_path, served):
    make_originals(served, "fashion_mnist")
    message = refusal("fashion_mnist", tmp_path)
    assert "wrong checksum" in message
    assert "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/" in message
    assert not version_dir(tmp_path, "fashion_mnist").exists()


def test_a_file_by_hand_with_another_checksum_is_refused(tmp_path):
    make_originals(downloaded(tmp_path, "cifar10"), "cifar10")
    message = refusal("cifar10", tmp_path)
    assert "wrong checksum" in message
    assert str(downloaded(tmp_path, "cifar10") / "cifar-10-binary.tar.gz") in message
    assert not version_dir(tmp_path, "cifar10").exists()


def test_a_file_that_is_not_served_is_named(tmp_path, served):
    assert "HTTP code: 404" in refusal("fashion_mnist", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_no_network(name, tmp_path):
    message = refusal(name, tmp_path)
    assert f"is not prepared in {tmp_path} and could not be downloaded (ProxyError at " in message
    assert f"{downloaded(tmp_path, name)}" in message
    assert "--config.data.dir" in message
    assert not version_dir(tmp_path, name).exists()


def test_what_is_put_by_hand_after_a_failure_is_used(tmp_path, registered):
    refusal("cifar100", tmp_path)
    examples = registered("cifar100")
    download.download_and_prepare("cifar100", str(tmp_path))
    assert_prepared(tmp_path, "cifar100", examples)


KILLED = """
import operator, os, pathlib, signal, sys
import test_download
from rethink.data import download

def killed(image):
    killed.images += 1
    if killed.images == 18:  # the train split is written, the test split is not
        os.kill(os.getpid(), signal.SIGKILL)
    return made(image)

killed.images, made = 0, download.Image.fromarray
download.Image.fromarray = killed
data_dir = pathlib.Path(sys.argv[1])
test_download.register(test_download.downloaded(data_dir, "cifar10"), "cifar10", operator.setitem)
download.download_and_prepare("cifar10", str(data_dir))
"""


def run(program, *arguments):
    here = pathlib.Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (here, here.parents[1])))}
    return subprocess.run([sys.executable, "-c", program, *arguments], env=environment, capture_output=True, text=True)


def test_a_killed_preparation_is_not_taken_for_a_finished_one(tmp_path, registered):
    examples = registered("cifar10")
    assert run(KILLED, str(tmp_path)).returncode == -signal.SIGKILL
    assert any(tmp_path.rglob("*cifar10-train.array_record*"))
    assert not version_dir(tmp_path, "cifar10").exists()
    download.download_and_prepare("cifar10", str(tmp_path))
    assert_prepared(tmp_path, "cifar10", examples)


def test_another_process_may_be_faster(tmp_path, registered, monkeypatch):
    examples = registered("mnist")
    made = download.Image.fromarray

    def prepare_meanwhile(image):
        monkeypatch.setattr(download.Image, "fromarray", made)
        download.download_and_prepare("mnist", str(tmp_path))
        return made(image)

    monkeypatch.setattr(download.Image, "fromarray", prepare_meanwhile)
    download.download_and_prepare("mnist", str(tmp_path))
    assert_prepared(tmp_path, "mnist", examples)
    assert [path.name for path in (tmp_path / "mnist").iterdir()] == [version_dir(tmp_path, "mnist").name]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("write() failed: No space left on device")]
)
def test_a_full_disk(error, tmp_path, registered, monkeypatch):
    examples = registered("mnist")

    def fail(image):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(download.Image, "fromarray", fail)
        message = refusal("mnist", tmp_path)
    assert f"could not be written in {tmp_path}" in message
    assert "No space left on device" in message
    assert list((tmp_path / "mnist").iterdir()) == []
    download.download_and_prepare("mnist", str(tmp_path))
    assert_prepared(tmp_path, "mnist", examples)


def test_an_error_that_is_not_the_users_is_raised_as_it_is(tmp_path, registered, monkeypatch):
    registered("mnist")

    def fail(image):
        raise ZeroDivisionError

    monkeypatch.setattr(download.Image, "fromarray", fail)
    with pytest.raises(ZeroDivisionError):
        download.download_and_prepare("mnist", str(tmp_path))


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    assert "could not be written" in refusal("mnist", tmp_path / "file")


def test_an_unfinished_copy_is_named(tmp_path, registered):
    registered("mnist")
    version_dir(tmp_path, "mnist").mkdir(parents=True)
    assert f"unfinished copy in {version_dir(tmp_path, 'mnist')}" in refusal("mnist", tmp_path)


def test_unknown_names(tmp_path):
    for name in ("cifar11", "cifar10:9.9.9", "no such set", ""):
        message = refusal(name, tmp_path)
        assert all(choice in message for choice in SETS)
        assert "any other TFDS image classification set works" in message
    assert "did you mean 'cifar10'?" in refusal("cifar11", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_needs_tensorflow(tmp_path, monkeypatch):
    make_originals(tmp_path / "downloads" / "manual", "mnist")  # KMNIST has the files of MNIST
    register(tmp_path / "downloads" / "manual", "kmnist", monkeypatch.setitem)
    assert "pip install -e '.[tf]'" in refusal("kmnist", tmp_path)


def test_a_set_that_must_be_downloaded_by_hand(tmp_path):
    assert "ILSVRC2012_img_train.tar" in refusal("imagenet2012", tmp_path)


REFUSED = """
import sys
from rethink.data import download

try:
    download.download_and_prepare("mnist", sys.argv[1])
except download.UserError as error:
    print(error)
"""


def test_no_network_takes_two_lines_to_tell(tmp_path):
    finished = run(REFUSED, str(tmp_path))
    assert finished.stderr == ""
    assert [line.split(" in ")[0] for line in finished.stdout.splitlines()] == [
        "Preparing mnist",
        "data.name='mnist' is not prepared",
    ]


def test_importing_does_not_import_tfds():
    program = "import sys, rethink.data.download; print('tensorflow_datasets' in sys.modules)"
    assert run(program).stdout == "False\n"
