"""Writes the tables that lie beside a page as files: CSV, Markdown and LaTeX, and chooses their names.

No two files have one name, and no name leads out of its folder.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rethink.results import files, tables

FOLDER = "tables"
SUFFIXES = ("csv", "md", "tex")


class Exports:
    """The files of a page's tables."""

    def __init__(self, output: Path):
        """Takes the path of the page; its folder must exist."""
        self._folder = output.parent / FOLDER
        self._names: set[str] = set()

    def write(self, name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], caption: str) -> list[str]:
        """Writes a table in each form; returns the paths, relative to the page."""
        self._folder.mkdir(exist_ok=True)
        stem, number = file_stem(name), 2
        while stem in self._names:
            stem, number = f"{file_stem(name)}-{number}", number + 1
        self._names.add(stem)
        latex = tables.to_latex(rows, columns, caption)
        contents = (tables.to_csv(rows, columns), tables.to_markdown(rows, columns), latex)
        for suffix, content in zip(SUFFIXES, contents, strict=True):
            files.replace(self._folder / f"{stem}.{suffix}", (content.rstrip("\n") + "\n").encode())
        return [f"{FOLDER}/{stem}.{suffix}" for suffix in SUFFIXES]


def file_stem(name: str) -> str:
    """Returns the name of a table's files, without ending: plain characters, and 100 of them at most."""
    return re.sub(r"[^A-Za-z0-9_.+=-]", "_", name).lstrip(".")[:100] or "table"
