"""Which dispatches a trace holds."""

import jax
import pytest

from rethink.training.profiler import Profiler


@pytest.mark.parametrize(
    "launched_at, length, steps, traced",
    [
        (0, 1, (3, 5), [4, 5]),
        (0, 16, (20, 30), [32]),
        (0, 16, (20, 40), [32, 48]),
        (0, 12, (0, 3), [24]),  # the second of the launch: the first one compiles
        (24, 12, (40, 45), [48]),
    ],
)
def test_a_trace_holds_the_dispatches_of_the_steps_asked_for(tmp_path, monkeypatch, launched_at, length, steps, traced):
    running, traced_steps = [], []
    monkeypatch.setattr(jax.profiler, "start_trace", running.append)
    monkeypatch.setattr(jax.profiler, "stop_trace", running.clear)
    with Profiler(tmp_path, *steps, launched_at=launched_at) as profiler:
        for step in range(launched_at + length, launched_at + 6 * length, length):
            if running:
                traced_steps.append(step)  # was dispatched under the trace
            profiler.advance(step)
    assert traced_steps == traced and not running
