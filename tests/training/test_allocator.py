"""Freed memory: that training on CPU keeps it, that nothing else does, and that a run needs little more."""

import json
import pathlib
import platform
import subprocess
import sys

import pytest

from rethink.training import allocator

ROOT = pathlib.Path(__file__).parents[2]
FAULTS = """
import json, resource
import numpy as np
from rethink.training import allocator

def faults():
    for turn in range(3):
        if turn == 1:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

allocator.prepare()
measured = {"before": faults()}
with allocator.keeping_freed_memory():
    measured |= {"inside": faults(), "kept": allocator.keeps_freed_memory()}
    with allocator.keeping_freed_memory():
        pass
    measured["after an inner block"] = faults()
print(json.dumps(measured | {"behind": faults(), "kept behind": allocator.keeps_freed_memory()}))
"""
RUN = """
import json, resource, sys
from rethink.configs import digits_random
from rethink.experiment.run import Launch, run_experiment
from rethink.results import records
from rethink.training import allocator

if sys.argv[2] == "without":
    allocator.prepare = lambda: None
config = digits_random.get_config("conv_tiny")
config.train.total_epochs = 2.0
assert run_experiment(config, sys.argv[1], Launch()) == 0
kept = json.load(open(sys.argv[1] + "/manifest.json"))["launches"][0]["hardware"]["keeps_freed_memory"]
print(json.dumps({"kept": kept, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def run(code, *arguments, platforms="cpu"):
    """Returns what a process of its own prints last."""
    environment = {"JAX_PLATFORMS": platforms, "PYTHONPATH": str(ROOT), "HOME": str(pathlib.Path.home())}
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@needs_glibc
def test_memory_that_is_freed_is_kept_in_the_block_alone():
    measured = run(FAULTS)
    assert measured["kept"] and not measured["kept behind"]
    assert max(measured["inside"], measured["after an inner block"]) < min(measured["before"], measured["behind"]) / 10


def test_nothing_is_kept_where_jax_may_run_elsewhere():
    measured = run(FAULTS, platforms="cuda,cpu")
    assert not measured["kept"] and not measured["kept behind"]


def test_nothing_is_kept_with_another_c_library(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setitem(allocator._state, "prepared", False)
    allocator.prepare()
    with allocator.keeping_freed_memory():
        assert not allocator.keeps_freed_memory()


@needs_glibc
@pytest.mark.slow
def test_a_run_records_that_it_keeps_memory_and_needs_little_more(tmp_path):
    measured = {how: run(RUN, str(tmp_path / how), how) for how in ("with", "without")}
    assert measured["with"]["kept"] and not measured["without"]["kept"]
    assert measured["with"]["peak"] < 1.25 * measured["without"]["peak"]
