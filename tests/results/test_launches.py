"""The launches of a run: who made which steps, on what, and in what two runs differ."""

import importlib.metadata
import os
import subprocess

import pytest

from rethink.results import launches


def launch(first, last, devices=1, kind="cpu", processes=1, jax="0.10", commit="c1", **environment):
    return {
        "first_step": first,
        "last_step": last,
        "started": "2026-01-02T03:04:05+00:00",
        "hardware": {"devices": devices, "kind": kind, "processes": processes},
        "versions": {"jax": jax},
        "environment": environment,
        "commit": commit,
    }


@pytest.mark.parametrize(
    "recorded, described",
    [
        ([launch(0, 32)], "1 x cpu"),
        ([launch(0, 32, 4, "TPU v4", 2)], "4 x TPU v4 of 2 processes"),
        ([launch(0, 16), launch(16, 32)], "1 x cpu"),
        ([launch(0, 16), launch(16, 32, 2)], "1 x cpu (steps 0 to 16), 2 x cpu (steps 16 to 32)"),
        (
            [launch(0, 16), launch(16, 2000), launch(2000, 3000, 2)],
            "1 x cpu (steps 0 to 2,000), 2 x cpu (steps 2,000 to 3,000)",
        ),
        # Steps that a later launch made again are its own: a checkpoint was damaged, or not there yet.
        ([launch(0, 16), launch(8, 32, 2)], "1 x cpu (steps 0 to 8), 2 x cpu (steps 8 to 32)"),
        ([launch(0, 16), launch(0, 32, 2)], "2 x cpu"),
        ([launch(0, 16), launch(16, 24, 3), launch(8, 32, 2)], "1 x cpu (steps 0 to 8), 2 x cpu (steps 8 to 32)"),
        # A launch that only finished what was trained already made no step.
        ([launch(0, 32), launch(32, 32, 2)], "1 x cpu"),
        ([launch(0, 0), launch(0, 0, 2)], "2 x cpu"),  # an analysis has no steps: the last launch computed it all
    ],
)
def test_the_hardware_of_a_run_is_that_of_each_of_its_steps(recorded, described):
    assert launches.are_launches(recorded)
    assert launches.describe_hardware({"launches": recorded}) == described


def test_of_a_record_without_launches_nothing_is_said():
    assert launches.describe_hardware({}) == ""
    assert launches.find_mixed({}) == [] and launches.find_changes({}, {}) == []


@pytest.mark.parametrize("value", [None, 3, {"a": 1}, [1], [{}], [{**launch(0, 1), "hardware": 3}]])
def test_what_is_no_list_of_launches_is_seen(value):
    assert not launches.are_launches(value)


def test_what_differs_between_launches_and_between_runs_is_named():
    mixed = {"launches": [launch(0, 8), launch(8, 16, 2, jax="0.11", XLA_FLAGS="--a")]}
    plain = {"launches": [launch(0, 16, commit="c2")]}
    assert launches.find_mixed(plain) == []
    assert launches.find_mixed(mixed) == ["hardware (1 x cpu, 2 x cpu)", "jax (0.10, 0.11)", "XLA_FLAGS (none, --a)"]
    assert launches.find_changes(mixed, plain) == [
        "hardware (1 x cpu, 2 x cpu -> 1 x cpu)",
        "jax (0.10, 0.11 -> 0.10)",
        "commit (c1 -> c2)",
        "XLA_FLAGS (none, --a -> none)",
    ]
    assert launches.find_changes(plain, plain) == []


def test_the_commit_is_that_of_the_projects_own_repository(monkeypatch, tmp_path):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a", *words], cwd=tmp_path, check=True)

    package = tmp_path / "project" / "rethink" / "results"
    package.mkdir(parents=True)
    (package / "launches.py").write_text("")
    monkeypatch.setattr(launches, "__file__", str(package / "launches.py"))
    git("init", "-q"), git("add", "."), git("commit", "-qm", "first")
    assert launches.commit.__wrapped__() is None  # a repository around the project is not the project's
    (tmp_path / ".git").rename(tmp_path / "project" / ".git")
    monkeypatch.chdir(tmp_path / "project")
    git("-C", "project", "add", "-A"), git("-C", "project", "commit", "-qm", "second")
    commit = launches.commit.__wrapped__()
    assert len(commit) == 40 and int(commit, 16)
    (package / "launches.py").write_text("changed")
    assert launches.commit.__wrapped__() == f"{commit}-dirty"


def test_the_environment_is_kept_as_far_as_results_depend_on_it_and_without_paths(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("JAX_", "FLAX_", "XLA_"))]:
        monkeypatch.delenv(name)
    variables = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": "/home/somebody/cache",
        "JAX_DEFAULT_MATMUL_PRECISION": "BF16_BF16_F32",
        "XLA_FLAGS": "--xla_gpu_deterministic_ops=true --xla_dump_to=~/dump --xla_cpu_use_x=false",
        "FLAX_FIX_RNG_SEPARATOR": "1",
        "NVIDIA_TF32_OVERRIDE": "0",
        "SOME_TOKEN": "secret",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launches.environment() == {
        "FLAX_FIX_RNG_SEPARATOR": "1",
        "JAX_COMPILATION_CACHE_DIR": "PATH",
        "JAX_DEFAULT_MATMUL_PRECISION": "BF16_BF16_F32",
        "JAX_PLATFORMS": "cpu",
        "NVIDIA_TF32_OVERRIDE": "0",
        "XLA_FLAGS": "--xla_gpu_deterministic_ops=true --xla_dump_to=PATH --xla_cpu_use_x=false",
    }


@pytest.mark.parametrize("package", ["jax-cuda12-plugin", "jax-cuda13-pjrt", "nvidia-cudnn-cu12", "libtpu"])
def test_versions_name_the_packages_of_an_accelerator_where_they_are_installed(monkeypatch, package):
    installed = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.2.3" if name == package else installed(name))
    assert launches.versions()[package] == "1.2.3"
