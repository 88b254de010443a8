"""Event files: framed as TensorBoard reads them, every number of a row at its step, resumed points hidden."""

import os
import struct
import subprocess
import sys
import threading

import pytest

from rethink.results import tensorboard
from rethink.results.tensorboard import EventWriter

TRAIN = {"kind": "train", "step": 391, "epoch": 1.0, "loss": 2.31, "accuracy": 0.104, "learning_rate": 0.01}
EVALUATION = {
    "kind": "evaluation",
    "step": 782,
    "epoch": 2.0,
    "train_accuracy": 1,
    "train_accuracy_clean": None,
    "test_loss": float("nan"),
}


def masked_crc(data):
    """CRC-32C with the mask of the TFRecord format."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read_events(path):
    """The events of one file: uint64 length, its crc, the bytes, their crc."""
    from tensorboardX.proto.event_pb2 import Event

    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        body = data[12 : 12 + length]
        assert struct.unpack("<I", data[8:12]) == (masked_crc(data[:8]),)
        assert struct.unpack("<I", data[12 + length : 16 + length]) == (masked_crc(body),)
        events.append(Event.FromString(body))
        data = data[16 + length :]
    return events


def read_scalars(folder):
    """{(tag, step): value} as TensorBoard shows them: files by name, any start but the first hides what was read before
    it from its step on."""
    scalars, started = {}, False
    for path in sorted(folder.iterdir()):
        for event in read_events(path):
            if event.HasField("session_log"):
                scalars = {key: value for key, value in scalars.items() if not started or key[1] < event.step}
                started = True
            scalars.update({(value.tag, event.step): value.simple_value for value in event.summary.value})
    return scalars


def test_rows_come_back_as_scalars(tmp_path):
    with EventWriter(tmp_path / "events", first_step=0) as writer:
        writer.write(TRAIN)
        writer.write(EVALUATION)
    scalars = read_scalars(tmp_path / "events")
    assert scalars["train/loss", 391] == pytest.approx(2.31)
    assert scalars["train/accuracy", 391] == pytest.approx(0.104)
    assert scalars["train/learning_rate", 391] == pytest.approx(0.01)
    assert scalars["evaluation/train_accuracy", 782] == 1.0
    assert scalars["evaluation/test_loss", 782] != scalars["evaluation/test_loss", 782]  # nan
    assert len(scalars) == 5  # null, step and epoch are no scalars


def test_file_begins_with_the_version_that_tensorboard_asks_for(tmp_path):
    EventWriter(tmp_path, first_step=0).close()
    (path,) = tmp_path.iterdir()
    assert "tfevents" in path.name and read_events(path)[0].file_version == "brain.Event:2"


def test_a_row_is_on_disk_when_write_returns(tmp_path):
    with EventWriter(tmp_path, first_step=0) as writer:
        writer.write(TRAIN)
        assert ("train/loss", 391) in read_scalars(tmp_path)


def test_a_resumed_run_hides_what_lies_after_its_first_step_and_keeps_the_rest(tmp_path):
    with EventWriter(tmp_path, first_step=0) as writer:
        for step in (0, 100, 200, 300):
            writer.write({**TRAIN, "step": step, "loss": 1.0})
    with EventWriter(tmp_path, first_step=100) as writer:  # at once: the names must differ within a second
        assert {step for _, step in read_scalars(tmp_path)} == {0, 100}
        writer.write({**TRAIN, "step": 200, "loss": 2.0})
    assert len(list(tmp_path.iterdir())) == 2
    losses = {step: value for (tag, step), value in read_scalars(tmp_path).items() if tag == "train/loss"}
    assert losses == {0: 1.0, 100: 1.0, 200: 2.0}


def test_a_run_from_the_start_hides_everything(tmp_path):
    with EventWriter(tmp_path, first_step=0) as writer:
        writer.write({**EVALUATION, "step": 0})
    EventWriter(tmp_path, first_step=0).close()
    assert read_scalars(tmp_path) == {}


def test_a_clock_that_was_set_back_hides_nothing(tmp_path, monkeypatch):
    for days, first_step in ((0, 0), (-1, 100), (-400, 200), (1, 300)):  # and forth again
        monkeypatch.setattr(tensorboard.time, "time", lambda days=days: 1.7e9 + 86400 * days)
        with EventWriter(tmp_path, first_step=first_step) as writer:
            writer.write({**TRAIN, "step": first_step + 100})
    files = sorted(tmp_path.iterdir())
    assert {step for _, step in read_scalars(tmp_path)} == {100, 200, 300, 400}
    times = [event.wall_time for path in files for event in read_events(path)]
    assert len(files) == 4 and times == sorted(times)


def test_no_thread_is_left_and_close_may_come_twice(tmp_path):
    before = threading.active_count()
    with EventWriter(tmp_path, first_step=0) as writer:
        writer.write(TRAIN)
        writer.close()
    assert threading.active_count() == before


def test_importing_the_module_does_not_import_tensorboardx():
    code = "import sys, rethink.results.tensorboard; assert 'tensorboardX' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pytorch_is_left_alone_where_it_is_installed(tmp_path):
    (tmp_path / "torch.py").write_text("Tensor = object")
    code = (
        "import sys; from rethink.results.tensorboard import EventWriter\n"
        f"EventWriter({str(tmp_path)!r}, first_step=0).close(); assert 'torch' not in sys.modules\n"
        "import torch; assert torch.Tensor is object"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": f"{tmp_path}:."})
