import io

import pytest

from rethink.results.stages import StageProgress


def shown(*reports, fail=False):
    stream = io.StringIO()
    try:
        with StageProgress({"Study": "theorem1"}, stream) as stages:
            for report in reports:
                stages.report(*report)
            with stages.paused():
                stages.note("[bold] stays as it is")
            if fail:
                raise RuntimeError
    except RuntimeError:
        pass
    return stream.getvalue()


def test_plain_lines_without_escape_codes():
    text = shown(("factor", 0, 3), ("factor", 3, 3), ("solve", 1, 1))
    lines = text.splitlines()
    assert lines[0] == "Study: theorem1"
    assert [line.split("  ")[:2] for line in lines[1:4]] == [["factor", "0/3"], ["factor", "3/3"], ["solve", "1/1"]]
    assert lines[-1] == "[bold] stays as it is"
    assert "\x1b" not in text


def test_a_stage_that_reports_often_makes_few_lines():
    text = shown(*(("factor", done, 1000) for done in range(1001)))
    assert len(text.splitlines()) <= 4
    assert "factor  1,000/1,000" in text


@pytest.mark.parametrize("fail", [False, True])
def test_a_terminal_shows_bars_and_gets_its_cursor_back(monkeypatch, fail):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    try:
        with StageProgress({"Study": "theorem1"}, stream) as stages:
            stages.report("factor", 1, 2)
            with stages.paused():
                pass
            stages.report("factor", 2, 2)
            if fail:
                raise RuntimeError
    except RuntimeError:
        pass
    text = stream.getvalue()
    assert "factor" in text and "100%" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") > 0  # hidden as often as shown again
