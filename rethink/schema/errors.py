"""A user's mistake as one line, and the exit codes of all command lines."""

import contextlib
import difflib
import errno
import pathlib
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from rethink.schema import output

T = TypeVar("T")


EXIT_DONE, EXIT_FAILED, EXIT_MISTAKE, EXIT_DIVERGED = 0, 1, 2, 3
EXIT_SIGNAL = 128  # and the signal's number
_REMEDIES = {  # of what any access to files can meet; the first two only where a file is named
    errno.EACCES: "allow it, or name another place",
    errno.EPERM: "allow it, or name another place",
    errno.EMFILE: "raise the limit (ulimit -n; above ulimit -Hn only the system's administrator can)",
    errno.ENFILE: "raise the limit of the system",
}


class UserError(Exception):
    """A mistake of the user's: one line that names the field, what was given and what to type instead."""

    exit_code = EXIT_MISTAKE

    def __str__(self) -> str:
        """Returns the line: what the user gave can't break it or command a terminal."""
        return output.spell_out(super().__str__())


def exit_code_of_status(status: str) -> int:
    """Returns the exit code of a run that ended with a status."""
    return EXIT_DIVERGED if status == "diverged" else EXIT_DONE


class SurroundingsError(UserError):
    """What befell a run that was well begun, such as a full disk: one line that says what to do. Of no command."""

    exit_code = EXIT_FAILED


def print_error(error: BaseException) -> None:
    """Prints an error where the process goes on: a user's mistake in one line, a bug with its traceback."""
    if not isinstance(error, UserError):
        traceback.print_exception(error)
    print(f"Error: {error}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def exit_on_mistake() -> Iterator[None]:
    """Ends the process where the block raises a UserError, with its line, is not permitted something, or interrupted.

    Exit codes: that of the error, and that of `exit_code_of`. This is the outermost block of every command line, which
    goes on where nobody reads what it prints.
    """
    output.outlast_readers()
    try:
        yield
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        of_a_file = error.errno in (errno.EACCES, errno.EPERM)
        if error.errno not in _REMEDIES or (of_a_file and not error.filename):
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"Error: {where}{error.strerror}: {_REMEDIES[error.errno]}.", file=sys.stderr)
        sys.exit(EXIT_MISTAKE)
    except KeyboardInterrupt as interruption:
        sys.exit(exit_code_of(interruption))


def say(error: BaseException) -> str:
    """Returns what an error says, in one line; of the end of a process, what was called."""
    said = f"calls sys.exit({error.code!r})" if isinstance(error, SystemExit) else str(error)
    return " ".join(said.split())


def import_jax() -> None:
    """Imports JAX and Flax, which read their variables of the environment then.

    Raises:
      UserError: one has a value that it does not take, such as JAX_ENABLE_X64=maybe.
    """
    try:
        import flax  # noqa: F401
    except ValueError as error:
        raise UserError(f"{error}: correct that variable of the environment, or unset it.") from error


def pick(table: Mapping[str, T], name: str, field: str) -> T:
    """Returns `table[name]`.

    Raises:
      UserError: `name` is not in the table; the message lists the choices and the nearest one.
    """
    if name not in table:
        raise UserError(unknown_name(field, name, table))
    return table[name]


def unreadable(what: str, error: OSError) -> UserError:
    """Returns the error of a file or directory that may not be read: whether it is whole, nobody knows."""
    return UserError(f"{what} can't be read ({error.strerror}): allow reading of it.")


def exists(path: pathlib.Path) -> bool:
    """Returns whether there is a file or directory; one that may not be looked for is not taken for absent.

    Raises:
      UserError: a directory above it may not be read.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise unreadable(str(path), error) from error
    return True


def unknown_name(field: str, given: str, choices: Iterable[str]) -> str:
    """Returns one line for a name that is none of `choices`: the field, the name, the nearest choice, all choices."""
    choices = list(choices)
    near = difflib.get_close_matches(str(given), choices, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"{field}='{given}' is unknown{hint} Choices: {', '.join(choices)}."


def exit_code_of(interruption: KeyboardInterrupt) -> int:
    """Returns what a shell reports of the signal that an interruption names, or of Ctrl-C."""
    return getattr(interruption, "exit_code", EXIT_SIGNAL + signal.SIGINT)
