"""Collects what each section of the page shows, as plain data for its template, and writes the files of its tables.

Draws and judges nothing: plots.py and group_verdicts.py do.
"""

import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rethink.paper import protocol
from rethink.paper.claims import PAPER
from rethink.paper.numbers import CERTAINTIES, NORMS, TABLES
from rethink.report import comparison, verdicts
from rethink.report.outcomes import NOT_RUN
from rethink.report.page import group_verdicts, plots, run_data, run_index, samples
from rethink.report.page.exports import Exports
from rethink.report.page.group_verdicts import GroupVerdict
from rethink.report.page.run_index import RunGroup, RunRecord
from rethink.results import launches, tables
from rethink.results.runs import BRIEF_COLUMNS

MOST_FIELDS = 40  # of those that a run differs in: the others stand in its whole config
PICTURES = {  # name of a figure -> what it shows; others are called by their names
    "label_issues": "Training examples whose label is most likely wrong, with the given and the suggested class",
    "memorization": "How much of each training example is memorized",
    "influence_pairs": "Training examples beside the test examples that are predicted by having seen them",
}
SWEEP_PICTURES = {"label_issues": "Which score finds wrong labels, by epoch"}  # that the page does not draw by itself
RERUN = "python -m rethink.experiment.rerun"
CONSTANTS = {
    "VERDICTS": comparison.VERDICTS,
    "CLAIM_VERDICTS": verdicts.CLAIM_VERDICTS,
    "CERTAINTIES": CERTAINTIES,
    "RULE": group_verdicts.RULE,
    "BRIEF_COLUMNS": BRIEF_COLUMNS,
    "MOST_POINTS": run_data.MOST_POINTS,
    "PICTURES": PICTURES,
}


def collect_sections(groups: Sequence[RunGroup], output: Path) -> dict[str, Any]:
    """Returns name -> what the templates show under it, and writes the files of the tables beside `output`."""
    exports, judged = Exports(output), group_verdicts.judge_groups(groups)
    records = [record for group in groups for record in group.records]
    analyses = [record for record in records if not record.problem and record.run.kind != "train"]
    common = run_data.common_config(records)
    return {
        **CONSTANTS,
        **_count_verdicts(judged),
        "tables": [(verdict, _export_verdict(verdict, exports)) for verdict in judged if verdict.is_table],
        "figures": _collect_figures(groups, judged, exports, output),
        "analyses": [_describe_analysis(record, output) for record in analyses],
        "conditions": samples.read_conditions(records),
        "groups": [
            (group.display_name, [_describe_run(record, common, output) for record in group.records])
            for group in groups
        ],
        "run_count": len(records),
        "common_config": common,
        "run_figure": plots.run_template(),
    }


def _count_verdicts(judged: Sequence[GroupVerdict]) -> dict[str, Any]:
    """Returns the counts over all tables and figures, and a row for each of them.

    What any network has that memorizes, and what a replication says, are counted by themselves.
    """
    # A column's name stands once.
    others = ("orderings: hold", "don't", "undecided", "not comparable ", f"{NOT_RUN} ", "no result ")
    counts, memorized, claims, replicated, rows = Counter[str](), Counter[str](), Counter[str](), Counter[str](), []
    for verdict in judged:
        numbers = Counter(row["verdict"] for row in verdict.rows)
        orderings = Counter(row["verdict"] for row in verdict.claims)
        for number in verdict.rows:
            (memorized if number["met by memorizing"] else counts)[number["verdict"]] += 1
        for claim in verdict.claims:
            (claims if claim["source"] == PAPER else replicated)[claim["verdict"]] += 1
        row = {"table or figure": verdict, **{name: numbers[name] for name in comparison.VERDICTS}}
        rows.append(row | dict(zip(others, (orderings[name] for name in verdicts.CLAIM_VERDICTS), strict=True)))
    return {
        "counts": counts,
        "memorized": memorized,
        "claims": claims,
        "replicated": replicated,
        "verdict_rows": rows,
        "verdict_columns": list(rows[0]),
    }


def _export_verdict(verdict: GroupVerdict, exports: Exports) -> dict[str, list[str]]:
    """Writes the tables of a verdict; returns which table -> its files: none where no run belongs to it."""
    files: dict[str, list[str]] = {}
    if not verdict.group:
        return files
    heading = verdict.heading
    if verdict.rows:
        files["numbers"] = exports.write(verdict.stem, verdict.rows, comparison.COLUMNS, heading)
        files["runs"] = _export_runs(verdict.group, run_index.describe_group(verdict.group), heading, exports)
    if verdict.claims:
        stem, caption = f"{verdict.stem}-orderings", f"Orderings: {heading}"
        files["orderings"] = exports.write(stem, verdict.claims, verdicts.CLAIM_COLUMNS, caption)
    return files


def _export_runs(group: RunGroup, rows: Sequence[Mapping[str, Any]], caption: str, exports: Exports) -> list[str]:
    return exports.write(f"{group.folder.name}-runs", rows, BRIEF_COLUMNS, caption)


