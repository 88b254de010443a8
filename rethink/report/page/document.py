"""Puts the page together: its head, its security policy, its landmarks, and the order of its sections.

The policy lets nothing load that is not in the page, and no script run but the page's own.
"""

from collections.abc import Sequence
from pathlib import Path

from rethink.report.page import details, drawing, exhibits, exports, group_verdicts, markup, overview
from rethink.report.page.markup import Markup, element
from rethink.report.page.run_index import RunGroup

HERE = Path(__file__).parent
TITLE = "What does a network learn when the data says nothing?"
ABOUT = (
    "Zhang, Bengio, Hardt, Recht and Vinyals, Understanding deep learning requires rethinking generalization (2017): "
    "what the paper says, what was measured here, and whether they agree."
)
SECTIONS = {  # id -> its name in the navigation
    "verdict": "Verdict",
    "tables": "Tables",
    "figures": "Figures",
    "analyses": "Proofs",
    "samples": "Samples",
    "runs": "Runs",
}


def render_page(groups: Sequence[RunGroup], output: Path) -> str:
    """Returns the page of groups, and writes the files of its tables beside `output`.

    Raises:
      UserError: plotly is not installed.
    """
    scripts = library, own = drawing.library(), (HERE / "page.js").read_text(encoding="utf-8")
    files = exports.Exports(output)
    tables, figures = group_verdicts.judge_tables(groups), group_verdicts.judge_figures(groups)
    anchors = {overview.anchor(number): verdict for number, verdict in enumerate(figures, start=len(tables))}
    sections = {
        "verdict": overview.verdict_section([*tables, *figures]),
        "tables": overview.tables_section(tables, files),
        "figures": exhibits.figures_section(groups, anchors, output, files),
        "analyses": exhibits.analyses_section(groups, output),
        "samples": exhibits.samples_section(groups),
        "runs": details.runs_section(groups, output),
    }
    shown = {name: section for name, section in sections.items() if section is not None}
    body = element(
        "body",
        element("a", "Skip to the verdict", href="#verdict", class_="skip"),
        element("header", element("h1", TITLE), element("p", ABOUT)),
        _navigation(shown),
        element("noscript", element("p", "Figures, curves and whole configs need JavaScript; tables do not.")),
        element("main", shown.values()),
        element(
            "footer", element("p", "Written by rethink from the records of runs. It loads nothing from elsewhere.")
        ),
        markup.script(library, type="text/plain", id="plotly"),  # run when the first figure is drawn
        markup.script(own),
    )
    return f"<!doctype html>\n{element('html', _head(scripts), body, lang='en')}\n"


def _navigation(shown: Sequence[str] | dict[str, Markup]) -> Markup:
    items = (element("li", element("a", SECTIONS[name], href=f"#{name}")) for name in shown)
    return element("nav", element("ul", items), aria_label="Sections")


def _head(scripts: Sequence[str]) -> Markup:
    policy = (
        f"default-src 'none'; script-src {' '.join(map(markup.digest, scripts))}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"rethink: {TITLE}"),
        element("link", rel="icon", href="data:,"),
        element("style", Markup((HERE / "style.css").read_text(encoding="utf-8"))),
    )
