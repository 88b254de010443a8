"""Owns the live view of one run: a header, a bar on a terminal or plain lines elsewhere, and the closing table.

Refuses to compute a metric or to write a file: what it shows, others measured and recorded.
"""

import math
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

REDRAW_SECONDS = 0.2  # the least time between two drawings of the bar
WINDOW_SECONDS = 30.0  # the rate is taken over this much of the recent past
MEASURE_SECONDS = 10.0  # of steps that an estimate of the whole is based on
ADVICE = (
    "Shorter: a subset (--config.data.train_examples=1000), a smaller model (--config=FILE:mlp_1x512), "
    "fewer epochs (--config.train.total_epochs=10), or a GPU or TPU."
)
LINE_SECONDS = 30.0  # without a terminal, train rows make a line this often
SHOWN = {  # row kind -> what the view calls a figure: what the row calls it
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
ACCURACIES = {  # label of a closing row -> field of the evaluation row
    "train accuracy, given labels": "train_accuracy",
    "  clean part": "train_accuracy_clean",
    "  corrupted part, given labels": "train_accuracy_corrupted_given",
    "  corrupted part, true labels": "train_accuracy_corrupted_true",
    "held-out accuracy, given labels": "validation_accuracy",
    "held-out accuracy, true labels": "validation_accuracy_true",
}


class Progress:
    """Shows a run while the `with` block lasts, and leaves the terminal in order however the block ends: a bar on a
    terminal, plain lines without escape codes on any other stream. Not for use from several threads."""

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
          header: says what runs on what; shown first.
          total_steps, first_step: the run goes from `first_step` (0, or that of the checkpoint) to `total_steps`.
          batch_size: images a step, over all devices.
          patience_seconds: a run that will take longer says so; None never does.
          label: of one of several runs that go on side by side: it makes lines, which begin so, and never a bar.
          stream: None is `sys.stdout`.
        """
        self._header, self._step, self._total_steps = dict(header), first_step, total_steps
        self._batch_size, self._steps_per_epoch = batch_size, steps_per_epoch
        self._patience = patience_seconds
        self._figures: dict[str, float | None] = {}
        self._samples: deque[tuple[float, int]] = deque()  # (seconds, step); none before the first step is compiled
        self._next_redraw = self._last_line = -math.inf
        stream = sys.stdout if stream is None else stream
        self._console = console = Console(file=stream, highlight=False)
        self._prefix = f"{label}: " if label else ""
        self._plain = stream if label or not is_terminal(console, stream) else None
        self._live = Live(
            get_renderable=self._bar,
            console=console,
            auto_refresh=False,  # what goes to a file stays so
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )

    def __enter__(self) -> "Progress":
        if self._plain:
            self._write(f"{key}: {value}" for key, value in self._header.items())
            self._last_line = monotonic()
        else:
            self._console.print(panel(self._header.items()))
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._plain:
            self._live.stop()  # draws the last state, shows the cursor; does nothing when stopped already

    def _warn_if_long(self) -> None:
        """Says once that the run will take longer than the user may want to wait, and what to choose instead."""
        rate = self._steps_per_second()
        if self._patience is None or not rate or self._samples[-1][0] - self._samples[0][0] < MEASURE_SECONDS:
            return
        left, patience = (self._total_steps - self._step) / rate, self._patience
        self._patience = None
        if left > patience:
            self.note(f"At this rate the run takes {duration(left)}. {ADVICE}")

    def advance(self, step: int) -> None:
        """Takes note that `step` steps are done; to be called after every dispatch, mostly a comparison of times."""
        self._step = step
        now = monotonic()
        if now >= self._next_redraw:
            self._sample(now)
            self._warn_if_long()
            self._redraw(now)

    def show(self, row: Mapping[str, Any]) -> None:
        """Takes in a row. Without a terminal it makes a line: of an evaluation always, of a train row now and then."""
        self._figures.update({name: row[field] for name, field in SHOWN[row["kind"]].items()})
        self._step = max(self._step, row["step"])
        now = monotonic()
        if self._samples:  # a row at hand means that its steps are done, which a dispatch does not
            self._sample(now)
        if now >= self._next_redraw:
            self._redraw(now)
        if self._plain and (row["kind"] == "evaluation" or now - self._last_line >= LINE_SECONDS):
            self._last_line = now
            self._write(["  ".join([f"step {self._step}/{self._total_steps}", *self._measured(), *self._left()])])

    def note(self, text: str) -> None:
        """Prints `text` above the bar, as it is."""
        if self._plain:
            self._write([text])
        else:
            self._console.print(Text(text))

    def _write(self, lines: Iterable[str]) -> None:
        print("\n".join(f"{self._prefix}{line}" for line in lines), file=self._plain, flush=True)

    def _redraw(self, now: float) -> None:
        self._next_redraw = now + REDRAW_SECONDS
        if not self._plain:
            self._live.refresh()

    def _sample(self, now: float) -> None:
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

    def _measured(self) -> list[str]:
        """Epoch, loss, accuracies and images per second, each as text; what is not known yet is left out."""
        known = {name: value for name, value in self._figures.items() if value is not None}
        texts = [f"epoch {self._step / self._steps_per_epoch:.1f}"]
        texts += [f"loss {loss(known['loss'])}"] if "loss" in known else []
        texts += [f"{name} {percent(known[name])}" for name in ("train", "test") if name in known]
        return [*texts, f"{rate * self._batch_size:,.0f} images/s"] if (rate := self._steps_per_second()) else texts

    def _left(self) -> list[str]:
        rate = self._steps_per_second()
        return [f"left {duration(max(self._total_steps - self._step, 0) / rate)}"] if rate else []

    def _bar(self) -> Group:
        line = Table.grid(padding=(0, 2, 0, 0), expand=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True)
        left = self._left() if self._samples else ["waiting for the first step"]
        bar = ProgressBar(total=self._total_steps, completed=self._step, complete_style="cyan", finished_style="green")
        line.add_row(bar, Text("  ".join([f"step {self._step}/{self._total_steps}", *left])))
        return Group(line, Text("  ".join(self._measured()), style="cyan"))


def show_closing_table(status: str, rows: Sequence[tuple[str, str]], stream: TextIO | None = None) -> None:
    """Prints how a run ended: the status, then `rows` of (label, value); `stream` None is `sys.stdout`."""
    stream = sys.stdout if stream is None else stream
    console = Console(file=stream, highlight=False)
    if is_terminal(console, stream):
        console.print(panel(rows, title=Text(status, style=f"bold {COLOURS.get(status, 'default')}")))
    else:
        width = max((len(label) for label, _ in rows), default=0)
        print("\n".join([f"status: {status}", *(f"{label:<{width}}  {value}" for label, value in rows)]), file=stream)


def is_terminal(console: Console, stream: TextIO) -> bool:
    """Whether to draw: what goes to a file stays plain, whatever FORCE_COLOR says."""
    return stream.isatty() and console.is_terminal and not console.is_dumb_terminal


def closing_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The (label, value) rows of the closing table; accuracies in percent, what is null is left out.

    Args:
      summary: `steps`, `epochs`, `seconds`, `num_classes`, `evaluation` (the row of the last or the best evaluation,
        or None), `steps_to_train_accuracy` ({"0.9": step or None, ...}, None where it was not reached), and
        `early_stopping` where it watched; of a study `rows`, its own (label, value) pairs, and `seconds`.
    """
    if "rows" in summary:
        return [*((label, value) for label, value in summary["rows"]), ("time", duration(summary["seconds"]))]
    last = summary["evaluation"] or {}
    rows = [(label, percent(last[field])) for label, field in ACCURACIES.items() if last.get(field) is not None]
    if last.get("test_accuracy") is not None:
        chance = percent(1 / summary["num_classes"])
        corrupted = last.get("test_accuracy_true") is not None
        label = "test accuracy, corrupted labels" if corrupted else "test accuracy"
        rows.append((label, f"{percent(last['test_accuracy'])} (chance {chance})"))
        if corrupted:
            rows.append(("test accuracy, true labels", percent(last["test_accuracy_true"])))
    if last.get("generalization_gap") is not None:
        rows.append(("generalization gap", f"{100 * last['generalization_gap']:.2f} points"))
    if watched := summary.get("early_stopping"):
        split = "the test set, an oracle" if watched["monitor"] == "oracle" else "the part held out"
        restored = "; the accuracies above are of that step" if watched["restored"] else ""
        rows.append((f"best step by {split}", f"{watched['best_step']:,}{restored}"))
        rows.append(("  test accuracy gained over the last step", f"{100 * watched['gain']:.2f} points"))
    for threshold, step in sorted(summary["steps_to_train_accuracy"].items(), key=lambda item: float(item[0])):
        reached = "not reached" if step is None else f"{step:,}"
        rows.append((f"steps to {100 * float(threshold):g}% train accuracy", reached))
    rows.append(("steps", f"{summary['steps']:,} ({summary['epochs']:.1f} epochs)"))
    return [*rows, ("time", duration(summary["seconds"]))]


def percent(fraction: float) -> str:
    """0.1042 -> '10.42%'; only a whole 1.0 is '100.00%', one miss in 50,000 is not."""
    return "99.99%" if 0.9999 < fraction < 1 else f"{100 * fraction:.2f}%"


def loss(value: float) -> str:
    """Three decimals where they say enough, else scientific; nan and inf as they are."""
    return f"{value:.2e}" if 0 < abs(value) < 0.01 or 1000 <= abs(value) < math.inf else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Whole seconds from 20 s on, the two largest units from a minute on: 12.3s, 45s, 4m10s, 1h02m, 2d03h."""
    if seconds < 20:
        return f"{seconds:.1f}s"
    seconds = round(seconds)
    for size, unit, part, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            return f"{seconds // size}{unit}{seconds % size // part:02d}{name}"
    return f"{seconds}s"


def panel(rows: Iterable[tuple[str, str]], title: Text | None = None) -> Panel:
    """A framed table of (label, value) rows."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    for label, value in rows:
        grid.add_row(Text(label), Text(str(value)))
    return Panel(grid, title=title, title_align="left", expand=False)
