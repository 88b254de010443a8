"""The page of a reproduction: its verdicts are the comparison's, every run stands there, nothing in it is active."""

import base64
import collections
import html.parser
import io
import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from rethink.figures.label_corruption import FIELD
from rethink.paper.numbers import CERTAINTIES, NORMS, TABLES
from rethink.report import comparison, figure_claims, page, verdicts
from rethink.report.page import drawing, group_verdicts, render
from rethink.results import runs as results_runs
from rethink.schema.errors import UserError

HOSTILE = "<script>alert(1)</script>\"'</script><img src=x onerror=alert(1)>\u202e"
LINKS = ("href", "src", "action", "data", "poster", "srcset")


class Reader(html.parser.HTMLParser):
    """The elements of a page: (tag, attributes) in order, scripts by type, and the text outside of scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append([dict(attrs), ""])

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.scripts[-1][1] += data
        elif self.cdata_elem != "style":
            self.texts.append(data)

    def values(self, attribute):
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def show(tmp_path, monkeypatch):
    """show(folder, ...) -> the page of folders, read; without the text of plotly.js."""
    monkeypatch.setattr(drawing, "library", lambda: "plotly")

    def show(*folders):
        output = tmp_path / "site" / "index.html"
        return Reader(page.write_page(folders or [tmp_path], output).read_text())

    return show


def test_the_counts_are_those_of_the_comparison(write_run, tmp_path, show):
    (
        write_run("table1", "mlp_3x512-none", test=0.5239),
        write_run("table1", "mlp_1x512-none", test=0.7, **{"model.name": "mlp_1x512"}),
    )
    write_run("table1", "mlp_3x512-wd", test=0.53, **{"weight_decay.kind": "l2"})
    write_run("table1", "mlp_1x512-wd", full=False, **{"weight_decay.kind": "l2", "model.name": "mlp_1x512"})
    write_run("table1", "alexnet-none", status="running", **{"model.name": "alexnet"})
    for seed in (0, 1):
        write_run("table1", "alexnet-crop", seed, test=0.8, **{"augmentation.crop": "random", "model.name": "alexnet"})
        write_run("table1", "alexnet-wd", seed, test=0.7, **{"weight_decay.kind": "l2", "model.name": "alexnet"})
    expected, memorized, orderings = (collections.Counter() for _ in range(3))
    for table in TABLES:
        runs = results_runs.load_runs(tmp_path / table) if table == "table1" else {}
        for row in comparison.compare_table(table, runs):
            (memorized if row["met by memorizing"] else expected)[row["verdict"]] += 1
        orderings.update(row["verdict"] for row in comparison.check_orderings(table, runs))
    assert {"match", "off", "not comparable", "no result", "not run"} <= set(expected)
    reader = show()
    numbers, claims = reader.text.split("Claims of the paper, in tables and figures", 1)
    numbers = numbers.rpartition("say more than that a network memorized")[2]
    claims = claims.partition("The rule.")[0]
    for verdict in comparison.VERDICTS:
        assert re.search(rf"{verdict} {expected[verdict]}\b", " ".join(numbers.split())), verdict
    for verdict in verdicts.CLAIM_VERDICTS:
        assert re.search(rf"{verdict} {orderings[verdict]}\b", claims), verdict
    judged = sum(expected[verdict] for verdict in ("match", "off", "inconclusive"))
    lead = f"Of {judged} numbers measured on the paper's own experiments, {expected['match']} match and"
    easy = sum(memorized[verdict] for verdict in ("match", "off", "inconclusive"))
    also = f"Of {easy} more, which any network has that memorizes its train set, {memorized['match']} match."
    assert lead in reader.text and also in reader.text
    assert group_verdicts.RULE in reader.text and f"a factor of {comparison.MATCH_ODDS:g}" in group_verdicts.RULE


def test_what_the_paper_says_of_a_figure_stands_beneath_it_and_is_counted(write_run, tmp_path, show):
    for p, test in ((0.0, 0.5), (1.0, 0.1)):
        fields = {"corruption.label_probability": p, "corruption.labels": "uniform", "model.name": "mlp_1x512"}
        write_run("figure1bc", f"mlp_1x512-label_probability={p}", test=test, **fields)
    claims = figure_claims.check_figure_claims("figure1bc", results_runs.load_runs(tmp_path / "figure1bc"))
    reader = show()
    for row in claims:
        words = f"{row['verdict']} {row['source']} {row['paper']} {row['certainty']} {row['ours']}"
        assert re.search(rf"{re.escape(row['statement'])} . {re.escape(words)}", reader.text)
    assert [row["verdict"] for row in claims] == ["undecided", "undecided", "holds"]
    counted = reader.text.partition("Claims of the paper, in tables and figures")[2].partition("The rule.")[0]
    assert "holds 1" in counted and "undecided 2" in counted
    assert "Of 3 claims of the paper that were put to our numbers, 1 hold, 0 don't, and 2 are undecided." in reader.text
    anchor = f"table-{len(TABLES) + 1}"  # the tables come first
    assert f"#{anchor}" in reader.values("href") and reader.values("id").count(anchor) == 1
    for suffix in ("csv", "md", "tex"):
        written = (tmp_path / "site" / "tables" / f"figure1bc-orderings.{suffix}").read_text()
        assert all(row["ours"].split()[0] in written for row in claims), suffix


def test_what_a_replication_says_is_counted_by_itself(write_run, show):
    write_run("figure1a", "true", **{"model.name": "inception", "batch_norm.kind": "across_devices"})
    reader = show()
    counted = reader.text.partition("Claims of an independent replication")[2].partition("The rule.")[0]
    papers = reader.text.partition("Claims of the paper, in tables and figures")[2].partition("Claims of an")[0]
    assert "not run 9" in counted  # four fitted, four sooner, one order
    assert "holds 0" in papers


def test_the_papers_norm_stands_beneath_a_kernels(write_run, tmp_path, show):
    for cell in ("mnist-pixels", "cifar10-pixels"):
        folder = write_run("table3", cell, kind="kernel")
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["summary"]["rows"] = [["norm", "152.0"]]
        (folder / "manifest.json").write_text(json.dumps(manifest))
    assert show().text.count(NORMS["mnist-pixels"].note) == 1


def test_every_number_of_the_paper_and_its_certainty_stand_there(write_run, show):
    write_run("table1", "mlp_3x512-none")
    reader = show()
    for table in TABLES.values():
        for cell, numbers in table.cells.items():
            assert cell in reader.text
            for number in numbers.values():
                assert f"{number.text()} {number.certainty}" in reader.text
    assert {meaning in reader.text for meaning in CERTAINTIES.values()} == {True}


def test_links_lead_to_what_is_there(write_run, tmp_path, show):
    for seed in (0, 1):
        write_run("table1", "mlp_3x512-none", seed)
    drawn = write_run("figure2a", "mlp") / "figures"
    for folder in (drawn, tmp_path / "figure2a" / "figures"):
        folder.mkdir()
        for suffix in ("png", "pdf"):
            (folder / f"best_so_far.{suffix}").write_bytes(b"drawn")
    reader = show()
    ids = reader.values("id")
    assert len(ids) == len(set(ids))
    inside = [href for href in reader.values("href") if href.startswith("#")]
    assert {href[1:] for href in inside} <= set(ids)
    assert sum(href.startswith("#run-") for href in inside) >= 5  # two measures of two seeds, and the figure's run
    files = [href for href in reader.values("href") if href.startswith("./")]
    assert all((tmp_path / "site" / file).is_file() for file in files)
    assert sum(file.endswith("best_so_far.png") for file in files) == 2


def test_nothing_is_loaded_from_elsewhere(write_run, write_samples, show):
    write_samples(write_run("table1", "mlp_3x512-none"))
    reader = show()
    for name in LINKS:
        assert not [value for value in reader.values(name) if not re.match(r"#|\./|data:", value)], name
    assert not any(tag in ("iframe", "object", "embed", "base") for tag, _ in reader.elements)
    own = [text for attributes, text in reader.scripts if attributes == {}]
    assert len(own) == 1 and "//" not in re.sub(r"(?m)(^|\s)// .*$", "", own[0])
    styles = re.findall(r"url\(|@import", (render.HERE / "style.css").read_text())
    assert styles == []
    (policy,) = [attributes["content"] for _, attributes in reader.elements if "http-equiv" in attributes]
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy.split("style-src")[0]


def test_the_devices_of_each_launch_stand_there(write_run, show):
    folder = write_run("table1", "mlp_3x512-none")
    manifest = json.loads((folder / "manifest.json").read_text())
    (first,) = manifest["launches"]
    second = {**first, "first_step": 300, "last_step": 500, "hardware": {"devices": 2, "kind": "cpu"}}
    manifest["launches"] = [{**first, "last_step": 300}, second]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "1 x cpu (steps 0 to 300), 2 x cpu (steps 300 to 500)" in show().text


def test_a_hostile_name_is_inert(write_run, tmp_path, show):
    plain = show(write_run("table1", "mlp_3x512-none").parent)
    config = {"model.name": HOSTILE, "javascript:alert(1)": HOSTILE}
    folder = write_run("table1", "javascript:alert(1)&\"'<b>", **config)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["config"]["name"] = f"table1-{folder.name.removesuffix('-seed0')}"
    manifest |= {"error": HOSTILE, "versions": {HOSTILE: HOSTILE}, "data": {"name": HOSTILE}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    write_run("figure2a", "<img src=x onerror=alert(1)>")
    reader = show(tmp_path / "table1", tmp_path / "figure2a")
    assert not any(name.startswith("on") for _, attributes in reader.elements for name in attributes)
    assert {tag for tag, _ in reader.elements} == {tag for tag, _ in plain.elements} | {"h4"}
    assert not [href for href in reader.values("href") if href.startswith("javascript")]
    runnable = [text for attributes, text in reader.scripts if "type" not in attributes]
    assert runnable == [text for attributes, text in plain.scripts if "type" not in attributes]
    for attributes, text in reader.scripts:
        if attributes.get("type") == "application/json":
            json.loads(text)
    assert "\u202e" not in reader.text and "\\u202e" in reader.text and "<script>alert(1)</script>" in reader.text


def test_a_damaged_and_an_unfinished_run_stand_there_and_the_others_are_compared(write_run, tmp_path, show):
    write_run("table1", "mlp_3x512-none", test=0.5239)
    (write_run("table1", "mlp_3x512-wd") / "manifest.json").write_text('{"config": {')
    (write_run("table1", "mlp_1x512-wd") / "metrics.jsonl").write_text("{\n")
    write_run("table1", "mlp_1x512-none", status="interrupted"), write_run("table1", "alexnet-none", status="failed")
    begun = tmp_path / "table1" / "alexnet-wd-seed0"
    begun.mkdir(), (begun / "lock").touch()
    reader = show()
    for words in (
        "manifest.json is damaged",
        "metrics.jsonl is damaged",
        "no manifest.json: nothing is recorded yet",
        "‖ interrupted",
        "✗ failed",
    ):
        assert words in reader.text, words
    assert sum(attributes.get("class") == "run" for _, attributes in reader.elements) == 6
    # Test and train of the run that is whole.
    assert "Of 1 numbers measured on the paper's own experiments, 1 match" in reader.text
    assert "Of 1 more, which any network has that memorizes its train set, 1 match" in reader.text


@pytest.mark.slow
def test_a_manifest_of_another_shape_is_no_end(write_run, tmp_path, show):
    folder = write_run("table1", "mlp_3x512-none")
    whole = json.loads((folder / "manifest.json").read_text())
    shapes = [{name: value for name, value in whole.items() if name != section} for section in whole]
    shapes += [{**whole, "summary": {"evaluation": {"test_accuracy": "x"}}}, {**whole, "summary": {"seconds": 1}}]
    sections = ("config", "status", "data", "hardware", "summary", "fingerprints", "versions", "launches")
    shapes += [{**whole, section: value} for section in sections for value in (None, 3, [1], {"a": 1})]
    for manifest in shapes:
        (folder / "manifest.json").write_text(json.dumps(manifest))
        assert "mlp_3x512-none-seed0" in show(tmp_path / "table1").text


@pytest.mark.parametrize("table", ["figure1a", "figure1bc"])
@pytest.mark.parametrize(
    "section, field, value",
    [
        ("summary", "steps", None),
        ("summary", "num_classes", "ten"),
        ("summary", "steps_to_train_accuracy", None),
        ("data", "train_examples", "many"),
        ("config", "corruption.labels", None),
        ("config", FIELD, None),
    ],
)
def test_a_record_that_lacks_a_field_of_a_figure_is_no_end(write_run, tmp_path, show, table, section, field, value):
    for p in (0.0, 1.0):
        folder = write_run(table, f"mlp-label_probability={p}", **{FIELD: p})
    (folder.parent / "figures").mkdir()
    (folder.parent / "figures" / "label_corruption.csv").write_text("series\n")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[section].pop(field)
    if value:
        manifest[section][field] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"kind": "train", "step": 990}\n{"kind": "train", "step": 995, "loss": NaN}\n')
    assert folder.name in show(tmp_path / table).text


def test_two_runs_of_one_seed_are_named(write_run, tmp_path, show):
    first, second = (write_run("table1", "mlp_3x512-none", seed) for seed in (0, 1))
    (second / "manifest.json").write_bytes((first / "manifest.json").read_bytes())
    assert "have the same seed (0)" in show().text


def test_a_page_holds_each_run_once_and_folders_in_folders(write_run, tmp_path, show):
    run = write_run("table1", "mlp_3x512-none")
    write_run("", "alone")
    for folders in ([run], [run.parent], [tmp_path], [run, run.parent, tmp_path]):
        reader = show(*folders)
        shown = sum(attributes.get("class") == "run" for _, attributes in reader.elements)
        assert shown == (2 if tmp_path in folders else 1) and "table1" in reader.text


def test_samples_show_given_and_true_labels_pixel_by_pixel(write_run, write_samples, show):
    images = write_samples(write_run("figure2a", "random", **{"corruption.labels": "uniform"}))
    write_samples(write_run("figure2a", "again", **{"corruption.labels": "uniform"}))  # the same condition
    (write_run("figure2a", "true") / "samples.npz").write_bytes(b"damaged")
    shown = [attributes for tag, attributes in show().elements if tag == "img"]
    assert [image["alt"].partition(": ")[2] for image in shown] == [
        "given label 3, true label 3",
        "given label 7, true label 2",
    ]
    for image, expected in zip(shown, images, strict=True):
        content = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), expected)


@pytest.mark.parametrize("channels, shown", [(1, 1), (2, 1), (3, 3), (4, 3), (7, 3)])
def test_of_many_channels_those_are_shown_that_a_picture_has(channels, shown, write_run, write_samples, show):
    images = write_samples(write_run("figure2a", "true"), channels=channels)
    reader = show()
    contents = [uri.removeprefix("data:image/png;base64,") for uri in reader.values("src")]
    for content, image in zip(contents, images, strict=True):
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
        assert np.array_equal(picture, image[..., 0] if shown == 1 else image[..., :3])
    assert (f"Of {channels} channels the first {shown} are shown" in reader.text) == (channels != shown)


def test_of_feature_vectors_it_is_said_that_there_is_no_picture(write_run, show):
    np.savez(write_run("figure2a", "true") / "samples.npz", vectors=np.zeros((2, 5), np.float32))
    reader = show()
    assert "The examples are feature vectors" in reader.text and not reader.values("src")


def test_classes_are_shown_by_number_and_name_and_names_are_inert(write_run, write_samples, show):
    folder = write_run("figure2a", "true")
    write_samples(folder, given=(0, 1, 2, 3, 4), true=(5, 1, 2, 3, 4))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["data"]["class_names"] = ["<script>alert(1)</script>", 'a"\u202e', "2", " ", "x" * 99]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    reader = show()
    captions = [text.partition("given label ")[2] for text in reader.values("alt") if "given label" in text]
    assert captions == [
        "0 (<script>alert(1)</script>), true label 5",
        '1 (a"\\u202e), true label 1 (a"\\u202e)',
        "2, true label 2",
        "3, true label 3",
        f"4 ({'x' * 40}...), true label 4 ({'x' * 40}...)",
    ]
    assert all("alert(1)" not in attributes.get("src", "") for tag, attributes in reader.elements if tag == "script")


def test_of_a_sweeps_figures_those_are_embedded_that_the_page_does_not_draw(write_run, show):
    folder = write_run("noise", "symmetric_20").parent / "figures"
    folder.mkdir()
    for name in ("label_issues", "best_so_far"):
        Image.new("L", (40, 30)).save(folder / f"{name}.png")
    shown = [text for text in show().values("alt") if text.startswith("Figure: ")]
    assert len(shown) == 1 and shown[0].startswith("Figure: Which score finds wrong labels, by epoch: ")


def test_an_analysis_shows_its_rows_and_its_figure(write_run, show):
    folder = write_run("", "theorem1", **{"kind": "theorem1"})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["summary"] |= {"rows": [["weights", "2n + d = 3172"], "no row"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "figures").mkdir()
    Image.new("L", (3, 3)).save(folder / "figures" / "theorem1.png")
    reader = show()
    assert "weights 2n + d = 3172" in reader.text
    assert any("theorem1 of theorem1" in alt for alt in reader.values("alt"))


def test_what_was_learned_last_and_first_stands_with_its_run(write_run, write_samples, show):
    folder = write_run("figure2a", "random", **{"corruption.labels": "uniform"})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["data"]["class_names"] = [HOSTILE, "$x$"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    write_samples(folder, "extremes", given=[0] * 8 + [1] * 8, true=[1] * 3 + [0] * 5 + [1] * 8)
    (write_run("figure2a", "damaged") / "extremes.npz").write_bytes(b"damaged")
    write_samples(write_run("figure2a", "single"), "extremes", given=(0,), true=(0,))
    reader = show()
    assert "8 training examples with the largest loss, summed over the evaluations: 3 of their labels" in reader.text
    assert "8 training examples with the smallest loss, summed over the evaluations: 0 of their labels" in reader.text
    alts = reader.values("alt")
    assert len(alts) == 16 and "\u202e" not in "".join(alts) and not reader.values("onerror")


def test_the_figures_of_a_run_are_held_by_the_page_and_large_ones_are_packed(write_run, show):
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    for folder in (write_run("figure2a", "random"), write_run("", "issues", **{"kind": "label_issues"})):
        (folder / "figures").mkdir()
        for name in ("learning_curve", "label_issues"):
            Image.fromarray(noise if name == "label_issues" else noise[:9]).save(folder / "figures" / f"{name}.png")
        (folder / "figures" / "broken.png").write_bytes(b"x" * 200_000)
    reader = show()
    shown = [attributes for tag, attributes in reader.elements if tag == "img"]
    assert len(shown) == 2 and all("most likely wrong" in image["alt"] for image in shown)
    for image in shown:
        content = base64.b64decode(image["src"].removeprefix("data:image/webp;base64,"))
        assert Image.open(io.BytesIO(content)).size == (400, 400) and len(content) < 150_000


def test_a_table_of_analyses_has_no_empty_section_of_figures(write_run, show):
    for cell in ("mnist-pixels", "mnist-gabor"):
        folder = write_run("table3", cell, **{"kind": "kernel"})
        (folder / "metrics.jsonl").write_text("")
    assert "figures" not in show().values("id")
    write_run("figure2b", "inception")
    assert "figures" in show().values("id")


@pytest.mark.slow
def test_many_runs_make_a_page_soon_and_it_stays_small(write_run, tmp_path):
    for number in range(500):
        write_run("figure2a", f"mlp-{number}", points=400)
    start = time.process_time()  # which other work on the machine leaves alone
    output = page.write_page([tmp_path], tmp_path / "index.html")
    assert time.process_time() - start < 60
    rows = 2 * 500 * 400
    assert output.stat().st_size - len(drawing.library()) < 40 * rows  # bytes; a curve is thinned to 200 points


def test_mistakes_end_in_one_line(tmp_path, write_run, run_module):
    write_run("", "alone")
    without = "import sys, runpy; sys.modules['plotly'] = None; runpy.run_module('rethink.report', run_name='__main__')"
    command = [sys.executable, "-c", without, str(tmp_path)]
    for ended, said in (
        (subprocess.run(command, capture_output=True, text=True, check=False), "pip install -e '.[page]'"),
        (run_module("rethink.report", tmp_path / "nowhere"), "is no folder"),
        (run_module("rethink.report", tmp_path / "alone", f"--output={tmp_path}"), "can't be written"),
    ):
        assert ended.returncode == 2 and ended.stderr.startswith("Error: ") and said in ended.stderr
        assert ended.stderr.count("\n") == 1
    ended = run_module("rethink.report", tmp_path)
    assert ended.returncode == 0 and ended.stdout == f"{tmp_path / 'index.html'}\n"
    assert not list((tmp_path / "tables").glob("table*"))  # no run is of the paper's tables
    with pytest.raises(UserError, match="no run"):
        (tmp_path / "empty").mkdir()
        page.write_page([tmp_path / "empty"], tmp_path / "x.html")