def _collect_figures(
    groups: Sequence[RunGroup], judged: Sequence[GroupVerdict], exports: Exports, output: Path
) -> list[dict[str, Any]]:
    """Returns the figures of each group, what the paper says of them and, of those that are no table, their runs."""
    figures = []
    drawn = [group for group in groups if any(_has_figure(record, group) for record in group.records)]
    for number, group in enumerate(drawn):
        title = group.display_name
        own = [verdict for verdict in judged if verdict.group is group and not verdict.is_table]
        figure: dict[str, Any] = {"title": title, "runs": []}
        figure["claims"] = [(verdict, _export_verdict(verdict, exports)) for verdict in own]
        # The figures, each with its static files and with the files of its numbers.
        figure["plots"] = []
        for plot in plots.draw_plots(group):
            files = exports.write(f"{group.folder.name}-{plot.name}", plot.rows, plot.columns, f"{title}: {plot.title}")
            static = _static_files(group.folder, output, plot.name)
            figure["plots"].append((f"plot-{number}-{plot.name}", plot, static, files))
        figure["pictures"] = _read_pictures(group.folder, title, output, SWEEP_PICTURES)
        # The runs, unless the table of the paper links to them.
        if group.name not in TABLES:
            caption = title if group.name == run_index.SINGLE else f"Runs of {title}"
            rows = run_index.describe_group(group)
            records = {record.name: record for record in group.records}
            figure |= {"runs": rows, "caption": caption, "records": records}
            figure["files"] = _export_runs(group, rows, caption, exports)
        if figure["plots"] or figure["claims"] or figure["runs"]:
            figures.append(figure)
    return figures


def _has_figure(record: RunRecord, group: RunGroup) -> bool:
    return not record.problem and (record.run.kind == "train" or len(group.records) > 1)


def _static_files(folder: Path, output: Path, stem: str = "") -> list[str]:
    """Returns the static figures of a run or a sweep, PNG and PDF, as paths relative to the page."""
    stems = [stem] if stem else sorted({path.stem for path in (folder / "figures").glob("*.p[nd][gf]")})
    paths = (folder / "figures" / f"{stem}.{suffix}" for stem in stems for suffix in ("png", "pdf"))
    return [os.path.relpath(path, output.parent) for path in paths if path.is_file()]


def _describe_analysis(record: RunRecord, output: Path) -> dict[str, Any]:
    """Returns what a run that is built or solved, not trained, has shown."""
    listed = record.run.summary.get("rows")
    pairs = [row for row in (listed if isinstance(listed, list) else []) if isinstance(row, list) and len(row) == 2]
    rows = [{"what": str(what), "value": str(value)} for what, value in pairs]
    if rows and record.run.kind == "kernel" and record.run.cell in NORMS:
        norm = NORMS[record.run.cell]
        what = f"norm in the paper ({norm.certainty}), which does not say of what kernel"
        rows.append({"what": what, "value": norm.note})
    return {"record": record, "rows": rows, "pictures": _read_pictures(record.run.folder, record.name, output)}


def _read_pictures(
    folder: Path, name: str, output: Path, only: Mapping[str, str] | None = None
) -> list[tuple[str, str, str, list[str]]]:
    """Returns (name, caption, data URI or "", files) of the figures in a folder, but for what the page draws by itself.

    Args:
      name: of what they are of.
      only: of these alone, name -> what it shows; None: of all.
    """
    shown = PICTURES if only is None else only
    return [
        (
            path.stem,
            f"{shown[path.stem]}: {name}" if path.stem in shown else f"{path.stem} of {name}",
            samples.figure_uri(path),
            _static_files(folder, output, path.stem),
        )
        for path in sorted((folder / "figures").glob("*.png"))
        if path.stem != "learning_curve" and (only is None or path.stem in only)
    ]


def _describe_run(record: RunRecord, common: Mapping[str, str], output: Path) -> dict[str, Any]:
    """Returns what the page shows of a run; of an unreadable one its directory only."""
    run, directory = record.run, os.path.relpath(record.run.folder, output.parent)
    accuracies = {name: run.evaluation.get(f"{name}_accuracy") for name in ("train", "test")}
    results = [f"{name} {tables.percent(value)}%" for name, value in accuracies.items() if value is not None]
    described = {"record": record, "directory": directory, "results": results}
    if record.problem:
        return described
    # What the page's script shows when the run is opened.
    own, curves = run_data.own_config(record, common), run_data.thin_rows(run.rows())
    embedded = {"config": own, "curves": curves, "log": run_data.spans_decades(curves)}
    classes = run.summary.get("num_classes")
    if isinstance(classes, int) and classes > 0:
        embedded["chance"] = 100 / classes
    # The fields in which it is unlike most runs.
    shown = sorted(own.items())[:MOST_FIELDS]
    more = f"; {len(own) - len(shown)} more in the whole config" if len(own) > len(shown) else ""
    return described | {
        "embedded": embedded,
        "fields": _summarize_run(record, directory),
        "static": _static_files(run.folder, output, "learning_curve"),
        "pictures": _read_pictures(run.folder, record.name, output) if run.kind == "train" else [],
        "extremes": samples.read_extremes(record),
        "own_config": [{"field": field, "value": "no such field" if text is None else text} for field, text in shown],
        "own_caption": f"Where the config of {record.name} is unlike that of most runs{more}",
        "rerun": f"{RERUN} {shlex.quote(directory)}",
    }


def _summarize_run(record: RunRecord, directory: str) -> dict[str, Any]:
    """Returns name -> what the manifest has of a run; what is not recorded is left out."""
    manifest, summary, data = record.run.manifest, record.run.summary, record.run.data
    train, full = data.get("train_examples"), data.get("full_train_examples")
    fields = {
        "status": manifest["status"],
        "error": manifest.get("error"),
        "directory": directory,
        "kind": record.run.kind,
        "name in its config": manifest["config"].get("name"),
        "seed": manifest["config"].get("seed"),
        "data": data.get("name"),
        "train examples": _format(train) + (f" of {_format(full)}" if isinstance(full, int) and full != train else ""),
        "test examples": _format(data.get("test_examples")),
        "not the paper's experiment": "; ".join(protocol.caveats(record.run.config, data)),
        "parameters": _format(manifest.get("parameters")),
        **{name: _format(summary.get(name)) for name in ("steps", "epochs", "seconds")},
        "hardware": launches.describe_hardware(manifest),
    }
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _format(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else ""
