"""Streams of host batches: the given rows, in order, whichever process decodes them, and nothing left behind."""

import functools
import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from rethink.data import batches, streaming
from rethink.data.dataset import MemorySplit, Split
from rethink.schema.errors import UserError

EXAMPLES, BATCH = 50, 8


@pytest.fixture(scope="module")
def split():
    ids = np.arange(100, 100 + EXAMPLES, dtype=np.uint32)
    images = np.repeat(ids.astype(np.uint8), 12).reshape(EXAMPLES, 2, 2, 3)
    return MemorySplit(Split(images, (ids % 10).astype(np.int32), ids))


DRIVER = """
import numpy as np
from rethink.data import streaming
from rethink.data.dataset import MemorySplit, Split

def rows_of(number):
    return np.arange(4)

if __name__ == "__main__":
    images = np.zeros((10, 64, 64, 3), np.uint8)
    split = MemorySplit(Split(images, np.zeros(10, np.int32), np.arange(10, dtype=np.uint32)))
    print(sum(len(batch.ids) for batch in streaming.stream_batches(split, rows_of, first=0, last=3, workers=1)))
"""

ROWS = functools.partial(batches.select_train_rows, 3, num_examples=EXAMPLES, batch_size=BATCH, remainder="wrap")


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_whoever_decodes_them(split, workers):
    rows_of = functools.partial(batches.select_process_rows, ROWS, slice(None))
    first, last = 5, 17  # across the end of an epoch of seven steps
    read = list(streaming.stream_batches(split, rows_of, first=first, last=last, workers=workers))
    assert len(read) == last - first
    for batch, rows in zip(read, ROWS(first, last - first), strict=True):
        expected = split.read(rows)
        for got, wanted in zip(batch, expected, strict=True):
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)


def test_a_process_reads_its_part_of_each_batch_only(split):
    read = []
    recorder = MemorySplit(split.load())
    recorder.read = lambda rows: (read.append(rows), split.read(rows))[1]
    part = slice(2, 4)
    list(
        streaming.stream_batches(
            recorder, functools.partial(batches.select_process_rows, ROWS, part), first=0, last=3, workers=0
        )
    )
    np.testing.assert_array_equal(sorted(map(tuple, read)), sorted(map(tuple, ROWS(0, 3)[:, part])))


@pytest.mark.slow
def test_a_process_that_streamed_ends_without_a_word(tmp_path):
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    command = [sys.executable, str(tmp_path / "driver.py")]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert ended.stdout == "12\n" and ended.stderr == ""


@pytest.mark.slow
def test_workers_end_with_a_process_that_is_killed(tmp_path):
    kill = "    stream = streaming.stream_batches(split, rows_of, first=0, last=10**6, workers=2)\n    next(stream)\n"
    kill += "    os.kill(os.getpid(), signal.SIGKILL)\n"
    (tmp_path / "driver.py").write_text(f"import os, signal\n{DRIVER.rpartition('    print')[0]}{kill}")
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    # The output ends when the last process that could write there has ended: the workers, and Python's tracker of them.
    command = [sys.executable, str(tmp_path / "driver.py")]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    assert "resource_tracker" in ended.stderr  # it has freed what was on the way in shared memory


def test_too_little_shared_memory_is_refused(split, monkeypatch):
    batch = split.read(np.arange(BATCH))
    needed = 3 * (streaming.BUFFER + 1) * sum(array.nbytes for array in batch)
    for free in (needed, needed - 1):
        usage = shutil._ntuple_diskusage(free, 0, free)
        monkeypatch.setattr(streaming.shutil, "disk_usage", lambda _, usage=usage: usage)
        if free == needed:
            streaming.check_shared_memory(batch.images[0].nbytes, 3 * BATCH)
    with pytest.raises(UserError, match=r"need .* shared memory, .* or set --config.data.workers=0"):
        streaming.check_shared_memory(batch.images[0].nbytes, 3 * BATCH)
    streaming.check_shared_memory(batch.images[0].nbytes, 0)  # without workers


def test_a_stream_that_is_left_early_ends_its_workers(split):
    rows_of = functools.partial(batches.select_process_rows, ROWS, slice(None))
    stream = streaming.stream_batches(split, rows_of, first=0, last=10**6, workers=1)
    next(stream)
    assert multiprocessing.active_children()
    stream.close()
    for child in multiprocessing.active_children():
        child.join(timeout=10)
    assert not multiprocessing.active_children()
