"""Signals: which are handled, and that those which a parent had ignored stay so."""

import contextlib
import os
import signal

import pytest

from rethink.training import preemption


@pytest.fixture
def keep_handlers():
    before = {number: signal.getsignal(number) for number in preemption.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_waits_for_a_step_and_the_second_does_not(keep_handlers, number):
    before = signal.getsignal(number)
    with preemption.Signals() as signals:
        signals.wait_for_steps()
        os.kill(os.getpid(), number)
        assert signals.stop_requested(together=False) and signals.interruption().exit_code == 128 + number
        with pytest.raises(preemption.Interrupted):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_a_closed_terminal_is_no_matter_to_what_nohup_started(keep_handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with preemption.Signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not signals.stop_requested(together=False)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_signal_whose_error_is_lost_stops_the_run_at_its_first_step(keep_handlers):
    with preemption.Signals() as signals:
        with contextlib.suppress(preemption.Interrupted):  # as Python does with what a destructor raises
            os.kill(os.getpid(), signal.SIGTERM)
        signals.wait_for_steps()
        assert signals.stop_requested(together=False)
