"""Which figures of many runs there are, by name: each is drawn into the folder of its runs, with its numbers as CSV."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rethink.figures import best_so_far, label_corruption, label_issues, loss_curves, metric_vs_field
from rethink.results import files, tables
from rethink.results.runs import RunsByCell
from rethink.schema.errors import pick


class Table(NamedTuple):
    """Numbers of a figure beside its own: rows of `columns`; written as NAME.csv, printed where `caption` says what."""

    name: str
    columns: Sequence[str]
    rows: list[dict[str, Any]]
    caption: str = ""


class FigureFiles(NamedTuple):
    """A figure that was drawn: its files, its numbers as rows of `columns`, and further tables."""

    paths: list[Path]
    columns: Sequence[str]
    rows: list[dict[str, Any]]
    further: Sequence[Table] = ()

    def to_text(self, write: Callable[..., str] = tables.to_text) -> str:
        """Returns the numbers as they are printed, or as another function writes (rows, columns); "" for none."""
        parts = [write(self.rows, self.columns)] if self.rows else []
        shown = [table for table in self.further if table.caption and table.rows]
        parts += [f"{table.caption}:\n\n{write(table.rows, table.columns)}" for table in shown]
        return "\n\n".join(parts)


def _draw_best_so_far(runs: RunsByCell, stem: Path, title: str, field: str) -> FigureFiles:
    del field
    labelled = [(run.folder.name, run.rows()) for loaded in runs.values() for run in loaded]
    paths = best_so_far.draw_best_so_far(labelled, stem, title=title)
    return FigureFiles(paths, best_so_far.COLUMNS, best_so_far.best_so_far_rows(labelled))


def _draw_loss_curves(runs: RunsByCell, stem: Path, title: str, field: str) -> FigureFiles:
    del field
    curves = loss_curves.read_losses(runs)
    paths = loss_curves.draw_loss_curves(curves, stem, title=title)
    return FigureFiles(paths, loss_curves.COLUMNS, loss_curves.loss_rows(curves))


def _draw_label_corruption(runs: RunsByCell, stem: Path, title: str, field: str) -> FigureFiles:
    del field
    points = label_corruption.read_points(runs)
    paths = label_corruption.draw_label_corruption(points, stem, title=title)
    return FigureFiles(paths, label_corruption.COLUMNS, label_corruption.label_corruption_rows(points))


def _draw_metric_vs_field(runs: RunsByCell, stem: Path, title: str, field: str) -> FigureFiles:
    points = metric_vs_field.read_points(runs, field)
    paths = metric_vs_field.draw_metric_vs_field(points, field, stem, title=title)
    return FigureFiles(paths, metric_vs_field.metric_columns(field), metric_vs_field.metric_rows(points, field))


def _draw_label_issues(runs: RunsByCell, stem: Path, title: str, field: str) -> FigureFiles:
    del field
    series = label_issues.read_series(runs)
    paths = label_issues.draw_label_issues(series, stem, title=title)
    return FigureFiles(
        paths,
        label_issues.COLUMNS,
        label_issues.score_rows(series),
        [
            Table("label_issues_epochs", label_issues.EPOCH_COLUMNS, label_issues.epoch_rows(series)),
            Table(
                "label_issues_choices",
                label_issues.CHOICE_COLUMNS,
                label_issues.choice_rows(series),
                "Score @ epoch that some known wrong labels (5% of all) choose, judged by the others",
            ),
            Table(
                "label_issues_rules",
                label_issues.RULE_COLUMNS,
                label_issues.rule_rows(series),
                f"AUROC behind the best score at its best epoch, over cells; near: by {label_issues.NEAR} at most",
            ),
            Table(
                "label_issues_accuracy",
                label_issues.ACCURACY_COLUMNS,
                label_issues.accuracy_rows(runs),
                "What memorization costs in test accuracy, points",
            ),
        ],
    )


FIGURES: Mapping[str, Callable[[RunsByCell, Path, str, str], FigureFiles]] = {
    "best_so_far": _draw_best_so_far,  # figure 2: train and test against steps
    "loss_curves": _draw_loss_curves,  # figure 1a
    "label_corruption": _draw_label_corruption,  # figures 1b and 1c
    "label_issues": _draw_label_issues,  # wrong labels whose truth is known, by score and epoch
    "metric_vs_field": _draw_metric_vs_field,  # errors against the numbers of an axis
}


def draw_figure(name: str, runs: RunsByCell, folder: Path, *, title: str, field: str = "") -> FigureFiles:
    """Draws a figure of runs into the sub-folder `figures` of a folder, with its numbers as CSV beside it.

    Args:
      name: one of `FIGURES`.
      field: of "metric_vs_field": a field of the config.

    Raises:
      UserError: no such figure or field, or the metrics of a run are damaged.
    """
    draw = pick(FIGURES, name, "FIGURE")
    (folder / "figures").mkdir(exist_ok=True)
    figure = draw(runs, folder / "figures" / name, title, field)
    for table in (Table(name, figure.columns, figure.rows), *figure.further):
        files.replace(folder / "figures" / f"{table.name}.csv", tables.to_csv(table.rows, table.columns).encode())
    return figure
