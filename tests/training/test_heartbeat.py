"""The heartbeat: a process that is silent is lost, but not while the one that watches it was suspended itself."""

import pytest

from rethink.training import distributed, heartbeat


@pytest.fixture
def watch(monkeypatch):
    """Watches process 1 by the seconds that pass before each beat, and its text at each; returns what is found."""

    def watch_process(timeout, passed, texts):
        clock, beats = iter([0.0, *passed]), iter(texts)
        now = [0.0]

        def read(index):
            text = next(beats, None)
            if text is None:
                watched._leaving.set()
            return text or "last"

        def wait(seconds):
            now[0] += next(clock, 1.0)

        watched = heartbeat.Heartbeat(timeout, on_lost=None)
        monkeypatch.setattr(watched._leaving, "wait", wait)
        monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(distributed, "is_first", lambda: True)
        monkeypatch.setattr(distributed, "other_processes", lambda: [1])
        monkeypatch.setattr(distributed, "kv_set", lambda text: None)
        monkeypatch.setattr(distributed, "kv_get", read)
        return watched._watch_until_lost()

    return watch_process


def test_a_process_that_is_silent_for_longer_than_the_timeout_is_lost(watch):
    assert watch(5, [1.0] * 9, "abcccccccc") == "process 1 has not been heard of for 5 s"
    assert watch(5, [1.0] * 9, "abcccccdef") == ""


def test_processes_that_are_suspended_together_find_each_other_again(watch):
    assert watch(5, [1.0, 1.0, 3600.0, 1.0, 1.0, 1.0], "abcccdef") == ""


def test_a_process_that_has_ended_well_may_be_silent(watch):
    assert watch(5, [1.0] * 9, ["1", *[heartbeat.DONE] * 9]) == ""
