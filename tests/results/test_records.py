"""A run directory: who may write, what is kept, dropped and refused, and how a run's end is recorded."""

import contextlib
import datetime
import errno
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from rethink.configs import base
from rethink.results import files, records
from rethink.schema import validation
from rethink.schema.errors import UserError

FACTS = {"parameters": 1210}
HARDWARE = {"devices": 1, "kind": "cpu", "processes": 1}
FINGERPRINTS = {"labels": "aa11", "order": "bb22"}

HOLD = """
import sys, time
from rethink.configs import base
from rethink.results import records
with records.open_run(sys.argv[1], base.get_config()) as run:
    run.begin(-1, {}, {}, {})
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def workdir(tmp_path):
    return str(tmp_path / "runs" / "one")


def make_config(**fields):
    config = base.get_config()
    config.update_from_flattened_dict({field.replace("__", "."): value for field, value in fields.items()})
    return config


def open_run(workdir, **fields):
    return records.open_run(workdir, make_config(**fields))


def manifest(workdir):
    return json.loads(pathlib.Path(workdir, "manifest.json").read_text())


def content(workdir):
    """Returns the bytes of every file of the run but the lock."""
    files = (path for path in pathlib.Path(workdir).rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files if path.name != "lock"}


def write_rows(workdir, steps, status="interrupted"):
    with open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        for step in steps:
            run.append({"kind": "train", "step": step, "loss": 0.1 * step})
        run.update(status=status)


@contextlib.contextmanager
def holder(workdir):
    """Yields another process that holds the run directory."""
    command = [sys.executable, "-c", HOLD, workdir]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=pathlib.Path(__file__).parents[2])
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_writer_is_refused_and_told_who_holds_the_run(workdir):
    with (
        open_run(workdir),
        pytest.raises(UserError, match=f"is in use by process {os.getpid()} on {re.escape(socket.gethostname())}: "),
        open_run(workdir),
    ):
        pass


def test_a_process_that_was_killed_holds_nothing(workdir):
    with holder(workdir) as process:
        with pytest.raises(UserError, match=f"process {process.pid} on "), open_run(workdir):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with open_run(workdir) as run:
            assert run.manifest["status"] == "running"  # as it was left


def test_the_refused_writer_changes_nothing(workdir):
    with open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        before = content(workdir)
        with pytest.raises(UserError), open_run(workdir, seed=5):
            pass
        assert content(workdir) == before
        assert os.path.getsize(f"{workdir}/lock") > 0  # it still names the holder


def test_a_run_is_let_go_when_it_ends(workdir):
    for _ in range(2):
        with open_run(workdir):
            pass


def test_two_runs_side_by_side_are_no_obstacle(workdir):
    with open_run(workdir), open_run(f"{workdir}-other"):
        pass


def test_the_manifest_says_what_ran_and_how_it_ended(workdir):
    config = make_config(seed=3)
    with records.open_run(workdir, config) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        assert manifest(workdir)["status"] == "running"
        run.update(status="done", summary={"steps": 9})
    found = manifest(workdir)
    assert found["config"] == json.loads(validation.to_json(config))
    assert (found["status"], found["summary"], found["fingerprints"]) == ("done", {"steps": 9}, FINGERPRINTS)
    assert found["parameters"] == 1210


def test_each_launch_is_kept_beside_the_earlier_ones(workdir):
    with open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        run.reach(16)
        run.update(status="interrupted")
    first = manifest(workdir)["launches"]
    with open_run(workdir) as run:
        assert manifest(workdir)["launches"] == first  # nothing is begun yet
        run.begin(16, {**HARDWARE, "devices": 2}, FACTS, FINGERPRINTS)
        assert manifest(workdir)["launches"][1]["last_step"] == 16
        run.reach(32)
    second = manifest(workdir)["launches"][1]
    assert manifest(workdir)["launches"] == [*first, second]
    assert (first[0]["first_step"], first[0]["last_step"], first[0]["hardware"]) == (0, 16, HARDWARE)
    assert (second["first_step"], second["last_step"], second["hardware"]["devices"]) == (16, 32, 2)
    assert {"python", "jax", "flax", "numpy", "grain", "array_record"} <= set(second["versions"])
    assert {"scikit-learn", "scipy", "ml_collections"} <= set(second["versions"])
    assert datetime.datetime.fromisoformat(second["started"]).utcoffset() == datetime.timedelta(0)


@pytest.mark.parametrize("status, finished", [("fitted", True), ("done", True), ("diverged", True), ("failed", False)])
def test_only_a_run_that_came_to_its_end_is_finished(workdir, status, finished):
    write_rows(workdir, [1], status)
    with open_run(workdir) as run:
        assert run.finished == finished
    with open_run(workdir, train__total_epochs=500.0) as run:  # more was asked for
        assert not run.finished


@pytest.mark.parametrize(
    "fields, finished",
    [
        ({"log__tensorboard": False, "checkpoint__keep": 9, "data__dir": "elsewhere"}, True),
        ({"stop__train_accuracy": 0.5}, False),
        ({"train__total_epochs": 50.0}, False),
    ],
)
def test_an_ended_run_goes_on_only_if_its_length_has_changed(workdir, fields, finished):
    write_rows(workdir, [1], "done")
    with open_run(workdir, **fields) as run:
        assert run.finished == finished


def test_the_length_that_a_run_ended_at_is_that_of_the_launch_that_ended_it(workdir):
    write_rows(workdir, [1], "done")
    with open_run(workdir, train__total_epochs=500.0) as run:
        run.begin(1, HARDWARE, FACTS, FINGERPRINTS)
        run.update(status="done")
    with open_run(workdir, train__total_epochs=500.0) as run:
        assert run.finished
    with open_run(workdir) as run:
        assert not run.finished


def test_the_files_of_a_run_are_as_readable_as_the_umask_says(workdir):
    before = os.umask(0o022)
    try:
        write_rows(workdir, [1])
        write_rows(workdir, [1])
    finally:
        os.umask(before)
    files = [path for path in pathlib.Path(workdir).iterdir() if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o644}


@pytest.mark.parametrize(
    "text", ["", '{"conf', "[]", "null", "{}", '{"config": {}}', '{"config": 1, "status": "done"}', "\udcff"]
)
def test_a_damaged_manifest_is_named(workdir, text):
    write_rows(workdir, [1])
    path = pathlib.Path(workdir, "manifest.json")
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(UserError, match=f"^{path} is damaged: bring it back from a copy, or move"), open_run(workdir):
        pass
    assert path.read_text(errors="surrogateescape") == text


def test_a_home_directory_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="^--workdir='~no_such_user/x' names a home"), open_run("~no_such_user/x"):
        pass


def test_a_manifest_is_replaced_whole_or_not_at_all(workdir, monkeypatch):
    with open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        before = content(workdir)
        replace = os.replace

        def full(source, target):
            assert os.path.basename(source).startswith(".") and os.path.getsize(source) > 0
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space"):
            run.update(status="done")
        assert content(workdir) == before  # no draft stays either
        monkeypatch.setattr(os, "replace", replace)


def test_another_config_is_refused_with_each_field_and_both_values(workdir):
    write_rows(workdir, [1])
    before = content(workdir)
    with (
        pytest.raises(UserError, match="belongs to another run") as error,
        open_run(workdir, seed=7, corruption__labels="uniform", train__total_epochs=500.0),
    ):
        pass
    assert "(corruption.labels: 'none' -> 'uniform'; seed: 0 -> 7)" in str(error.value)
    assert "\n" not in str(error.value)
    assert content(workdir) == before


def test_fields_that_do_not_make_another_run_may_change(workdir):
    write_rows(workdir, [1])
    with open_run(workdir, train__total_epochs=500.0, checkpoint__keep=5, data__dir="elsewhere") as run:
        run.begin(1, HARDWARE, FACTS, FINGERPRINTS)
    assert manifest(workdir)["config"]["train.total_epochs"] == 500.0


def test_a_directory_with_foreign_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("all my work")
    with pytest.raises(UserError, match=r"holds files but no run \(no manifest.json\): choose"), open_run(tmp_path):
        pass
    assert (tmp_path / "thesis.tex").read_text() == "all my work"
    (tmp_path / "thesis.tex").rename(tmp_path / "sub.tex")
    (tmp_path / "folder").mkdir()
    (tmp_path / "sub.tex").rename(tmp_path / "folder" / "thesis.tex")
    with pytest.raises(UserError, match="holds files but no run"), open_run(tmp_path):
        pass


def test_a_directory_that_is_refused_stays_as_it_was_with_no_lock(tmp_path):
    (tmp_path / "thesis.tex").write_text("all my work")
    with pytest.raises(UserError), open_run(tmp_path):
        pass
    assert os.listdir(tmp_path) == ["thesis.tex"]
    write_rows(tmp_path / "run", [1])
    shutil.copytree(tmp_path / "run", tmp_path / "copy", ignore=shutil.ignore_patterns("lock"))
    with pytest.raises(UserError, match="belongs to another run"), open_run(tmp_path / "copy", seed=7):
        pass
    assert not (tmp_path / "copy" / "lock").exists()


def test_a_launch_that_ends_before_it_begins_takes_away_what_it_made(tmp_path):
    with pytest.raises(UserError), open_run(tmp_path / "runs" / "new"):
        raise UserError("a field is off")
    assert not os.listdir(tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path / "mine"):
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["mine"] and not os.listdir(tmp_path / "mine")


def test_what_a_launch_leaves_that_is_killed_at_its_start_is_no_obstacle(workdir):
    with open_run(workdir) as run:
        run.subfolder("checkpoints")
        (run.folder / ".manifest.json-x1y2").write_text('{"conf')
    with open_run(workdir, seed=8) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
    assert manifest(workdir)["config"]["seed"] == 8


def test_half_a_line_of_a_killed_writer_is_dropped(workdir):
    write_rows(workdir, [1, 2])
    with open(f"{workdir}/metrics.jsonl", "a") as file:
        file.write('{"kind": "train", "st')
    with open_run(workdir) as run:
        assert [row["step"] for row in run.rows()] == [1, 2]
        run.begin(2, HARDWARE, FACTS, FINGERPRINTS)
        run.append({"kind": "train", "step": 3})
    lines = pathlib.Path(workdir, "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_a_line_that_the_disk_has_no_room_for_leaves_no_half_of_it(workdir):
    import resource

    write_rows(workdir, [1])
    before, (soft, hard) = content(workdir), resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_run(workdir) as run:
        try:  # the system takes ten bytes more
            resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(f"{workdir}/metrics.jsonl") + 10, hard))
            with pytest.raises(OSError, match="No space left on device"):
                run.append({"kind": "train", "step": 2, "loss": 0.5})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert content(workdir) == before


def test_arrays_that_the_disk_has_no_room_for_leave_no_draft(workdir, monkeypatch):
    write_rows(workdir, [1])
    before = content(workdir)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(OSError, match="No space left"), open_run(workdir) as run:
        run.save_arrays("corruption", ids=np.arange(3))
    assert content(workdir) == before


@pytest.mark.parametrize("step, kept", [(-1, []), (0, [0]), (5, [0, 4]), (9, [0, 4, 9])])
def test_rows_after_the_checkpoint_are_dropped_as_they_come_again(workdir, step, kept):
    write_rows(workdir, [0, 4, 9])
    before = content(workdir)[f"{workdir}/metrics.jsonl"].splitlines(keepends=True)
    with open_run(workdir) as run:
        run.begin(step, HARDWARE, FACTS, FINGERPRINTS)
        assert [row["step"] for row in run.rows()] == kept
        timings = records.read_rows(run.folder / "timings.jsonl")
        assert [row["step"] for row in timings] == kept
    assert content(workdir)[f"{workdir}/metrics.jsonl"] == b"".join(before[: len(kept)])  # byte for byte


def test_metrics_hold_no_clock_and_timings_do(workdir):
    row = {"kind": "train", "step": 1, "loss": 1 / 3}
    with open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        run.append(row)
        assert run.rows() == [row]
        (timing,) = records.read_rows(run.folder / "timings.jsonl")
    assert (timing["kind"], timing["step"]) == ("train", 1) and timing["seconds"] >= 0


@pytest.mark.parametrize(
    "error, status, message",
    [
        (KeyboardInterrupt(), "interrupted", None),
        (ValueError("shapes (3,) (4,)"), "failed", "ValueError: shapes (3,) (4,)"),
        (UserError("no such file"), "failed", "UserError: no such file"),
    ],
)
def test_a_run_that_breaks_off_says_how(workdir, error, status, message):
    with pytest.raises(type(error)), open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        raise error
    assert (manifest(workdir)["status"], manifest(workdir).get("error")) == (status, message)
    with open_run(workdir) as run:
        assert not run.finished


def caused_by(error):
    """Returns an error of a library that has another one at its root."""
    try:
        raise RuntimeError("the save failed") from error
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
        ValueError("RESOURCE_EXHAUSTED: Error writing local file: [OS error 28: No space left on device]"),
        caused_by(OSError(errno.EDQUOT, "Disk quota exceeded")),
    ],
)
@pytest.mark.parametrize("full", [False, True])
def test_a_full_disk_ends_the_run_in_one_line_and_leaves_what_is_there(workdir, monkeypatch, error, full):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 100, 0))
    with pytest.raises(
        UserError, match="can't be written any more .*make room or allow writing, and start the same command again"
    ) as told:
        with open_run(workdir) as run:
            run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
            run.append({"kind": "train", "step": 1, "loss": 0.5})
            before = content(workdir)
            if full:  # so that the status can't be written either
                monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
            raise error
    assert "\n" not in str(told.value) and workdir in str(told.value)
    monkeypatch.undo()
    if full:
        assert content(workdir) == before
    assert manifest(workdir)["status"] == ("running" if full else "failed")
    with open_run(workdir) as run:
        run.begin(1, HARDWARE, FACTS, FINGERPRINTS)
        assert [row["step"] for row in run.rows()] == [1]


def test_a_directory_whose_permission_is_taken_away_ends_the_run_in_one_line(workdir, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # as it is for a user other than root
    with pytest.raises(UserError, match=r"any more \(Permission denied\): .*allow writing"), open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        raise OSError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize(
    "error, free", [(OSError(errno.EIO, "Input/output error"), 0), (OSError(errno.ENOSPC, "No space left"), 2**30)]
)
def test_an_error_of_another_kind_or_another_disk_is_no_matter_of_room(workdir, monkeypatch, error, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**31, 2**31 - free, free))
    with pytest.raises(OSError, match=error.strerror), open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        raise error
    assert manifest(workdir)["status"] == "failed"


def test_a_run_that_goes_on_does_not_keep_the_error_of_an_earlier_launch(workdir):
    with pytest.raises(ValueError), open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        raise ValueError("broken")
    with open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        run.update(status="done", summary={})
    assert "error" not in manifest(workdir)


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError, RuntimeError])
def test_a_launch_that_never_began_leaves_nothing_so_that_the_corrected_one_works(workdir, error):
    with pytest.raises(error), open_run(workdir, model__name="mpl"):
        raise error("wrong")
    assert content(workdir) == {}
    with open_run(workdir, model__name="mlp_tiny") as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError])
@pytest.mark.parametrize("status", ["interrupted", "done"])
def test_a_launch_that_never_began_leaves_an_earlier_one_as_it_was(workdir, error, status):
    write_rows(workdir, [1], status)
    before = content(workdir)
    with pytest.raises(error), open_run(workdir, data__dir="missing"):
        raise error("wrong")
    assert content(workdir) == before


def test_a_resumed_run_is_refused_where_the_data_have_changed(workdir):
    write_rows(workdir, [1, 2])
    before = content(workdir)
    with pytest.raises(UserError, match="fingerprint of its labels has changed"), open_run(workdir) as run:
        known = {**run.manifest}
        try:
            run.begin(1, HARDWARE, FACTS, {"images": "dd44", **FINGERPRINTS, "labels": "cc33"})
        finally:
            assert run.manifest == known and run.manifest["fingerprints"] == FINGERPRINTS
    assert content(workdir) == before


def test_a_refused_resume_keeps_the_end_of_the_earlier_launch(workdir):
    with open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        run.append({"kind": "train", "step": 5})
        run.update(status="done", summary={"steps": 5}, end={"step": 5})
    before = content(workdir)
    with pytest.raises(UserError), open_run(workdir, train__total_epochs=500.0) as run:
        run.begin(1, HARDWARE, FACTS, {**FINGERPRINTS, "labels": "cc33"})
    assert content(workdir) == before


def test_a_run_that_starts_over_takes_the_data_as_they_are(workdir):
    write_rows(workdir, [])
    with open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, {**FINGERPRINTS, "labels": "cc33"})
    assert manifest(workdir)["fingerprints"]["labels"] == "cc33"


def test_fingerprints_that_are_known_later_are_checked_later(workdir):
    with open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, {"order": "bb22"})
        run.check_fingerprints({"labels": "aa11"})
    assert manifest(workdir)["fingerprints"] == FINGERPRINTS
    with pytest.raises(UserError, match="fingerprint of its labels has changed"), open_run(workdir) as run:
        run.begin(1, HARDWARE, FACTS, {"order": "bb22"})
        run.check_fingerprints({"labels": "cc33"})
    assert manifest(workdir)["fingerprints"] == FINGERPRINTS


@pytest.mark.parametrize("place", ["file", "file/below", "file/below/it"])
def test_a_workdir_below_a_regular_file_is_refused(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"can't be written \(.+\): choose another with --workdir=DIR"):
        with open_run(str(tmp_path / place)):
            pass


def test_a_manifest_that_may_not_be_read_is_named(workdir, monkeypatch):
    with open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)

    def refuse(path, *_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(pathlib.Path, "read_text", refuse)
    with pytest.raises(UserError, match=r"^\S+/manifest.json can't be read .*: allow reading of it\.$"):
        with open_run(workdir):
            pass


def test_arrays_and_sub_folders_are_kept_beside_the_manifest(workdir):
    ids = np.arange(3, dtype=np.uint32)
    with open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        run.save_arrays("corruption", ids=ids)
        assert run.subfolder("figures") == run.subfolder("figures")
    with np.load(f"{workdir}/corruption.npz", allow_pickle=False) as found:
        assert found["ids"].dtype == np.uint32 and found["ids"].tolist() == [0, 1, 2]
    names = {"manifest.json", "metrics.jsonl", "timings.jsonl", "corruption.npz", "figures", "lock"}
    assert set(os.listdir(workdir)) == names  # no draft


@pytest.mark.parametrize("text", ['{"parts": {"one": [1', "[1]", "{}", ""])
def test_a_part_of_an_analysis_is_computed_once_and_a_file_of_parts_that_is_damaged_counts_as_none(workdir, text):
    with open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        assert run.keep_part("one", lambda: [1, 0.1]) == run.keep_part("one", lambda: 1 / 0) == [1, 0.1]
        (run.folder / "parts.json").write_text(text)
        assert run.keep_part("one", lambda: 2) == 2
        run.forget_parts()
        assert not (run.folder / "parts.json").exists()


@pytest.mark.parametrize("changed", ["nothing", "fingerprints", "hardware", "versions", "environment", "commit"])
def test_a_part_of_other_data_or_software_is_computed_anew(workdir, monkeypatch, changed):
    with open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        run.keep_part("one", lambda: "old")
    fingerprints = {**FINGERPRINTS, "labels": "cc33"} if changed == "fingerprints" else FINGERPRINTS
    hardware = {**HARDWARE, "cores": 64} if changed == "hardware" else HARDWARE
    if hasattr(records.launches, changed):
        monkeypatch.setattr(records.launches, changed, lambda: {"other": "1"})
    with open_run(workdir) as run:
        run.begin(-1, hardware, FACTS, fingerprints)
        assert run.keep_part("two", lambda: "new") == "new"  # which leaves the others where they may stay
        assert run.keep_part("one", lambda: "new") == ("old" if changed == "nothing" else "new")


def test_no_part_is_kept_in_what_took_the_place_of_the_directory(workdir):
    with pytest.raises(UserError, match="was removed, moved or replaced"), open_run(workdir) as run:
        run.begin(-1, HARDWARE, FACTS, FINGERPRINTS)
        os.rename(workdir, f"{workdir}-moved")
        os.mkdir(workdir)
        pathlib.Path(workdir, "parts.json").touch()
        for act in (lambda: run.keep_part("one", lambda: 1), run.forget_parts):
            with pytest.raises(FileNotFoundError):
                act()
        assert not pathlib.Path(workdir, "parts.json").read_text()
        run.forget_parts()


@pytest.mark.parametrize(
    "soft, hard, now", [(64, 10**6, 4096), (1024, 2000, 2000), (9999, 10**6, None), (64, 64, "few")]
)
def test_as_many_files_may_be_open_as_the_system_allows(monkeypatch, soft, hard, now):
    limits = []
    monkeypatch.setattr(files.resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(files.resource, "setrlimit", lambda _, limit: limits.append(limit))
    if now == "few":
        with pytest.raises(
            UserError, match="^A process may hold 64 files .* --ulimit nofile=4096; or start a new shell"
        ):
            files.raise_file_limit()
    else:
        files.raise_file_limit()
    assert limits == ([(now, hard)] if isinstance(now, int) else [])
