"""The cache of compiled functions: what can't be read or written costs a compilation, and one line."""

import inspect
import os

import jax
import pytest
from jax._src import compilation_cache as jax_cache
from jax._src import compiler

from rethink.training import compilation_cache


@pytest.fixture
def guarded(tmp_path, monkeypatch):
    """Lets JAX's functions fail with an error; returns (the guarded ones, an entry)."""
    monkeypatch.setattr(compilation_cache, "_folder", lambda: str(tmp_path))
    compilation_cache._warn_once.cache_clear()
    entry = tmp_path / "jit_f-0a-cache"
    entry.write_bytes(b"cut")

    def fail_with(error):
        def fail(*_):
            raise error

        monkeypatch.setattr(jax_cache, "get_executable_and_time", fail)
        monkeypatch.setattr(jax_cache, "put_executable_and_time", fail)
        compilation_cache._guard_entries.__wrapped__()
        return jax_cache.get_executable_and_time, jax_cache.put_executable_and_time

    return fail_with, entry


def test_an_entry_that_is_damaged_is_removed_with_one_line(guarded, caplog):
    fail_with, entry = guarded
    read, _ = fail_with(ValueError("zlib"))
    for _ in range(2):
        assert read("jit_f-0a", None, None, None) == (None, None)
    assert not entry.exists()
    (line,) = caplog.messages
    assert "are damaged: they are removed, and compiled once more" in line


def test_an_entry_that_may_not_be_read_is_kept(guarded, caplog):
    fail_with, entry = guarded
    read, _ = fail_with(PermissionError(13, "Permission denied"))
    assert read("jit_f-0a", None, None, None) == (None, None)
    assert entry.exists() and not caplog.messages


def test_an_entry_that_is_half_written_is_removed(guarded, caplog):
    fail_with, entry = guarded
    _, write = fail_with(OSError(28, "No space left on device"))
    write("jit_f-0a", "f", None, None, 0)
    assert not entry.exists() and "can't be written (No space left on device)" in caplog.text


def test_a_folder_that_can_not_be_written_is_left_out(tmp_path, caplog, monkeypatch):
    updates = {}
    monkeypatch.setattr(jax.config, "update", updates.__setitem__)
    monkeypatch.setattr(compilation_cache, "_guard_entries", lambda: None)
    (tmp_path / "file").touch()
    compilation_cache.use_folder(tmp_path / "file" / "xla")
    assert updates == {"jax_compilation_cache_dir": None}
    monkeypatch.setattr(os, "access", lambda *_: False)
    compilation_cache.use_folder(tmp_path)
    assert updates == {"jax_compilation_cache_dir": None}
    assert [line.partition(": ")[0] for line in caplog.messages] == [
        f"hardware.compilation_cache='{tmp_path}/file/xla' can't be written (Not a directory)",
        f"hardware.compilation_cache='{tmp_path}' can't be written (Permission denied)",
    ]


def test_jax_calls_what_is_replaced():
    calls = inspect.getsource(compiler)
    for name in ("get_executable_and_time", "put_executable_and_time"):
        assert f"compilation_cache.{name}(" in calls
