"""The live view of a training run and of an analysis, and the table that closes either.

A terminal gets bars that are drawn in place; any other stream gets plain lines without escape codes. Nothing is
measured here and no file is written.
"""

import contextlib
import math
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any, Self, TextIO

from rich import progress as rich_progress
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from rethink.results import screen
from rethink.results.notebook import NotebookBar
from rethink.results.screen import format_duration, format_loss, format_percent

REDRAW_SECONDS = 0.2  # the least time between two drawings of the bar
WINDOW_SECONDS = 30.0  # the rate is taken over this much of the recent past
MEASURE_SECONDS = 10.0  # of steps that an estimate of the whole is based on
ADVICE = (
    "Shorter: a subset (--config.data.train_examples=1000), a smaller model (--config=FILE:mlp_1x512), "
    "fewer epochs (--config.train.total_epochs=10), or a GPU or TPU."
)
LEAST_BAR, LEAST_VALUE = 12, 20  # columns: of a bar with the space about it; of values beside their labels
LINE_SECONDS = 30.0  # without a terminal, train rows and unfinished stages make a line this often
SHOWN_FIELDS = {  # row kind -> name on the screen: field of the row
    "train": {"loss": "loss", "train": "accuracy"},
    "evaluation": {"loss": "train_loss", "train": "train_accuracy", "test": "test_accuracy"},
}
COLOURS = {
    "fitted": "green",
    "stopped early": "green",
    "done": "green",
    "interrupted": "yellow",
    "diverged": "red",
    "failed": "red",
}


class Display:
    """A stream to print on: framed tables on a terminal, plain lines without escape codes anywhere else.

    Not for use from several threads.
    """

    def __init__(self, stream: TextIO | None = None, label: str = "") -> None:
        """Chooses how to print.

        Args:
          stream: None is `sys.stdout`.
          label: begins each line, to tell runs apart that share the stream.
        """
        stream = sys.stdout if stream is None else stream
        self._stream, self._prefix = stream, f"{label}: " if label else ""
        self._console = console = Console(file=stream, highlight=False)
        # A file stays plain, whatever FORCE_COLOR says: hence `isatty`.
        is_terminal = stream.isatty() and console.is_terminal and not console.is_dumb_terminal
        self._is_plain = not is_terminal
        self._has_bars = not self._is_plain
        self._in_notebook = console.is_jupyter and stream is sys.stdout

    def print_lines(self, *lines: str) -> None:
        """Prints plain lines, each after the label."""
        print("\n".join(f"{self._prefix}{line}" for line in lines), file=self._stream, flush=True)

    def print_header(self, fields: Mapping[str, str]) -> None:
        """Prints label -> text, in a frame or as lines `label: text`."""
        if self._is_plain:
            self.print_lines(*(screen.wrap_value(f"{label}:", text) for label, text in fields.items()))
        else:
            self._console.print(self._frame(fields.items()))

    def print_closing_table(self, status: str, rows: Sequence[tuple[str, str]]) -> None:
        """Prints the status of a run and its (label, value) rows, in a frame or aligned."""
        if self._is_plain:
            width = max((len(label) for label, _ in rows), default=0)
            lines = (screen.wrap_value(f"{label:<{width}} ", value) for label, value in rows)
            self.print_lines(f"status: {status}", *lines)
        else:
            self._console.print(self._frame(rows, Text(status, style=f"bold {COLOURS.get(status, 'default')}")))

    def note(self, text: str) -> None:
        """Prints `text` as it is, above the bars where there are some."""
        if self._is_plain:
            self.print_lines(text)
        else:
            self._console.print(Text(f"{self._prefix}{text}"))

    def _frame(self, rows: Iterable[tuple[str, str]], title: Text | None = None) -> Panel:
        """Returns a framed table of (label, value) rows; each value below its label where the terminal is narrow."""
        texts = [(label, str(value)) for label, value in rows]
        longest_label = max((len(label) for label, _ in texts), default=0)
        longest_word = max((len(word) for _, value in texts for word in value.split()), default=0)
        grid = Table.grid(padding=(0, 2, 0, 0))
        for label, value in texts:
            if longest_label + min(longest_word, LEAST_VALUE) + 6 > self._console.width:
                grid.add_row(Group(Text(label, style="dim"), Padding(Text(value, overflow="fold"), (0, 0, 0, 2))))
            else:
                grid.add_row(Text(label, style="dim", no_wrap=True), Text(value, overflow="fold"))
        return Panel(grid, title=title, title_align="left", expand=False)


