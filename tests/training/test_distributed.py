"""How the processes of a run find each other, and what is set before anything is computed."""

import os
import subprocess
import sys
import threading

import jax
import pytest
from ml_collections import ConfigDict

from rethink.schema.errors import UserError
from rethink.training import distributed

HARDWARE = ConfigDict({"cpu_devices": 1, "heartbeat_timeout_seconds": 10.0, "compilation_cache": ""})


def test_strict_options_of_the_environment_do_not_reach_the_package():
    code = f"""
import flax
import jax.numpy as jnp
from ml_collections import ConfigDict
from rethink.training import distributed

distributed.initialize(ConfigDict({HARDWARE.to_dict()}), None)
print(jnp.ones((2, 3), bool) * jnp.ones(3) + jnp.zeros(()))
assert not flax.config.flax_fix_rng_separator and not flax.config.flax_preserve_adopted_names
"""
    strict = {
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_TRANSFER_GUARD": "disallow",
        "FLAX_FIX_RNG_SEPARATOR": "1",
        "FLAX_PRESERVE_ADOPTED_NAMES": "1",
    }
    ended = subprocess.run([sys.executable, "-c", code], env=os.environ | strict, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable to initialize backend\n'cuda'")])
@pytest.mark.parametrize(
    "platforms, line",
    [
        ("cpu", r"JAX_PLATFORMS=cpu can't be started \(.*\): .*, or set JAX_PLATFORMS=cpu, or unset it\."),
        (None, r"JAX's devices can't be started \(.*\): .*, or set JAX_PLATFORMS=cpu\."),
    ],
)
def test_devices_that_can_not_be_started_are_one_line(monkeypatch, error, platforms, line):
    def fail():
        raise error

    monkeypatch.setattr(jax, "devices", fail)
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", platforms)
    try:
        with pytest.raises(UserError, match=f"^{line}$"):
            distributed.initialize(HARDWARE, None)
    finally:
        jax.config.update("jax_platforms", before)


def test_a_launcher_that_is_only_half_there_is_named(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NODELIST", "localhost")
    monkeypatch.setenv("SLURM_NTASKS", "2")  # as in a shell inside a job; the job's id is missing
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: False)
    with pytest.raises(UserError, match=r"SLURM_NTASKS says that there are several: .* or unset it to run one"):
        distributed.initialize(HARDWARE, None)


def test_a_limit_of_the_cache_that_cannot_work_is_named(monkeypatch):
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: None)
    jax.config.update("jax_compilation_cache_max_size", 10**8)
    try:
        with pytest.raises(UserError, match="pip install filelock"):
            distributed.initialize(ConfigDict({**HARDWARE, "compilation_cache": "~/nowhere"}), None)
    finally:
        jax.config.update("jax_compilation_cache_max_size", -1)


def test_a_process_that_waits_says_so_and_ends_with_one_line(monkeypatch, capsys):
    monkeypatch.setattr(distributed, "_ANNOUNCE_SECONDS", 0.0)
    monkeypatch.setattr(distributed, "_CONNECT_SECONDS", 0.0)
    ended = []
    monkeypatch.setattr(distributed.os, "_exit", ended.append)
    distributed._limit_waiting(threading.Event(), "start all of them.")
    printed = capsys.readouterr()
    assert ended == [2]
    assert "Waiting for the other processes" in printed.out
    assert (
        printed.err == "Error: The other processes of this run were not there after 0.0 seconds: start all of them.\n"
    )


def test_a_limit_of_threads_is_named_before_jax_meets_it(monkeypatch):
    start, started = threading.Thread.start, []

    def start_three(thread):
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_three)
    distributed._check_threads.cache_clear()
    with pytest.raises(UserError, match=r"^Only 3 of \d+ threads could be started: raise the limit"):
        distributed.initialize(HARDWARE, None)
    assert not any(thread.is_alive() for thread in started)


def test_threads_are_tried_once_a_process_for_the_cores_that_it_may_use(monkeypatch):
    started = []
    monkeypatch.setattr(distributed.os, "sched_getaffinity", lambda _: {0, 5, 7}, raising=False)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread))
    monkeypatch.setattr(threading.Thread, "join", lambda thread: None)
    distributed._check_threads.cache_clear()
    for _ in range(2):
        distributed._check_threads()
    assert len(started) == 32 + 4 * 3
