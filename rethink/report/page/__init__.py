"""The HTML page of many runs: what the paper says, what the runs show, and whether they agree.

Runs and changes nothing: it reads records, and writes the page and the tables beside it.
"""

from collections.abc import Sequence
from pathlib import Path

from rethink.report.page import render, run_index, sections
from rethink.results import files
from rethink.schema.errors import UserError


def write_page(folders: Sequence[Path], output: Path) -> Path:
    """Writes the page of the runs in some folders, and its tables into the folder `tables` beside it; returns its path.

    Args:
      folders: run directories, folders of run directories NAME-seedS, and folders of these.
      output: the HTML file; its folder is made if need be.

    Raises:
      UserError: a folder is none, there is no run, plotly is not installed, or the page can't be written.
    """
    groups = run_index.read_run_groups(folders)
    output = output.absolute()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        data = sections.collect_sections(groups, output.resolve())
        files.replace(output, render.render_page(data).encode())
    except OSError as error:
        raise UserError(f"{output} can't be written ({error.strerror}): choose another with --output=FILE.") from error
    return output
