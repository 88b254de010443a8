"""Finds wrong labels in the data of a Python program: the audit of analyses/label_issues.py, on arrays."""

import contextlib
import html
import io
import os
import pathlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from ml_collections import ConfigDict

from rethink.data.dataset import Subset
from rethink.experiment.given import Arrays, Model, take_given, to_path
from rethink.experiment.guest import as_guest
from rethink.experiment.run import Launch, run_experiment
from rethink.results import records
from rethink.schema import validation
from rethink.schema.errors import UserError

if TYPE_CHECKING:
    import pandas

KIND = "label_issues"
TESTED = 1000  # of the examples that are given, the first, of which the accuracy is shown
SHOWN = 20  # rows in a notebook
_TEXTS = ("path", "given_class", "suggested_class")  # columns that are no numbers


@dataclass(frozen=True, repr=False)
class LabelAudit:
    """What an audit has found.

    Attributes:
      table: a row for each training example, the most suspicious label first: the columns of label_issues.csv.
      estimate: how many labels are wrong: `wrong`, `low` and `high`, a 95% interval, and what else the audit's summary
        has of it.
      calibration: what each score at each evaluation finds of the labels flipped on purpose: calibration.csv.
      summary: the closing table, label -> value.
      folder: the directory of the audit; None where it was in a temporary one.
    """

    table: "pandas.DataFrame"
    estimate: Mapping[str, float]
    calibration: "pandas.DataFrame"
    summary: Mapping[str, str]
    folder: pathlib.Path | None

    def __repr__(self) -> str:
        count, low, high = (self.estimate[name] for name in ("wrong", "low", "high"))
        return (
            f"<rethink.LabelAudit {self.table['is_label_issue'].sum():,} of {len(self.table):,} labels are flagged, "
            f"{count:,.0f} estimated to be wrong, 95% interval {low:,.0f} to {high:,.0f}>"
        )

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(repr(self)[1:-1])}</code>{self.table.head(SHOWN)._repr_html_()}"


def find_in_data(
    train: Arrays | None,
    model: Model | None = None,
    config: str | ConfigDict | None = None,
    workdir: str | os.PathLike | None = None,
    quiet: bool = False,
) -> LabelAudit:
    """Returns which labels are suspicious, and how many are wrong: networks are trained on the data.

    Args:
      train: (images or feature vectors, labels), of which all are judged; None for the training set of the config.
      model: as of `rethink.train`; None for the config's.
      config: of the kind "label_issues", or its name; None for "label_issues".
      workdir: directory of the audit; the same call again resumes it. None keeps no file.
      quiet: whether nothing is printed.

    Raises:
      UserError: as `rethink.train`; or the config is of another kind.
    """
    if config is None and train is None:
        raise UserError(f"Nothing to look at: give train=(x, y), or a config such as config='{KIND}:digits'.")
    audit, given = take_given(KIND if config is None else config, model, train, None)
    if audit.kind != KIND or validation.is_sweep(audit):
        raise UserError(f"config= is '{audit.name}', no single audit of labels: give '{KIND}', or one made of it.")
    if given.data:
        # No label is left out; what is tested on does not matter.
        source = given.data.splits["train"]
        splits = {"train": source, "test": Subset(source, source.ids[:TESTED])}
        given = given._replace(data=given.data._replace(splits=splits))
    import matplotlib  # noqa: F401  # before a figure is drawn, with the backend that the program chose

    with contextlib.ExitStack() as stack:
        stack.enter_context(as_guest(audit.hardware))
        if workdir is None:
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())) / KIND
        else:
            folder = to_path(workdir, "workdir")
        launch = Launch(quiet=quiet or workdir is None, guest=given, stream=io.StringIO() if quiet else None)
        run_experiment(audit, str(folder), launch)
        audit_read = _read_audit(folder, is_kept=workdir is not None)
    return audit_read if train is None else _name_labels(audit_read, np.asarray(train[1]).dtype)


def _name_labels(audit: LabelAudit, dtype: np.dtype) -> LabelAudit:
    """Returns an audit whose labels are those that were given, not the numbers of their classes."""
    if "given_class" not in audit.table or dtype.kind not in "iuUSO":
        return audit
    columns = {f"{which}_label": audit.table[f"{which}_class"] for which in ("given", "suggested")}
    if dtype.kind in "iu":
        columns = {name: values.astype(dtype) for name, values in columns.items()}
    named = audit.table.assign(**columns).drop(columns=["given_class", "suggested_class"])
    return replace(audit, table=named)


def _read_audit(folder: pathlib.Path, is_kept: bool) -> LabelAudit:
    import pandas

    def read(name: str) -> "pandas.DataFrame":
        with (folder / name).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            columns = file.readline().rstrip("\n").split(",")
            file.seek(0)
            # A class may be called "NA".
            numbers = {column: [""] for column in columns if column not in _TEXTS}
            texts = {column: str for column in _TEXTS}
            return pandas.read_csv(file, keep_default_na=False, na_values=numbers, dtype=texts)

    summary: Mapping[str, Any] = records.read_run(folder)["summary"]
    return LabelAudit(
        read("label_issues.csv"),
        summary["wrong_labels"],
        read("calibration.csv"),
        dict(summary["rows"]),
        folder if is_kept else None,
    )
