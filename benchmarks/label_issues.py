"""How often the interval of an audit of labels holds the number of labels that are wrong: digits, 3% of them changed.

    python -m benchmarks.label_issues [REPETITIONS]

Repetitions take symmetric noise and pair flips in turn, each with a seed of its own. Printed for each kind: in how many
the true number lies in the interval, the width of the interval and the error of the estimate, in points of all labels.
"""

import json
import pathlib
import statistics
import sys
import tempfile

from rethink.configs import label_issues
from rethink.experiment.run import Launch, run_experiment

NOISE = ("symmetric", "pair_flip")
SHARE = 0.03


def audit_once(repetition: int) -> tuple[int, dict, float]:
    """Returns how many labels are wrong, the estimate, and the seconds that it took."""
    config = label_issues.get_config("digits")
    config.corruption.labels = NOISE[repetition % len(NOISE)]
    config.corruption.label_probability = SHARE
    config.corruption.seed = 2000 + repetition
    config.seed = 100 + repetition
    with tempfile.TemporaryDirectory() as folder:
        run_experiment(config, folder, Launch(quiet=True))
        summary = json.loads((pathlib.Path(folder) / "manifest.json").read_text())["summary"]
    return summary["changed_labels"], summary["wrong_labels"], summary["seconds"]


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    rows = []
    for repetition in range(repetitions):
        wrong, found, seconds = audit_once(repetition)
        kind, examples = NOISE[repetition % len(NOISE)], 1437
        points = [100 * (found["high"] - found["low"]) / examples, 100 * (found["wrong"] - wrong) / examples]
        rows.append((kind, found["low"] <= wrong <= found["high"], *points))
        interval = f"{found['wrong']:.1f} ({found['low']:.1f} to {found['high']:.1f})"
        print(f"{repetition} {kind}: {wrong} wrong, estimated {interval}, {seconds:.0f} s", flush=True)
    for kind in (*NOISE, "all"):
        kept = [row for row in rows if kind in (row[0], "all")]
        inside, widths, errors = (list(column) for column in list(zip(*kept, strict=True))[1:])
        print(
            f"{kind}: {sum(inside)} of {len(kept)} inside, width {statistics.fmean(widths):.2f} points (most "
            f"{max(widths):.2f}), bias {statistics.fmean(errors):+.2f} points"
        )


if __name__ == "__main__":
    main()
