"""README and docs name what there is: files that they link to; modules, configs and fields of their commands."""

import importlib.util
import pathlib
import re

import pytest

from rethink.configs import base
from rethink.schema import validation

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "BUILD_NOTES.md", *(ROOT / "docs").rglob("*.md")])
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PAGES}
ADDED = {"optimizer.first_moment_decay"}  # by a section of docs/extending.md


def headings(text):
    """Returns the anchors of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if not link.startswith("http"):
            file, _, anchor = link.partition("#")
            target = (ROOT / page).parent / file if file else ROOT / page
            assert target.exists(), link
            assert not anchor or anchor in headings(target.read_text()), link


@pytest.mark.parametrize("page", TEXTS)
def test_commands_name_what_there_is(page):
    fields = dict(validation.flatten(base.get_config()))
    for module in re.findall(r"python -m ((?:rethink|benchmarks)[\w.]*)", TEXTS[page]):
        spec = importlib.util.find_spec(module)
        assert spec, module
        assert not spec.submodule_search_locations or importlib.util.find_spec(f"{module}.__main__"), module
    for file in re.findall(r"--config=([\w/]+\.py)", TEXTS[page]):
        assert (ROOT / file).is_file(), file
    for field in re.findall(r"--config\.([a-z0-9_.]*[a-z0-9_])", TEXTS[page]):
        assert field in fields or field in ADDED or validation.is_kwarg(field), field
