"""The cache of decoded images: made once, checked at every reading, made again where it is damaged."""

import errno
import json
import logging
import os
import pathlib
import time

import numpy as np
import pytest

from rethink.data import cache
from rethink.schema.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3)).astype(np.uint8)
LABELS = np.arange(6, dtype=np.int32)
SOURCE = {"set": "a/1.0.0", "split": "train"}


class Maker:
    """Makes the arrays and counts how often."""

    calls = 0

    def __call__(self):
        self.calls += 1
        return IMAGES, LABELS


def load(root, make=None, source=SOURCE, name="set-train"):
    """Loads, checks what comes, and returns how often it was made."""
    make = make or Maker()
    images, labels = cache.load_or_make(str(root), name, source, make)
    np.testing.assert_array_equal(images, IMAGES, strict=True)
    np.testing.assert_array_equal(labels, LABELS, strict=True)
    return make.calls


def test_a_stamp_is_of_one_place_and_changes_where_size_and_date_are_kept(tmp_path):
    stamps = []
    for folder in ("a", "b", "b"):
        path = tmp_path / folder / "x"
        path.parent.mkdir(exist_ok=True)
        path.write_text(folder)
        os.utime(path, ns=(1, 1))
        stamps += cache.stamp_files([path])
        time.sleep(0.02)  # the clock of some file systems ticks in 10 ms
    assert len({json.dumps(stamp) for stamp in stamps}) == 3 and cache.stamp_files([path]) == stamps[2:]


def only_folder(root):
    """The only folder in the cache."""
    (folder,) = root.iterdir()
    return folder


def assert_made_again(root, caplog):
    """A damaged folder is warned about, made again, and whole afterwards."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "rethink"):
        assert load(root) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(only_folder(root)) in caplog.text
    caplog.clear()
    assert load(root) == 0
    assert caplog.records == []


def test_what_is_cached_is_not_made_again(tmp_path, caplog):
    assert load(tmp_path) == 1
    assert load(tmp_path) == 0
    assert caplog.records == []


def test_no_directory_means_no_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load("") == 1
    assert load("") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_directory_may_be_in_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("~/deep/cache") == 1
    assert load("~/deep/cache") == 0
    assert only_folder(tmp_path / "deep" / "cache").is_dir()


def test_a_home_directory_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="^data.cache_dir='~no_such_user/x' names a home directory that there is not"):
        load("~no_such_user/x")


def test_a_folder_holds_two_arrays_and_says_what_they_were_made_from(tmp_path):
    load(tmp_path)
    assert {path.name for path in only_folder(tmp_path).iterdir()} == {"images.npy", "labels.npy", "entry.json"}
    assert only_folder(tmp_path).name.startswith("set-train-")
    assert json.loads((only_folder(tmp_path) / "entry.json").read_text())["source"] == SOURCE


@pytest.mark.parametrize("change", [{"split": "test"}, {"image_size": 64}])
def test_another_source_has_a_folder_of_its_own(tmp_path, change):
    assert load(tmp_path) == 1
    assert load(tmp_path, source={**SOURCE, **change}) == 1
    assert len(list(tmp_path.iterdir())) == 2
    assert load(tmp_path) == 0
    assert load(tmp_path, source={**SOURCE, **change}) == 0


def test_the_order_of_the_fields_of_a_source_does_not_matter(tmp_path):
    assert load(tmp_path) == 1
    assert load(tmp_path, source=dict(reversed(SOURCE.items()))) == 0


def test_a_name_with_a_slash_makes_no_directories(tmp_path):
    load(tmp_path, name="set/config-train")
    assert only_folder(tmp_path).name.startswith("set-config-train-")


@pytest.mark.parametrize("file", ["images.npy", "labels.npy"])
def test_a_flipped_bit_anywhere_is_found(tmp_path, file):
    load(tmp_path)
    path = only_folder(tmp_path) / file
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ (1 << place % 8)]) + good[place + 1 :])
        load(tmp_path)  # checks that nothing else comes back, and no error
        path.write_bytes(good)


@pytest.mark.parametrize("file", ["images.npy", "labels.npy"])
def test_a_flipped_value_is_warned_about_and_made_again(tmp_path, file, caplog):
    load(tmp_path)
    path = only_folder(tmp_path) / file
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    assert_made_again(tmp_path, caplog)


@pytest.mark.parametrize("file", ["images.npy", "labels.npy", "entry.json"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_a_truncated_file_is_warned_about_and_made_again(tmp_path, file, share, caplog):
    load(tmp_path)
    path = only_folder(tmp_path) / file
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert_made_again(tmp_path, caplog)


@pytest.mark.parametrize("file", ["images.npy", "labels.npy", "entry.json"])
def test_a_missing_file_is_warned_about_and_made_again(tmp_path, file, caplog):
    load(tmp_path)
    (only_folder(tmp_path) / file).unlink()
    assert_made_again(tmp_path, caplog)


@pytest.mark.parametrize("text", ["[]", "{}", "null", '{"sha256": {}}', '{"sha256": null}'])
def test_a_folder_without_checksums_is_warned_about_and_made_again(tmp_path, text, caplog):
    load(tmp_path)
    (only_folder(tmp_path) / "entry.json").write_text(text)
    assert_made_again(tmp_path, caplog)


def test_images_of_another_shape_or_type_are_warned_about_and_made_again(tmp_path, caplog):
    load(tmp_path)
    for other in (IMAGES.reshape(6, 4, 5, 3), IMAGES.view(np.int8)):
        np.save(only_folder(tmp_path) / "images.npy", other)
        assert_made_again(tmp_path, caplog)


class Payload:
    """What a pickle would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path, caplog):
    root, ran = tmp_path / "cache", tmp_path / "ran"
    load(root)
    np.save(only_folder(root) / "images.npy", np.array([Payload(ran)], object), allow_pickle=True)
    np.load(only_folder(root) / "images.npy", allow_pickle=True)
    assert ran.exists()
    ran.unlink()
    assert_made_again(root, caplog)
    assert not ran.exists()


