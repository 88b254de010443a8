"""The cache of compiled functions: what can't be read or written costs a compilation, and one line."""

import errno
import os

import jax
import jax.numpy as jnp
import pytest
from jax._src import compilation_cache as jax_cache

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


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """Returns a function that compiles into tmp_path or reads from it, and returns a result."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    for name in ("get_executable_and_time", "put_executable_and_time"):
        monkeypatch.setattr(jax_cache, name, getattr(jax_cache, name))  # as it was, at the end
    compilation_cache._guard_entries.cache_clear()
    compilation_cache._warn_once.cache_clear()
    jax_cache.reset_cache()
    compilation_cache.use_folder(tmp_path)

    def compute():
        jax.clear_caches()
        return float(jax.jit(lambda x: jnp.sum(x * 3 + 1))(jnp.arange(5.0)))

    yield compute
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache._guard_entries.cache_clear()
    jax_cache.reset_cache()


@pytest.mark.parametrize("age", [0, 3600])
def test_entries_that_are_cut_are_compiled_once_more_and_old_ones_written(compiled, tmp_path, caplog, age):
    result, whole = compiled(), {path: path.read_bytes() for path in tmp_path.glob("*-cache")}
    for path, content in whole.items():
        path.write_bytes(content[: len(content) * 6 // 10])
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert compiled() == result and len(whole) > 0
    sizes = {path.stat().st_size / len(content) for path, content in whole.items()}
    said = [line for line in caplog.messages if "are damaged: they are removed, and compiled once more" in line]
    if age:
        assert min(sizes) > 0.9 and len(said) == 1
        assert compiled() == result and len(caplog.messages) == 1
    else:  # another process may be writing them
        assert max(sizes) < 0.7 and not caplog.messages


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.EIO, errno.ESTALE])
def test_an_entry_that_can_not_be_read_is_kept(guarded, caplog, number):
    fail_with, entry = guarded
    os.utime(entry, (0, 0))
    read, _ = fail_with(OSError(number, os.strerror(number)))
    assert read("jit_f-0a", None, None, None) == (None, None)
    assert entry.exists() and not caplog.messages


@pytest.mark.parametrize("number, is_half_written", [(errno.ENOSPC, True), (errno.EMFILE, False)])
def test_an_entry_that_is_half_written_is_removed(guarded, caplog, number, is_half_written):
    fail_with, entry = guarded
    _, write = fail_with(OSError(number, os.strerror(number)))
    write("jit_f-0a", "f", None, None, 0)
    assert entry.exists() != is_half_written and f"can't be written ({os.strerror(number)})" in caplog.text


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
