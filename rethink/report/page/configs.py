"""Writes configs for a page: values as a command line takes them, what most runs share, and what is a run's own.

Defaults are not used: a page shows what was recorded.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rethink.report.page.run_index import RunRecord


def describe_fields(config: Mapping[str, Any]) -> dict[str, str]:
    """Returns field -> its value as --config.FIELD=VALUE takes it; empty texts and sections, which say nothing, apart.

    Sections that are not flat, such as cells, are written as they are.
    """
    return {field: _describe_value(value) for field, value in config.items() if value not in ("", {}, None)}


def _describe_value(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, list) else str(value)


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
