"""The page in a browser: figures are drawn, nothing is asked of the network, it fits a phone, and it loads soon."""

import json
import shlex
import shutil
import subprocess
import sys

import pytest

from rethink.report import page

pytestmark = pytest.mark.slow
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FIGURES = "[...document.querySelectorAll('.plot:not(.of-run)')]"
UNDRAWN = f"{FIGURES}.filter(place => !place.querySelector('.main-svg')).length"
WIDTHS = (360, 768, 1280)


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("no Chromium on the PATH")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """visit(file, ...) -> the page in a tab, which at its end has neither complained nor asked for anything."""
    tabs, complaints, asked = [], [], []

    def visit(file, **options):
        tab = browser.new_context(**options).new_page()
        tabs.append(tab)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(file.as_uri())
        return tab

    yield visit
    for tab in tabs:
        tab.context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == len(tabs)


def wait_until(tab, condition):
    """The page's policy forbids what playwright's own way of waiting does: it evaluates text inside the page."""
    for _ in range(200):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"never came true: {condition}")


def scroll_through(tab):
    for place in tab.query_selector_all(".plot:not(.of-run)"):
        place.scroll_into_view_if_needed()
        tab.wait_for_timeout(50)
    wait_until(tab, f"{UNDRAWN} === 0")


@pytest.fixture
def site(write_run, write_samples, tmp_path):
    """A page with tables, figures of each kind, samples, an analysis, an unreadable run and a long name."""
    write_samples(write_run("table1", "mlp_3x512-none"))
    (write_run("table1", "mlp_3x512-wd") / "manifest.json").write_text("{")
    for p in (0.0, 0.5, 1.0):
        fields = {"corruption.label_probability": p}
        write_run("figure1bc", f"mlp-label_probability={p}", fitted=p < 1, **fields)
    for condition in ("true", "random"):
        write_run("figure1a", condition)
    for number in range(30):
        write_run("figure2a", f"a_network_with_a_long_name_without_any_break_{number}")
    write_run("", "theorem1", **{"kind": "theorem1"})
    write_run("", "x<b>'\"&", **{"model.name": "</script><script>alert(1)</script>"})
    return page.write_page([tmp_path], tmp_path / "index.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_is_drawn_and_nothing_overflows(visit, site, width, scheme):
    tab = visit(site, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert tab.evaluate(UNDRAWN) > 0  # those that are out of view
    scroll_through(tab)
    for run in tab.query_selector_all("details.run"):
        run.query_selector("summary").click()
    wait_until(tab, "!document.querySelector('details.run[open] .plot.of-run:empty')")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("document.querySelectorAll('.of-run .main-svg').length") > 0


def test_a_link_opens_its_run(visit, site):
    tab = visit(site)
    link = tab.query_selector("th a:text-is('mlp_3x512-none')")
    link.click()
    run = link.get_attribute("href").removeprefix("#")
    wait_until(tab, f"document.getElementById('{run}').open && document.activeElement.tagName === 'SUMMARY'")
    wait_until(tab, f"document.querySelectorAll('#{run} .config td').length > 5")


def test_a_filter_leaves_the_runs_that_were_asked_for(visit, site):
    tab = visit(site)
    tab.fill("#filter", "label_probability done")
    assert tab.evaluate("document.querySelectorAll('details.run:not([hidden])').length") == 3
    assert tab.text_content("#filter-count") == "3 runs"


def test_all_figures_are_printed_on_white(visit, site):
    tab = visit(site, color_scheme="dark")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate(UNDRAWN) == 0
    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    ink = "document.querySelector('.main-svg .xtick text, .main-svg .ytick text').style.fill"
    assert tab.evaluate(ink) == "rgb(51, 55, 61)"


def test_figures_follow_light_and_dark(visit, site):
    tab = visit(site, color_scheme="light")
    scroll_through(tab)
    ink = "document.querySelector('.plot').layout.font.color"
    light = tab.evaluate(ink)
    tab.emulate_media(color_scheme="dark")
    wait_until(tab, f"{ink} !== '{light}'")


def test_every_table_has_a_caption_and_headings_come_in_order(visit, site):
    tab = visit(site)
    assert tab.evaluate("[...document.querySelectorAll('table')].every(table => table.caption && table.tHead)")
    assert tab.evaluate("[...document.querySelectorAll('img, [role=img]')].every(x => x.alt || x.ariaLabel)")
    levels = tab.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(heading => +heading.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_a_page_of_500_runs_loads_within_three_seconds(visit, write_run, tmp_path):
    for number in range(500):
        write_run("figure2a", f"mlp-{number}", points=300)
    tab = visit(page.write_page([tmp_path], tmp_path / "index.html"))
    assert tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") < 3000
    assert tab.evaluate("document.querySelectorAll('details.run').length") == 500


def test_the_command_that_runs_it_again_makes_the_same_run(visit, tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    command = [sys.executable, "main.py", "--config=configs/digits_random.py:mlp_tiny", f"--workdir={first}"]
    subprocess.run([*command, "--config.train.total_epochs=2.0"], check=True, capture_output=True)
    tab = visit(page.write_page([first], tmp_path / "index.html"))
    tab.click("details.run > summary")
    python, *words = shlex.split(tab.text_content(".command"))
    assert python == "python"
    words = [word.replace("NEW_DIRECTORY", str(again)) for word in words]
    ended = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert "rows of metrics.jsonl and the results are equal" in ended.stdout
    assert (again / "metrics.jsonl").read_bytes() == (first / "metrics.jsonl").read_bytes()
    prints = [json.loads((folder / "manifest.json").read_text())["fingerprints"] for folder in (first, again)]
    assert prints[0] == prints[1]
