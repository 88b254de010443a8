"""Owns a run that is made again from its own directory: its manifest's config, and whether the rows come out alike.

Refuses to change anything of the config: for another run, start main.py with its overrides.

    python -m rethink.again runs/NAME-HASH                   # goes on with an interrupted run
    python -m rethink.again runs/NAME-HASH --workdir=DIR     # the same run from its start, and a comparison with it
"""

import argparse
import itertools
import pathlib
import sys

from ml_collections import ConfigDict

from rethink import experiment, settings
from rethink.results import records


def config_of(folder: pathlib.Path) -> ConfigDict:
    """Returns the config of a run.

    Raises:
      UserError: the folder holds no run, or a damaged one.
    """
    return settings.from_flat(records.read_run(folder)["config"])


def compare(first: pathlib.Path, second: pathlib.Path) -> str:
    """Returns one line: whether two runs of one config saw the same examples and wrote the same rows."""
    manifests = [records.read_run(folder) for folder in (first, second)]
    prints = [manifest.get("fingerprints", {}) for manifest in manifests]
    changed = [name for name in {**prints[0], **prints[1]} if prints[0].get(name) != prints[1].get(name)]
    if changed:
        return f"Other data: the fingerprints of {', '.join(sorted(changed))} differ from those in {first}."
    rows = [records.read_rows(folder / "metrics.jsonl") for folder in (first, second)]
    for before, now in itertools.zip_longest(*rows, fillvalue={}):
        if before != now:
            fields = [name for name in {**before, **now} if before.get(name) != now.get(name)]
            versions = [manifest.get("versions", {}) for manifest in manifests]
            other = [name for name, found in versions[1].items() if versions[0].get(name) != found]
            why = f"; of another version now: {', '.join(other)}" if other else ""
            step = (before or now)["step"]
            return f"Same data, other rows: from step {step:,} on {', '.join(fields)} differ from {first}{why}."
    return f"Same data, and all {len(rows[0]):,} rows of metrics.jsonl are equal to those in {first}."


def main() -> int:
    """Makes the run that the command line names again; returns the exit status."""
    parser = argparse.ArgumentParser(description="Makes a run again from its own directory.")
    parser.add_argument("folder", type=pathlib.Path, metavar="RUN", help="a run directory")
    parser.add_argument("--workdir", type=pathlib.Path, help="makes it from its start there, and compares")
    arguments = parser.parse_args()
    try:
        config = config_of(arguments.folder)
        status = experiment.run(config, str(arguments.workdir or arguments.folder), experiment.Launch())
        if arguments.workdir:
            print(compare(arguments.folder, arguments.workdir))
    except settings.UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        return getattr(interruption, "status", 130)
    return status


if __name__ == "__main__":
    sys.exit(main())
