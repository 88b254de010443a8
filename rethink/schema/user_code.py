"""Imports a module of the user's and describes what fails in her code, in one line with its place."""

import importlib
import os
import pathlib
import re
import sys
import traceback
import types

from rethink.schema.errors import UserError, say

_LONGEST = 300  # characters of another library's error


def import_module(path: str, where: str, form: str) -> tuple[types.ModuleType, str]:
    """Returns the module of "package.module:name", and the name.

    Args:
      where: names the path in an error, such as "model.name='my_net:Net'".
      form: what to write, such as "package.module:ClassName".

    Raises:
      UserError: the path is malformed, there is no such module, or its import fails.
    """
    module_name, _, name = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise UserError(f"{where} is malformed: write {form}.")
    if module_name.endswith(".py"):
        raise UserError(f"{where}: write it without .py, {module_name.removesuffix('.py')}:{name}.")
    # The working directory comes last on Python's path: nothing there takes the place of what is installed.
    if not {"", os.getcwd()}.intersection(sys.path):
        sys.path.append(os.getcwd())
    package = module_name.partition(".")[0]
    try:  # whatever it raises is a mistake in the user's file
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        _check_module_file(where, package)
        if error.name not in (package, module_name):  # an import in the user's file
            raise UserError(f"{where} cannot be imported: {_describe_import(error)}.") from error
        raise UserError(
            f"{where} cannot be imported: {error}. Install it, start from its folder, or add that to PYTHONPATH."
        ) from error
    except (Exception, SystemExit) as error:
        raise UserError(f"{where} cannot be imported: {describe_error(error)}: mend it there.") from error
    _check_module_file(where, package)
    return module, name


def _describe_import(error: ImportError) -> str:
    """Returns what an import says that failed, and the line of the user's that asked for it."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    return f"{error} ({own[-1].filename}:{own[-1].lineno}): install that, or add its folder to PYTHONPATH"


def _check_module_file(where: str, package: str) -> None:
    """Checks that Python has not taken another module or package for the one of this name in the working directory.

    Raises:
      UserError: it has.
    """
    own = [file for file in (pathlib.Path(package), pathlib.Path(f"{package}.py")) if file.exists()]
    module = sys.modules.get(package)
    if not own or module is None:
        return
    taken = [*getattr(module, "__path__", [])] or [getattr(module, "__file__", None) or "Python itself"]
    if not {file.resolve() for file in own} & {pathlib.Path(place).resolve() for place in taken}:
        raise UserError(f"{where}: Python takes {package} from {taken[0]}, not from {own[0].resolve()}: rename yours.")


def describe_error(error: BaseException, file: str = "") -> str:
    """Returns an error in one line, with its place: wrong syntax, or the last line that ran, of `file` if one did.

    A long text is cut after a sentence or a word; links are left out.
    """
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        frame = ([frame for frame in frames if frame.filename == file] or frames)[-1]
        place = f"{frame.filename}:{frame.lineno}"
    text = re.sub(r"\s*(\(\s*https?://\S+\)|https?://\S+)", "", say(error))
    if len(text) > _LONGEST:
        head = text[: _LONGEST + 1]
        text = head[: head.rfind(". ") + 1] or head[: max(head.rfind(" "), 0)] or text[:_LONGEST]
    return f"{text} ({type(error).__name__}, {place})"