class LiveView(Display):
    """A header, and below it bars while the `with` block lasts; the terminal is in order however the block ends."""

    _live: Live | NotebookBar  # the bars, made by each view

    def __init__(self, header: Mapping[str, str], stream: TextIO | None, label: str = "") -> None:
        """Takes the header, label -> text: what runs on what; none of a run that is one of several."""
        super().__init__(stream, label)
        self._header, self._is_brief = dict(header), bool(label)

    def __enter__(self) -> Self:
        if self._header:
            self.print_header(self._header)
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> None:
        if self._has_bars:
            self._live.start(refresh=True)

    def _stop(self) -> None:
        if self._has_bars:
            self._live.stop()  # draws the last state, shows the cursor; does nothing when stopped already


class RunProgress(LiveView):
    """The view of a training run: one bar with the newest metrics, or a line for each evaluation."""

    def __init__(
        self,
        *,
        header: Mapping[str, str],
        total_steps: int,
        first_step: int,
        batch_size: int,
        steps_per_epoch: int,
        patience_seconds: float | None = None,
        label: str = "",
        stream: TextIO | None = None,
    ) -> None:
        """Takes what does not change.

        Args:
          header: as in `LiveView`.
          total_steps, first_step: the run goes from `first_step` (0, or that of the checkpoint) to `total_steps`.
          batch_size: images a step, over all devices.
          steps_per_epoch: steps in one pass over the training examples.
          patience_seconds: a run that will take longer prints an advice; None never does.
          label: of one of several runs: it shows one line that begins so, or without a terminal one now and then.
          stream: None is `sys.stdout`.
        """
        super().__init__(header, stream, label)
        self._step, self._total_steps = first_step, total_steps
        self._batch_size, self._steps_per_epoch = batch_size, steps_per_epoch
        self._patience = patience_seconds
        self._shown: dict[str, float | None] = {}  # name on the screen -> newest value
        self._samples: deque[tuple[float, int]] = deque()  # (seconds, step); none before the first step is compiled
        self._next_redraw, self._last_line = -math.inf, monotonic()
        self._live = Live(
            get_renderable=self._draw_bar,
            console=self._console,
            auto_refresh=False,  # what goes to a file stays so
            transient=bool(label),
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        if self._in_notebook:
            self._has_bars, self._live = True, NotebookBar(self._describe_state, transient=bool(label))

    def advance(self, step: int) -> None:
        """Records that `step` steps are done; called after every dispatch, mostly a comparison of times."""
        self._step = step
        now = monotonic()
        if now >= self._next_redraw:
            self._add_sample(now)
            self._warn_if_long()
            self._redraw(now)

    def show(self, row: Mapping[str, Any]) -> None:
        """Shows a row of metrics. Without a terminal an evaluation always makes a line, a train row now and then."""
        self._shown.update({name: row[field] for name, field in SHOWN_FIELDS[row["kind"]].items()})
        self._step = max(self._step, row["step"])
        now = monotonic()
        if self._samples:  # a row at hand means that its steps are done, which a dispatch does not
            self._add_sample(now)
        if now >= self._next_redraw:
            self._redraw(now)
        always = row["kind"] == "evaluation" and not self._is_brief
        if not self._has_bars and (always or now - self._last_line >= LINE_SECONDS):
            self._last_line = now
            words = [f"step {self._step}/{self._total_steps}", *self._describe_metrics(), *self._describe_time_left()]
            self.print_lines("  ".join(words))

    def _describe_state(self) -> tuple[float, str]:
        """Returns which part of the steps is made, and all that is known in a line."""
        words = [f"{self._prefix}step {self._step}/{self._total_steps}", *self._describe_metrics()]
        return self._step / self._total_steps, "  ".join([*words, *self._describe_time_left()])

    def _warn_if_long(self) -> None:
        """Prints once that the run will take longer than the user's patience, and what to choose instead."""
        rate = self._steps_per_second()
        if self._patience is None or not rate or self._samples[-1][0] - self._samples[0][0] < MEASURE_SECONDS:
            return
        left, patience = (self._total_steps - self._step) / rate, self._patience
        self._patience = None
        if left > patience:
            self.note(f"At this rate the run takes {format_duration(left)}. {ADVICE}")

    def _redraw(self, now: float) -> None:
        self._next_redraw = now + REDRAW_SECONDS
        if self._has_bars:
            self._live.refresh()

    def _add_sample(self, now: float) -> None:
        """Adds (now, step) to the window; samples closer than `REDRAW_SECONDS` replace one another."""
        samples = self._samples
        if len(samples) > 1 and now - samples[-2][0] < REDRAW_SECONDS:
            samples.pop()
        samples.append((now, self._step))
        while len(samples) > 2 and samples[1][0] <= now - WINDOW_SECONDS:
            samples.popleft()

    def _steps_per_second(self) -> float | None:
        """Rate over the window by the wall clock, evaluations included, compilation and resumed steps not."""
        if not self._samples:
            return None
        (begin, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end - begin) if end > begin and last > first else None

    def _describe_metrics(self) -> list[str]:
        """Epoch, loss, accuracies and images per second, each as text; what is not measured yet is left out."""
        values = {name: value for name, value in self._shown.items() if value is not None}
        texts = [f"epoch {self._step / self._steps_per_epoch:.1f}"]
        texts += [f"loss {format_loss(values['loss'])}"] if "loss" in values else []
        texts += [f"{name} {format_percent(values[name])}" for name in ("train", "test") if name in values]
        return [*texts, f"{rate * self._batch_size:,.0f} images/s"] if (rate := self._steps_per_second()) else texts

    def _describe_time_left(self) -> list[str]:
        rate = self._steps_per_second()
        return [f"left {format_duration(max(self._total_steps - self._step, 0) / rate)}"] if rate else []

    def _draw_bar(self) -> Group:
        # What is said beside the bar, and below it; of one of several runs all in one line.
        waiting = ["waiting for the first step"] if self._step < self._total_steps else []
        left = self._describe_time_left() if self._samples else waiting
        counted, metrics = [f"step {self._step}/{self._total_steps}", *left], self._describe_metrics()
        if self._is_brief:
            counted, metrics = [*(text for text in metrics if "%" in text), *counted], []
        beside, below = Text("  ".join(counted)), Text("  ".join(metrics), style="cyan")
        # The bar takes the room that is left, if any; text is never cut.
        label = [Text(self._prefix)] if self._is_brief else []
        if len(self._prefix) + len(beside) + LEAST_BAR > self._console.width:
            return Group(*label, beside, *([below] if metrics else []))
        line = Table.grid(*(Column(no_wrap=True) for _ in label), padding=(0, 2, 0, 0), expand=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True)
        bar = ProgressBar(total=self._total_steps, completed=self._step, complete_style="cyan", finished_style="green")
        line.add_row(*label, bar, beside)
        return Group(line, *([below] if metrics else []))


class StageProgress(LiveView):
    """The view of an analysis: a bar for each stage, or a line now and then and when a stage ends."""

    def __init__(self, header: Mapping[str, str], stream: TextIO | None = None, label: str = "") -> None:
        """Takes header and label as in `RunProgress`; `stream` None is `sys.stdout`."""
        super().__init__(header, stream, label)
        self._tasks: dict[str, rich_progress.TaskID] = {}
        self._reports: dict[str, list[tuple[float, int]]] = {}  # of each stage the first two: seconds, parts done
        self._last_line = monotonic() if label else -math.inf
        columns = (
            rich_progress.TextColumn("{task.description}", table_column=Column(overflow="fold")),
            rich_progress.BarColumn(bar_width=None),
            rich_progress.TaskProgressColumn(),
            rich_progress.TimeElapsedColumn(),
        )
        self._bars = rich_progress.Progress(*columns, console=self._console, transient=bool(label))
        self._live = self._bars.live

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the terminal to another view while the `with` block lasts."""
        self._stop()
        try:
            yield
        finally:
            self._start()

    def report(self, stage: str, done: int, total: int, *, by_minute: bool = False) -> None:
        """Shows that `done` parts of `total` of a stage are done; the first report of a stage begins it.

        Parts that were done before do not count for its speed.

        Args:
          by_minute: whether to show how many parts are done in a minute.
        """
        now = monotonic()
        reports = self._reports.setdefault(stage, [])
        if len(reports) < 2:
            reports.append((now, done))
        pace = _describe_pace(reports, now, done, total, by_minute)
        if not self._is_plain:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(f"{self._prefix}{stage}", total=total)
            self._bars.update(
                self._tasks[stage], description=f"{self._prefix}{stage}{pace}", completed=done, total=total
            )
        elif (done >= total and not self._is_brief) or now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            self.print_lines(f"{stage}  {done:,}/{total:,}  {format_duration(now - reports[0][0])}{pace}")


def _describe_pace(reports: Sequence[tuple[float, int]], now: float, done: int, total: int, by_minute: bool) -> str:
    """Returns how many parts a minute are done and the time that is left; "" while that is not known, and at the end.

    Args:
      reports: the first ones, (seconds, parts done): what was done before the second one took what comes once, too.
    """
    since, before = reports[-1] if done > reports[-1][1] else reports[0]
    if not before < done < total or now <= since:
        return ""
    rate = (done - before) / (now - since)
    shown = f"  {60 * rate:,.1f} a minute" if by_minute else ""
    return f"{shown}  left {format_duration((total - done) / rate)}"


def make_closing_rows(summary: Mapping[str, Any], labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """Returns the (label, value) rows of the closing table; accuracies in percent, what is null is left out.

    Args:
      summary: of a training run `steps`, `epochs`, `seconds`, `num_classes`, `evaluation` (the row of the last or the
        best evaluation, or None), `steps_to_train_accuracy` ({"0.9": step or None, ...}, None where it was not
        reached), and `early_stopping` where it was on; of an analysis `rows`, (label, value) pairs, and `seconds`.
      labels: label -> field of the evaluation row, a fraction; `closing_labels` of training/metrics.py.
    """
    if "rows" in summary:  # of an analysis
        return [
            *((label, value) for label, value in summary["rows"]),
            ("time", format_duration(summary["seconds"])),
        ]
    last = summary["evaluation"] or {}
    # Accuracies of the last or the best evaluation.
    rows = [(label, format_percent(last[field])) for label, field in labels.items() if last.get(field) is not None]
    if last.get("test_accuracy") is not None:
        chance = format_percent(1 / summary["num_classes"])
        corrupted = last.get("test_accuracy_true") is not None
        label = "test accuracy, corrupted labels" if corrupted else "test accuracy"
        rows.append((label, f"{format_percent(last['test_accuracy'])} (chance {chance})"))
        if corrupted:
            rows.append(("test accuracy, true labels", format_percent(last["test_accuracy_true"])))
    if last.get("generalization_gap") is not None:
        rows.append(("generalization gap", f"{100 * last['generalization_gap']:.2f} points"))
    elif last.get("test_accuracy") is not None:
        rows.append(("generalization gap", "left out: the test images are not corrupted as the train images are"))
    # What early stopping would have gained or did gain.
    if stopping := summary.get("early_stopping"):
        split = "the test set, an oracle" if stopping["monitor"] == "oracle" else "the part held out"
        restored = "; the accuracies above are of that step" if stopping["restored"] else ""
        rows.append((f"best step by {split}", f"{stopping['best_step']:,}{restored}"))
        rows.append(("  test accuracy gained over the last step", f"{100 * stopping['gain']:.2f} points"))
    # Time to fit, in steps.
    steps = sorted(summary["steps_to_train_accuracy"].items(), key=lambda item: float(item[0]))
    rows += [
        (f"steps to {100 * float(part):g}% train accuracy", f"{step:,}") for part, step in steps if step is not None
    ]
    missed = ", ".join(f"{100 * float(part):g}%" for part, step in steps if step is None)
    rows += [(f"steps to {missed}", "not reached")] if missed else []
    rows.append(("steps", f"{summary['steps']:,} ({summary['epochs']:.1f} epochs)"))
    return [*rows, ("time", format_duration(summary["seconds"]))]


def describe_end(manifest: Mapping[str, Any]) -> str:
    """Returns the end of a run in a line: 'fitted  train 100.00%  test 9.81%  672 steps  4m10s'."""
    summary, end = manifest.get("summary") or {}, manifest.get("end") or {}
    evaluation = summary.get("evaluation") or {}
    words = [manifest["status"]]
    if words == ["diverged"] and end:
        words += [f"step {end['step']:,}", f"learning rate {end['learning_rate']:g}"]
    accuracies = {name: evaluation.get(f"{name}_accuracy") for name in ("train", "test")}
    words += [f"{name} {format_percent(value)}" for name, value in accuracies.items() if value is not None]
    words += [f"{summary['steps']:,} steps"] if "steps" in summary else []
    return "  ".join([*words, *([format_duration(summary["seconds"])] if "seconds" in summary else [])])
