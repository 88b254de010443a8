"""The network of a run: makes it from the config, and checks that it computes what it did when the run was started."""

import dataclasses
import functools
import json
import logging
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

import flax.linen as nn
from ml_collections import ConfigDict

from rethink.models import program, registry
from rethink.models.user_module import NetworkTrace, OwnState, check_network, inspect_state
from rethink.regularization import batch_norm, explicit
from rethink.results import launches
from rethink.schema import validation
from rethink.schema.errors import UserError
from rethink.training import devices, distributed
from rethink.training.step import PRECISIONS

KINDS_WITH_NETWORK = ("train", "capacity", "influence", "label_issues")
SECTIONS = ("model", "batch_norm", "dropout")  # of the config, from which a network is made
_TRACERS = ("jax", "flax")  # with other versions of these the same network is another program
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)  # told apart by which object it is: a network may hold any fields
class AsItIs:
    """A network that is not built by a config."""

    module: nn.Module


GivenNetwork = type[nn.Module] | AsItIs  # a class is built by the config
_Builder = registry.Builder | AsItIs


class Network(NamedTuple):
    """A network, not initialized.

    Attributes:
      own_state: what a model of the user's keeps by itself.
      program: what the manifest holds of it: the inputs of `make_network`, and the fingerprints of models/program.py.
    """

    model: nn.Module
    trace: NetworkTrace
    own_state: OwnState
    program: dict[str, Any]


def make_network(
    config: ConfigDict,
    input_shape: tuple[int, ...],
    num_classes: int,
    batches: tuple[int, int] | None = None,
    given: GivenNetwork | None = None,
) -> Network:
    """Returns the network of a config, which is evaluated abstractly; in one process the same ones only once.

    Args:
      input_shape: (height, width, channels) of its input, or (features,).
      batches: how many images a device gives to it in training and in evaluation; None where nothing will be.
      given: what takes the place of what the config names.

    Raises:
      UserError: it can't be built, or not for this input, or fails.
    """
    fields = {field: value for field, value in validation.flatten(config) if field.split(".")[0] in SECTIONS}
    settings = validation.to_json(validation.from_flat(fields))
    builder: Any = given or registry.find_builder(config.model.name)
    key = (builder, settings, tuple(input_shape), num_classes, config.train.precision)
    if batches and ":" in config.model.name:
        _check_batches(*key, batches)
    return _make_network(*key)


@functools.cache
def _make_network(
    builder: _Builder,
    settings: str,
    input_shape: tuple[int, ...],
    num_classes: int,
    precision: str,
) -> Network:
    """Returns the network; `builder` is what its name stands for now, or the network itself."""
    config = validation.from_flat(json.loads(settings))
    if isinstance(builder, AsItIs):
        model = builder.module
    else:
        model = registry.build_model(
            config.model.name,
            num_classes=num_classes,
            norm=batch_norm.from_config(config.batch_norm, devices.AXIS),
            dropout=explicit.dropout_from_config(config.dropout, devices.AXIS),
            init=config.model.init,
            kwargs=config.model.kwargs,
            builder=builder,
        )
    trace = check_network(model, input_shape, num_classes)
    own_state, dtype = OwnState(), PRECISIONS[precision]
    if ":" in config.model.name:
        own_state = inspect_state(model, input_shape, num_classes, devices.AXIS, dtype)
    fingerprints = program.fingerprint_program(model, input_shape, trace, devices.AXIS, own_state, dtype)
    facts = {"input_shape": list(input_shape), "num_classes": num_classes, "source": program.fingerprint_source(model)}
    return Network(model, trace, own_state, {**facts, **fingerprints})


@functools.cache
def _check_batches(
    builder: _Builder,
    settings: str,
    input_shape: tuple[int, ...],
    num_classes: int,
    precision: str,
    batches: tuple[int, int],
) -> None:
    """Checks that the network, which takes two images, takes these batches: what it computes must not depend on them.

    Raises:
      UserError: it doesn't.
    """
    model = _make_network(builder, settings, input_shape, num_classes, precision).model
    inspect_state(model, input_shape, num_classes, devices.AXIS, PRECISIONS[precision], batches)


def check_program(
    manifest: Mapping[str, Any],
    folder: pathlib.Path,
    *,
    is_rerun: bool = False,
    is_loaded: bool = False,
    given: GivenNetwork | None = None,
) -> None:
    """Checks that the network of a run, if it has one, still computes what it did when the run was started.

    With another JAX or Flax a program that differs proves nothing. Then a warning says what is known; but where the
    file of the network's class has changed too, the run is refused.

    Args:
      folder: of the run.
      is_rerun: whether it is only made again elsewhere and compared, so that what can't be known is no obstacle.
      is_loaded: whether its state is only used, by a Python program.
      given: as of `make_network`.

    Raises:
      UserError: it doesn't; or it must be known, and can't be, or the manifest doesn't say what it was.
    """
    if manifest["config"].get("kind") not in KINDS_WITH_NETWORK:
        return
    recorded, made = manifest.get("program"), manifest.get("launches")
    if not _is_program(recorded) or not made or not launches.are_launches(made):
        if not is_rerun:
            raise UserError(
                f"The manifest of the run in {folder} has no launches, or no program, which say what it was made on "
                "and what its network computed: choose another --workdir."
            )
        return
    # What is another one now.
    config = validation.from_flat(manifest["config"])
    now = make_network(config, recorded["input_shape"], recorded["num_classes"], given=given).program
    parts = " and ".join(part for part in program.PARTS if recorded[part] != now[part])
    if not parts:
        return
    before, versions = made[-1]["versions"], launches.versions()
    others = [name for name in _TRACERS if before.get(name) != versions[name]]
    same_file = recorded["source"] == now["source"] != ""
    file = f"the file of its class {'is the same' if same_file else 'has changed'}"
    if not others:
        both = "only what it was can be rerun"
        if is_loaded:
            both = "or give that as model="
        elif not is_rerun:
            both = "to have both, choose another --workdir, or make the difference a field of the class, such as "
            both += "--config.model.kwargs.activation=tanh"
        raise UserError(
            f"The network {config.model.name} computes something else in {parts} than when the run in {folder} was "
            f"started; {file}: bring back what it was{',' if is_loaded else ';'} {both}."
        )
    changes = " and ".join(f"{name} ({before.get(name)} -> {versions[name]})" for name in others)
    unknown = f"With another {changes} it can't be known whether the network {config.model.name} computes what it did"
    if not is_rerun and not same_file:
        raise UserError(
            f"{unknown} when the run in {folder} was started, and {file}: go back to that version, or choose another "
            "--workdir."
        )
    _warn_once(f"{unknown} in earlier launches; {file}.")


def check_same_program(made: Mapping[str, Any]) -> None:
    """Checks that the network of this run is the same one in all processes; `made` is `Network.program` of this one.

    Raises:
      UserError: it isn't; in every process.
    """
    hashes = {part: made[part] for part in program.PARTS}
    if len(set(distributed.all_gather_text(json.dumps(hashes)))) > 1:
        raise UserError(
            "The processes of this run have different networks: give all of them the same file of model.name, and the "
            "same JAX and Flax."
        )


def _is_program(value: Any) -> TypeGuard[dict[str, Any]]:
    """Returns whether a value read from a manifest is that of a program."""
    texts = ("source", *program.PARTS)
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(field), str) for field in texts)
        and isinstance(value.get("input_shape"), list)
        and isinstance(value.get("num_classes"), int)
    )


@functools.cache
def _warn_once(line: str) -> None:
    _log.warning(line)
