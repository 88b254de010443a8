"""Owns how a page writes configs: values as a command line takes them, what is common to runs, what is a run's own.

Refuses to know a default: results know records alone.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rethink.report.page.run_index import RunRecord


def texts(config: Mapping[str, Any]) -> dict[str, str]:
    """Returns field -> its value as --config.FIELD=VALUE takes it; empty texts and sections, which say nothing, apart.

    Sections that are not flat, such as cells, are written as they are.
    """
    return {field: _text(value) for field, value in config.items() if value not in ("", {}, None)}


def _text(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, list) else str(value)


def common(entries: Sequence[RunRecord]) -> dict[str, str]:
    """Returns field -> the text that most runs have there."""
    counts: dict[str, Counter[str]] = {}
    for entry in entries:
        for field, text in texts(entry.manifest["config"]).items():
            counts.setdefault(field, Counter())[text] += 1
    return {field: counted.most_common(1)[0][0] for field, counted in sorted(counts.items())}


def own(entry: RunRecord, shared: Mapping[str, str]) -> dict[str, str | None]:
    """Returns field -> text where a run is unlike `shared`; None where it lacks the field."""
    found = texts(entry.manifest["config"])
    unlike: dict[str, str | None] = {field: text for field, text in found.items() if shared.get(field) != text}
    return {**unlike, **{field: None for field in shared if field not in found}}
