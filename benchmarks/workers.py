"""The processes that measure: each holds one library, is set up once, and measures once for each request.

What is measured is not known here: a module's `make(**options)` returns the object whose methods are called.

PyTorch and JAX in one process would fight for its threads, and processes that wait let repeats take turns.
"""

import contextlib
import importlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
MIB_OF_RSS = 2**20 if sys.platform == "darwin" else 2**10  # the unit of ru_maxrss


class Mistake(Exception):
    """A mistake of the user's, in one line."""


class Worker:
    """A process that measures; from `worker`."""

    def __init__(self, module: str, options: dict[str, Any]):
        """Starts it; it is set up by the time of the first `ask`."""
        words = [sys.executable, "-m", "benchmarks.workers", module, json.dumps(options)]
        self._module = module
        self._said = tempfile.TemporaryFile("w+", errors="replace")
        self._process = subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True
        )

    def ask(self, method: str, **arguments: Any) -> Any:
        """Returns what a method of the worker's object returns.

        Raises:
          Mistake: this package reports one of the user.
        """
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([method, arguments]) + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self._said.seek(0)
            raise RuntimeError(f"{self._module} failed.\n{self._said.read()[-3000:]}")
        found = json.loads(answer)
        if "mistake" in found:
            raise Mistake(found["mistake"])
        return found["answer"]

    def close(self) -> None:
        """Ends it."""
        with contextlib.suppress(OSError):
            self._process.communicate()
        self._said.close()


@contextlib.contextmanager
def worker(module: str, **options: Any) -> Iterator[Worker]:
    """Holds a worker while the block lasts."""
    started = Worker(module, options)
    try:
        yield started
    finally:
        started.close()


def ask_once(module: str, method: str, **options: Any) -> Any:
    """Returns one answer of a worker that is started for it."""
    with worker(module, **options) as started:
        return started.ask(method)


def peak_mib() -> float:
    """Returns the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB_OF_RSS


def serve(module: str, options: dict[str, Any]) -> None:
    """Answers on what was standard output; whatever else is printed goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with contextlib.ExitStack() as stack:
        measured = None
        for line in sys.stdin:
            method, arguments = json.loads(line)
            try:
                if measured is None:
                    measured = stack.enter_context(importlib.import_module(module).make(**options))
                answer = {"answer": getattr(measured, method)(**arguments)}
            except Exception as error:
                if type(error).__name__ != "UserError":
                    raise
                answer = {"mistake": str(error)}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
