"""Opens the data set that a Python function of the user's returns as arrays."""

import inspect
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from rethink.data.arrays import choose_splits, dataset_from_arrays
from rethink.data.dataset import Dataset
from rethink.schema.errors import UserError
from rethink.schema.user_code import describe_error, import_module

EXPECTED = '{"train": (images, labels), "test": (images, labels)}, or ((images, labels), (images, labels))'


def open_module(location: str, config: ConfigDict) -> Dataset:
    """Returns the splits that a function returns, images as of `make_dataset`, labels as of `encode_labels`.

    The function takes no arguments, and is called anew by every process of a run. It returns split -> (images, labels),
    with "class_names" -> names if it likes; or (train, test), each a tuple (images, labels); or (images, labels), of
    which the test part is drawn.

    Args:
      location: "package.module:function".
      config: the config section `data`.

    Raises:
      UserError: there is no such function, it fails, or what it returns is no data set.
    """
    where = f"data.name='{config.name}'"
    module, name = import_module(location, where, "module:package.module:function")
    function = getattr(module, name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise UserError(
            f"{where}: {module.__name__} has no function '{name}'; it has {', '.join(functions) or 'none'}."
        )
    try:
        returned = function()
    except (Exception, SystemExit) as error:
        raise UserError(f"{where} fails: {describe_error(error, module.__file__ or '')}: mend it there.") from error
    splits, class_names = _read_returned(returned, where)
    chosen = choose_splits(list(splits), config)
    return dataset_from_arrays(config.name, {role: splits[split] for role, split in chosen.items()}, class_names)


def _read_returned(returned: Any, where: str) -> tuple[dict[str, tuple[Any, Any]], tuple[str, ...]]:
    """Returns split -> (images, labels), and the names of the classes, () for none."""
    class_names: tuple[str, ...] = ()
    splits: dict[str, Any] = {}
    if isinstance(returned, Mapping):
        splits = dict(returned)
        class_names = tuple(map(str, splits.pop("class_names", ())))
    elif isinstance(returned, tuple) and len(returned) == 2:
        is_pairs = isinstance(returned[0], tuple)
        splits = dict(zip(("train", "test"), returned, strict=True)) if is_pairs else {"train": returned}
    if not splits or not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in splits.values()):
        raise UserError(f"{where} returns a {type(returned).__name__} of another form: return {EXPECTED}.")
    return splits, class_names
