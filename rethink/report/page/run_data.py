"""What the page embeds of a run, for its script: the config's fields as text, and the curves as numbers.

Defaults are not used, and nothing is smoothed: a field that is shown was recorded, and a point that is shown is a row.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rethink.figures import style
from rethink.report.page.run_index import RunRecord

MOST_POINTS = 200  # of a curve
CURVES = {  # kind of a row -> fields that a run's curves show
    "train": ("loss", "accuracy"),
    "evaluation": (
        "train_loss",
        "test_loss",
        "train_accuracy",
        "test_accuracy",
        "train_accuracy_clean",
        "train_accuracy_corrupted_given",
        "train_accuracy_corrupted_true",
    ),
}

Rows = Sequence[Mapping[str, Any]]


def describe_fields(config: Mapping[str, Any]) -> dict[str, str]:
    """Returns field -> its value as --config.FIELD=VALUE takes it; empty texts and sections, which say nothing, apart.

    Sections that are not flat, such as cells, are written as they are.
    """
    texts = {field: str(tuple(value) if isinstance(value, list) else value) for field, value in config.items()}
    return {field: text for field, text in texts.items() if config[field] not in ("", {}, None)}


def common_config(records: Sequence[RunRecord]) -> dict[str, str]:
    """Returns field -> the text that most runs have there."""
    counts: dict[str, Counter[str]] = {}
    for record in records:
        for field, text in describe_fields(record.run.config).items():
            counts.setdefault(field, Counter())[text] += 1
    return {field: counted.most_common(1)[0][0] for field, counted in sorted(counts.items())}


def own_config(record: RunRecord, shared: Mapping[str, str]) -> dict[str, str | None]:
    """Returns field -> text where a run is unlike `shared`; None where it lacks the field."""
    fields = describe_fields(record.run.config)
    unlike: dict[str, str | None] = {field: text for field, text in fields.items() if shared.get(field) != text}
    return {**unlike, **{field: None for field in shared if field not in fields}}


def choose_places(length: int, keep: Sequence[int] = ()) -> list[int]:
    """Returns which of so many points are shown: evenly spaced, first and last among them, and those to keep."""
    if length <= MOST_POINTS:
        return list(range(length))
    even = {round(number * (length - 1) / (MOST_POINTS - 1)) for number in range(MOST_POINTS)}
    return sorted(even | set(keep))


def round_number(value: float | None, scale: float = 1.0) -> float | None:
    """Returns a value to five digits; None for what is null or not finite, which leaves a gap."""
    scaled = style.finite(value) * scale
    return None if math.isnan(scaled) else float(f"{scaled:.5g}")


def thin_rows(rows: Rows) -> dict[str, dict[str, list[Any]]]:
    """Returns kind of row -> field -> values at the rows shown, `step` among the fields; accuracies in percent.

    Fields that no row holds are left out.
    """
    curves: dict[str, dict[str, list[Any]]] = {}
    for kind, fields in CURVES.items():
        chosen = [row for row in rows if row["kind"] == kind]
        shown = [chosen[place] for place in choose_places(len(chosen))]
        scales = {field: 100 if "accuracy" in field else 1 for field in fields}
        columns = {field: [round_number(row.get(field), scales[field]) for row in shown] for field in fields}
        recorded = {field: values for field, values in columns.items() if any(value is not None for value in values)}
        if recorded:
            curves[kind] = {"step": [row["step"] for row in shown], **recorded}
    return curves


def spans_decades(columns: Mapping[str, Mapping[str, Sequence[float | None]]]) -> bool:
    """Returns whether the losses of a run's curves want a logarithmic axis, by the rule of its static figure."""
    losses = [value for fields in columns.values() for name in fields if "loss" in name for value in fields[name]]
    positive = [value for value in losses if value is not None and value > 0]
    return bool(positive) and max(positive) > style.LOG_SPAN * min(positive)