def test_what_a_killed_writer_left_is_ignored(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(cache.os, "replace", die)
        patch.setattr(cache.shutil, "rmtree", lambda *args, **kwargs: None)  # a killed process tidies nothing
        with pytest.raises(Killed):
            load(tmp_path)
    (left,) = tmp_path.iterdir()
    assert (left / "images.npy").exists()
    assert load(tmp_path) == 1
    assert load(tmp_path) == 0
    assert left.exists()


def test_a_failed_writer_leaves_nothing(tmp_path, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache.np, "save", fail)
        assert load(tmp_path) == 1
    assert "can't be written (No space left on device)" in caplog.text
    assert list(tmp_path.iterdir()) == []
    assert load(tmp_path) == 1


def test_of_two_writers_both_get_their_arrays(tmp_path):
    class Meanwhile(Maker):
        def __call__(self):
            load(tmp_path)
            return super().__call__()

    assert load(tmp_path, Meanwhile()) == 1
    assert only_folder(tmp_path).is_dir()
    assert load(tmp_path) == 0


def test_a_run_goes_on_without_a_directory_that_cannot_be_written(tmp_path, caplog):
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "cache"
    assert load(below) == 1
    (line,) = caplog.messages
    assert line.startswith(f"data.cache_dir='{below}' can't be written (Not a directory)")
    assert "--config.data.cache_dir=DIR" in line


def test_an_entry_that_may_not_be_read_is_not_taken_for_damaged(tmp_path, caplog, monkeypatch):
    assert load(tmp_path) == 1
    before = sorted(tmp_path.rglob("*"))

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patched:
        patched.setattr(np, "load", refuse)
        assert load(tmp_path) == 1
    (line,) = caplog.messages
    assert "can't be read (Permission denied)" in line and "damaged" not in line
    assert sorted(tmp_path.rglob("*")) == before and load(tmp_path) == 0


def test_an_error_of_the_maker_leaves_no_folder(tmp_path):
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.load_or_make(str(tmp_path), "set-train", SOURCE, fail)
    assert list(tmp_path.iterdir()) == []
