"""Reruns a run from its own directory, by the config in its manifest, and compares the rows of both.

Nothing of the config is changed: for another run, start main.py with its overrides.

    python -m rethink.experiment.rerun runs/NAME-HASH                   # resumes an interrupted run
    python -m rethink.experiment.rerun runs/NAME-HASH --workdir=DIR     # the same run from its start, and a comparison

Exit code: that of main.py, and 1 where the new run has ended well and its records differ.
"""

import argparse
import itertools
import pathlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from rethink.results import launches, records
from rethink.results.presentations import PRESENTATIONS
from rethink.results.runs import LoadedRun
from rethink.schema import validation
from rethink.schema.errors import EXIT_DONE, UserError, exit_on_mistake, import_jax

EXIT_DIFFERS = 1


def read_config(folder: pathlib.Path) -> ConfigDict:
    """Returns the config of a run.

    Raises:
      UserError: the folder holds no run, or a damaged one.
    """
    return validation.from_flat(records.read_run(folder)["config"])


def compare_runs(first: pathlib.Path, second: pathlib.Path) -> tuple[str, bool]:
    """Returns one line on two runs of one config, and whether their examples and their results are the same.

    Compared are the fingerprints of the data, the rows of metrics.jsonl, and the results, all but times, and
    predictions.npz and presentations.npz where both have them.
    """
    manifests = [records.read_run(folder) for folder in (first, second)]
    # Data.
    changed = _differing(*(manifest.get("fingerprints", {}) for manifest in manifests))
    if changed:
        return f"Other data: the fingerprints of {', '.join(sorted(changed))} differ from those in {first}.", False
    # Rows; other hardware or software may explain a difference.
    changes = launches.find_changes(*manifests)
    why = f"; other now: {', '.join(changes)}" if changes else ""
    rows = [records.read_rows(folder / "metrics.jsonl") for folder in (first, second)]
    for before, now in itertools.zip_longest(*rows, fillvalue={}):
        if before != now:
            step, sizes = (before or now)["step"], _measure_differences(*rows)
            fields = ", ".join(f"{field}{sizes.get(field, '')}" for field in _differing(before, now))
            return f"Same data, other rows: from step {step:,} on {fields} differ from {first}{why}.", False
    # Results.
    results = _differing(*(_result(manifest) for manifest in manifests))
    folders = zip((first, second), manifests, strict=True)
    loaded = [LoadedRun(folder, folder.name, manifest) for folder, manifest in folders]
    for file, read in ((records.PREDICTIONS, LoadedRun.predictions), (PRESENTATIONS, LoadedRun.presentations)):
        first_arrays, second_arrays = map(read, loaded)
        if first_arrays and second_arrays:
            arrays = zip(first_arrays._fields, first_arrays, second_arrays, strict=True)
            results += [f"{name} of {file}" for name, old, new in arrays if not np.array_equal(old, new)]
    if results:
        return f"Same data and rows, other results: {', '.join(results)} differ from {first}{why}.", False
    counted = f"all {len(rows[0]):,} rows of metrics.jsonl and " if rows[0] else ""
    return f"Same data, and {counted}the results are equal to those in {first}{why}.", True


def _measure_differences(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Returns field -> " (by up to 1.2e-07)", the largest difference of its numbers in rows of one place."""
    largest: dict[str, float] = {}
    for before, now in zip(first, second, strict=False):
        for field in _differing(before, now):
            old, new = before.get(field), now.get(field)
            if isinstance(old, int | float) and isinstance(new, int | float):
                largest[field] = max(largest.get(field, 0.0), abs(old - new))
    return {field: f" (by up to {size:.2g})" for field, size in largest.items()}


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Returns the names under which two mappings hold different values."""
    return [name for name in {**first, **second} if first.get(name) != second.get(name)]


def _result(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the status and the summary of a run, without times and without the summary's rows as texts."""
    summary = {name: value for name, value in (manifest.get("summary") or {}).items() if name != "rows"}
    return {"status": manifest["status"], **_untimed(summary)}


def _untimed(value: Any) -> Any:
    """Returns a JSON value without the fields named ...seconds."""
    if isinstance(value, dict):
        return {name: _untimed(part) for name, part in value.items() if not name.endswith("seconds")}
    return [_untimed(part) for part in value] if isinstance(value, list) else value


def _run_recorded(config: ConfigDict, folder: pathlib.Path) -> int:
    """Runs a config that was recorded, maybe by a version with other fields; returns the exit code."""
    from rethink.experiment.run import Launch, run_experiment

    try:
        return run_experiment(config, str(folder), Launch())
    except AttributeError as error:
        if "ml_collections" not in traceback.extract_tb(error.__traceback__)[-1].filename:
            raise
        raise UserError(
            f"The run's config lacks a field that this version has ({error}): rerun it with the version that its "
            "manifest names."
        ) from error


def main() -> int:
    """Reruns the run that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(description="Reruns a run from its own directory.")
    parser.add_argument("folder", type=pathlib.Path, metavar="RUN", help="a run directory")
    parser.add_argument("--workdir", type=pathlib.Path, help="reruns it from its start there, and compares")
    with exit_on_mistake():
        arguments = parser.parse_args()
        import_jax()
        from rethink import jax_options
        from rethink.experiment.network import check_program

        config = read_config(arguments.folder)
        if arguments.workdir and arguments.workdir.resolve() == arguments.folder.resolve():
            raise UserError(f"--workdir={arguments.workdir} is the run itself: choose a new directory.")
        manifest = records.read_run(arguments.folder)
        mixed = launches.find_mixed(manifest)
        if arguments.workdir and mixed:
            print(
                f"{arguments.folder} was made by launches that differ in {', '.join(mixed)}: a rerun, which is one "
                "launch, can't be expected to be equal to the bit."
            )
        if arguments.workdir:
            jax_options.fix()
            check_program(manifest, arguments.folder, is_rerun=True)
        exit_code = _run_recorded(config, arguments.workdir or arguments.folder)
        if arguments.workdir:
            line, same = compare_runs(arguments.folder, arguments.workdir)
            print(line)
            exit_code = exit_code or (EXIT_DONE if same else EXIT_DIFFERS)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
