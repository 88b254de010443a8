"""Threads decode in order, see errors, and show progress only where it takes a while."""

import logging
import threading

import pytest

from rethink.data import parallel


@pytest.mark.parametrize("count", [0, 1, parallel.CHUNK, 5 * parallel.CHUNK + 3])
@pytest.mark.parametrize("cores", [1, 3])
def test_results_come_in_order_from_as_many_threads_as_cores(monkeypatch, count, cores):
    monkeypatch.setattr(parallel, "count_cores", lambda: cores)
    threads = set()

    def double(number):
        threads.add(threading.get_ident())
        return 2 * number

    results = parallel.map_in_order(double, iter(range(count)), total=count, label="doubling")
    assert list(results) == [2 * number for number in range(count)]
    assert len(threads) <= cores and threading.get_ident() not in threads


def test_no_more_is_drawn_than_is_at_work_and_an_error_ends_it():
    drawn = []

    def numbers():
        for number in range(10_000):
            drawn.append(number)
            yield number

    results = parallel.map_in_order(lambda number: 1 // (500 - number), numbers(), total=10_000, label="dividing")
    with pytest.raises(ZeroDivisionError):
        list(results)
    assert 500 < len(drawn) < 500 + (2 * parallel.count_cores() + 3) * parallel.CHUNK


def test_what_takes_long_is_a_line_now_and_then_without_a_terminal(monkeypatch, caplog, capfd):
    monkeypatch.setattr(parallel, "SECONDS_TO_SHOW", 0.0)
    monkeypatch.setattr(parallel, "LINE_SECONDS", 0.0)
    with caplog.at_level(logging.INFO, "rethink"):
        list(parallel.map_in_order(str, range(2 * parallel.CHUNK), total=2 * parallel.CHUNK, label="writing"))
    assert "writing  64/128" in caplog.text and "writing  128/128" in caplog.text
    assert capfd.readouterr() == ("", "")
