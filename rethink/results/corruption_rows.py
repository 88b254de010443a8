"""The rows of a run's closing table that say what corruption did."""

from collections.abc import Mapping, Sequence
from typing import Any

from rethink.results.screen import format_percent, name_class

MOST_ROWS, LARGEST_CHANGES = 12, 5  # classes of which a matrix has rows; changes that are named of more
LONGEST_NAME = 12  # characters of a class's name


def make_corruption_rows(corruption: Mapping[str, Any], class_names: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Returns the (label, value) rows of what corruption did beside what was declared, of labels and images.

    Args:
      corruption: of the manifest: split -> {"labels_changed": {"declared": fraction, "realized": fraction}, ...,
        "label_counts": rows of how often each label was given to a true one}, and `seed`.
      class_names: of the classes, shown beside their numbers.
    """
    rows = []
    for split, rates in corruption.items():
        if split == "seed":
            continue
        for name, rate in rates.items():
            if name == "label_counts":
                rows += _make_matrix_rows(rate, split, class_names)
            else:
                shown = f"{format_percent(rate['realized'])} ({rate['declared']:.2%} declared)"
                rows.append((f"{name.replace('_', ' ')}, {split}", shown))
    return rows


def _make_matrix_rows(counts: Sequence[Sequence[int]], split: str, class_names: Sequence[str]) -> list[tuple[str, str]]:
    """Returns a row for each true class with the percentages of the given ones; of many classes the largest changes."""
    names = ["".join(filter(str.isprintable, name)) for name in class_names]
    percents = [[100 * count / max(sum(row), 1) for count in row] for row in counts]
    if len(counts) <= MOST_ROWS:
        heading = (f"% given as, {split}", " ".join(f"{label:3}" for label in range(len(counts))))
        rows = [
            (
                f"  of true {name_class(label, names, LONGEST_NAME)}",
                " ".join(f"{value:3.0f}" if value else "  ." for value in row),
            )
            for label, row in enumerate(percents)
        ]
        return [heading, *rows]
    changes = [
        (value, true, given) for true, row in enumerate(percents) for given, value in enumerate(row) if given != true
    ]
    largest = sorted(changes, key=lambda change: -change[0])[:LARGEST_CHANGES]
    words = ", ".join(
        f"{name_class(true, names, LONGEST_NAME)} -> {name_class(given, names, LONGEST_NAME)} {value:.1f}%"
        for value, true, given in largest
        if value
    )
    return [(f"most frequent changes, {split}", words or "none")]
