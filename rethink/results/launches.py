"""The launches of a run: the steps that each made, when, on what, and with which software.

A run that is resumed has several. What they computed on may differ, and then a rerun can differ in its last bits.
"""

import contextlib
import datetime
import functools
import importlib.metadata
import itertools
import os
import pathlib
import platform
import re
import subprocess
from collections.abc import Mapping
from typing import Any, NamedTuple

_PACKAGES = (
    "rethink",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "ml_collections",
    "numpy",
    "scipy",
    "scikit-learn",
    "tensorflow-datasets",
    "array_record",
    "grain",
    "pillow",
    *(f"jax-cuda{cuda}-{part}" for cuda in (12, 13) for part in ("plugin", "pjrt")),
    "nvidia-cudnn-cu12",
    "nvidia-cudnn-cu13",
    "nvidia-cublas-cu12",
    "nvidia-cublas",  # of CUDA 13
    "libtpu",
)
_VARIABLES = re.compile("(JAX|FLAX)_.*|XLA_FLAGS|LIBTPU_INIT_ARGS|NVIDIA_TF32_OVERRIDE")  # that act on what is computed
_PATH = re.compile(r"(?<![^\s=])[^\s=]*[/\\~]\S*")


class Piece(NamedTuple):
    """The steps of a run that one launch made, and no later one made again: (first_step, last_step]."""

    launch: Mapping[str, Any]
    first_step: int
    last_step: int


def describe_launch(step: int, hardware: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the manifest keeps of a launch that starts now from a step.

    Its fields: `first_step`; `last_step`, the last one that was saved or ended the run; `started`, UTC; `hardware`;
    `versions` of Python and the packages; `environment`; `commit` of the project's repository, None where the package
    is not run from one.
    """
    return {
        "first_step": step,
        "last_step": step,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "hardware": dict(hardware),
        "versions": versions(),
        "environment": environment(),
        "commit": commit(),
    }


def environment() -> dict[str, str]:
    """Returns the environment variables that JAX, Flax, XLA and CUDA's libraries read; paths in them are left out.

    A path is replaced by "PATH": it says where something lies on this machine, and nothing of what is computed.
    """
    variables = {name: value for name, value in os.environ.items() if _VARIABLES.fullmatch(name)}
    return {name: _PATH.sub("PATH", value) for name, value in sorted(variables.items())}


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that a result depends on."""
    installed = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[package] = importlib.metadata.version(package)
    return installed


@functools.cache
def commit() -> str | None:
    """Returns the commit that the package is run from, with "-dirty" where files were changed; None where unknown."""
    root = pathlib.Path(__file__).parents[2]
    if not (root / ".git").exists():  # else git would name the repository that an environment happens to lie in
        return None
    words = ["git", "-C", str(root), "--no-optional-locks", "describe", "--always", "--abbrev=40", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        described = subprocess.run([*words, "--dirty"], capture_output=True, text=True, check=True, timeout=10)
        return described.stdout.strip()
    return None


def are_launches(value: Any) -> bool:
    """Returns whether a value read from a manifest is a list of launches."""
    return isinstance(value, list) and all(
        isinstance(launch, dict)
        and all(isinstance(launch.get(field), int) for field in ("first_step", "last_step"))
        and all(isinstance(launch.get(field), dict) for field in ("hardware", "versions"))
        for launch in value
    )


def read_pieces(manifest: Mapping[str, Any]) -> list[Piece]:
    """Returns who made which steps of a run, in order.

    A launch that made none, or none that a later one did not make again, is left out; of runs without steps the last
    launch is what made the result. [] for a manifest without launches.
    """
    recorded = manifest.get("launches", [])
    pieces: list[Piece] = []
    first_of_later = float("inf")
    for launch in reversed(recorded):
        first, last = launch["first_step"], min(launch["last_step"], first_of_later)
        if first < last:
            pieces.insert(0, Piece(launch, first, int(last)))
        first_of_later = min(first_of_later, first)
    return pieces or [Piece(launch, 0, 0) for launch in recorded[-1:]]


def describe_hardware(manifest: Mapping[str, Any]) -> str:
    """Returns the devices of a run, such as "2 x cpu", each with its steps where they changed; "" if not recorded."""
    parts = []
    for name, group in itertools.groupby(read_pieces(manifest), lambda piece: _name_hardware(piece.launch)):
        pieces = list(group)
        parts.append((name, f"{name} (steps {pieces[0].first_step:,} to {pieces[-1].last_step:,})"))
    return parts[0][0] if len(parts) == 1 else ", ".join(with_steps for _, with_steps in parts)


def _depends_on_cores(hardware: Mapping[str, Any]) -> bool:
    """Returns whether the cores may change the last bits: on CPU, XLA divides sums among them."""
    return hardware.get("platform") == "cpu" and "cores" in hardware


def _name_hardware(launch: Mapping[str, Any]) -> str:
    hardware = launch["hardware"]
    if "devices" not in hardware:
        return ""
    processes = hardware.get("processes", 1)
    name = f"{hardware['devices']} x {hardware.get('kind')}"
    return name if processes == 1 else f"{name} of {processes} processes"


def find_mixed(manifest: Mapping[str, Any]) -> list[str]:
    """Returns in what the launches of a run differ, as "jax (0.9, 0.10)"; [] where all were alike."""
    values = _collect_facts(manifest)
    return [f"{name} ({', '.join(found)})" for name, found in values.items() if len(found) > 1]


def find_changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Returns in what the launches of two runs differ, as "jax (0.9 -> 0.10)"; [] where all were alike.

    Args:
      first, second: manifests.
    """
    values = [_collect_facts(manifest) for manifest in (first, second)]
    pairs = {name: [found.get(name, ["none"]) for found in values] for name in {**values[0], **values[1]}}
    return [f"{name} ({', '.join(old)} -> {', '.join(new)})" for name, (old, new) in pairs.items() if old != new]


def _collect_facts(manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns name of a package or variable, "hardware" or "commit" -> its values, over the launches."""
    launches = [
        {
            "hardware": _name_hardware(launch),
            **({"cores": launch["hardware"]["cores"]} if _depends_on_cores(launch["hardware"]) else {}),
            **launch["versions"],
            **launch.get("environment", {}),
            "commit": launch.get("commit") or "unknown",
        }
        for launch, _, _ in read_pieces(manifest)
    ]
    names = dict.fromkeys(name for launch in launches for name in launch)
    return {name: list(dict.fromkeys(str(launch.get(name, "none")) for launch in launches)) for name in names}
