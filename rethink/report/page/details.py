"""The section of runs: each with its status, curves, config, fingerprints, versions, and how to run it again.

What is long is data, which the page's script shows when a run is opened: nothing is drawn beforehand.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rethink.report.page import configs, curves, markup, parts, plots, run_index
from rethink.report.page.markup import Markup, element
from rethink.report.page.run_index import RunGroup, RunRecord
from rethink.results import tables

MOST_FIELDS = 40  # of those that a run differs in: the others stand in its whole config
RERUN = "python -m rethink.experiment.rerun"
RESUMED = ("running", "interrupted", "failed")  # statuses from which the same command resumes


def runs_section(groups: Sequence[RunGroup], output: Path) -> Markup:
    """Returns the section of all runs, group after group."""
    records = [record for group in groups for record in group.records]
    shared = configs.common_config(records)
    return element(
        "section",
        element("h2", "The runs", id="runs"),
        _filter(len(records)),
        markup.data(shared, id="common-config"),
        markup.data(plots.run_template(), id="run-figure"),
        (
            element(
                "div",
                element("h3", run_index.display_name(group), " ", element("small", f"{len(group.records)} runs")),
                (_run_block(record, shared, output) for record in group.records),
                class_="run-group",
            )
            for group in groups
        ),
        aria_labelledby="runs",
    )


def _filter(count: int) -> Markup:
    box = element("input", id="filter", type="search", placeholder="name, seed or status", autocomplete="off")
    label = element("label", "Show only runs with ", box)
    shown = element("output", f"{count} runs", id="filter-count", for_="filter")
    return element("p", label, " ", shown, class_="filter")


def _run_block(record: RunRecord, shared: Mapping[str, str], output: Path) -> Markup:
    results = [
        f"{name} {tables.percent(record.run.evaluation[field])}%"
        for name, field in (("train", "train_accuracy"), ("test", "test_accuracy"))
        if record.run.evaluation.get(field) is not None
    ]
    name = element("span", record.name, class_="name")
    summary = element(
        "summary", name, " ", parts.badge(record.status), " ", element("span", ", ".join(results), class_="digits")
    )
    body = _problem(record, output) if record.problem else _body(record, shared, output)
    return element("details", summary, element("div", body, class_="body"), id=record.anchor, class_="run")


def _directory(record: RunRecord, output: Path) -> str:
    return os.path.relpath(record.run.folder, output.parent)


def _problem(record: RunRecord, output: Path) -> list[Markup]:
    remedy = "Bring it back from a copy, or remove the directory and run it again."
    where = element("p", "Directory: ", element("code", _directory(record, output)))
    return [element("p", record.problem, ". ", remedy, class_="problem"), where]


def _body(record: RunRecord, shared: Mapping[str, str], output: Path) -> list[Markup | None]:
    columns = curves.thin_rows(record.rows())
    unlike = configs.own_config(record, shared)
    number = record.run.summary.get("num_classes")
    own = {"config": unlike, "curves": columns, "log": curves.spans_decades(columns)}
    if isinstance(number, int) and number > 0:
        own["chance"] = 100 / number
    name = record.name
    return [
        _describe_run(record, output),
        markup.data(own, class_="run-data"),
        _curves(name) if columns else None,
        parts.file_links(static, f"Figures of {name}") if (static := _static(record, output)) else None,
        _unlike(unlike, name),
        element(
            "details",
            element("summary", "The whole config"),
            element("div", class_="config scroll", tabindex="0", role="group", aria_label="config, scrolls sideways"),
        ),
        _rerun_commands(record, output),
        _pairs("Fingerprints (SHA-256)", record.run.manifest.get("fingerprints") or {}),
        _pairs("Versions", record.run.manifest.get("versions") or {}),
    ]


def _curves(name: str) -> Markup:
    label = f"Loss and accuracy of {name} against steps"
    figure = element("div", class_="plot of-run", role="img", aria_label=label, style="min-height:630px")
    caption = element("figcaption", f"Loss and accuracy against steps; at most {curves.MOST_POINTS} rows of each kind.")
    return element("figure", figure, caption)


def _static(record: RunRecord, output: Path) -> list[str]:
    folder = record.run.folder / "figures"
    stems = sorted({path.stem for path in folder.glob("*.p[nd][gf]")})
    return [path for stem in stems for path in parts.sibling_files(folder, stem, output)]


def _describe_run(record: RunRecord, output: Path) -> Markup:
    manifest, summary = record.run.manifest, record.run.summary
    data, hardware = manifest.get("data") or {}, manifest.get("hardware") or {}
    fields = {
        "status": manifest["status"],
        "error": manifest.get("error"),
        "directory": _directory(record, output),
        "kind": record.run.kind,
        "name in its config": manifest["config"].get("name"),
        "seed": manifest["config"].get("seed"),
        "data": data.get("name"),
        "train examples": _of(data.get("train_examples"), data.get("full_train_examples")),
        "test examples": _grouped(data.get("test_examples")),
        "not the paper's experiment": "; ".join(run_index.find_caveats(record)),
        "parameters": _grouped(manifest.get("parameters")),
        "steps": _grouped(summary.get("steps")),
        "epochs": _grouped(summary.get("epochs")),
        "seconds": _grouped(summary.get("seconds")),
        "hardware": _hardware(hardware),
    }
    shown = {name: value for name, value in fields.items() if value not in (None, "")}
    return element("dl", ([element("dt", k), element("dd", v)] for k, v in shown.items()), class_="facts")


def _grouped(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else ""


def _of(part: Any, whole: Any) -> str:
    return _grouped(part) + (f" of {_grouped(whole)}" if isinstance(whole, int) and whole != part else "")


def _hardware(hardware: Mapping[str, Any]) -> str:
    if "devices" not in hardware:
        return ""
    processes = hardware.get("processes", 1)
    return f"{hardware['devices']} x {hardware.get('kind')}" + (f", {processes} processes" if processes != 1 else "")


def _unlike(unlike: Mapping[str, str | None], name: str) -> Markup:
    if not unlike:
        return element("p", "Its config is that of most runs.")
    shown = sorted(unlike.items())[:MOST_FIELDS]
    more = f"; {len(unlike) - len(shown)} more in the whole config" if len(unlike) > len(shown) else ""
    rows = [{"field": field, "value": "no such field" if text is None else text} for field, text in shown]
    caption = f"Where the config of {name} is unlike that of most runs{more}"
    return parts.table(caption, ("field", "value"), rows, lambda column, row: element("code", row[column]))


def _rerun_commands(record: RunRecord, output: Path) -> Markup:
    directory = shlex.quote(_directory(record, output))
    resume, rerun = f"{RERUN} {directory}", f"{RERUN} {directory} --workdir=NEW_DIRECTORY"
    lines = [
        element("p", "From the directory of this page, this makes the same run again and compares the rows of both:"),
        element("pre", rerun, class_="command", tabindex="0"),
    ]
    if record.status in RESUMED:
        lines += [
            element("p", "This resumes it from its last checkpoint:"),
            element("pre", resume, class_="command", tabindex="0"),
        ]
    return element("details", element("summary", "How to run it again"), lines)


def _pairs(title: str, pairs: Mapping[str, Any]) -> Markup | None:
    if not pairs:
        return None
    listed = element("dl", ([element("dt", k), element("dd", element("code", v))] for k, v in pairs.items()))
    return element("details", element("summary", title), listed)
