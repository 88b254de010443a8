"""The network of a run that was trained: reads its state, and computes its logits for any images.

Neither needs the data set: the manifest says what its images are.
"""

import functools
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import numpy as np
from ml_collections import ConfigDict

from rethink.data import batches, preprocessing
from rethink.data.arrays import Form
from rethink.data.corruption.moments import no_moments
from rethink.data.corruption.pixels import corrupt_images
from rethink.data.dataset import Dataset, MemorySplit, Split, SplitSource
from rethink.experiment.input_pipeline import InputPipeline
from rethink.experiment.network import GivenNetwork, Network, make_network
from rethink.experiment.setup import make_update_rule
from rethink.schema import validation
from rethink.schema.errors import UserError
from rethink.schema.fields import FIELDS
from rethink.training import devices, state, step

# Sections of the config that a network, its input and its state are made from.
_READ = (
    *("model", "batch_norm", "dropout", "optimizer", "weight_decay", "augmentation"),
    *("data", "preprocess", "corruption", "train", "evaluate", "seed"),
)


class Saved(Protocol):
    """The checkpoints of a run."""

    def read(self, step: int, like: state.TrainState) -> state.TrainState:
        """Returns the state after `step` updates, in the form of `like`."""

    def steps(self) -> list[int]:
        """Returns after how many updates there is one, ascending."""


class Trained:
    """The network of a run that has ended, with the state that is its result.

    Attributes:
      network: as it was trained.
      schedule: step -> learning rate.
      state: host arrays; like: zeros of its form, in which any checkpoint of the run is read.
    """

    def __init__(self, config: ConfigDict, manifest: Mapping[str, Any], saved: Saved, given: GivenNetwork | None):
        """Reads the state of the last evaluation, or where the run restores its best one, of that.

        Args:
          manifest: of the run, which has ended with a result.
          given: as of `make_network`.

        Raises:
          UserError: the run is of a version with other fields; the network can't be made; the checkpoint is missing or
            damaged.
        """
        recorded = dict(validation.flatten(config))
        read = [field for field, row in FIELDS.items() if field.split(".")[0] in _READ and row.type is not dict]
        lacking = [field for field in read if field not in recorded]
        if lacking:
            raise UserError(
                f"The run {config.name} was made by a version without {', '.join(lacking)}: use its network in that "
                "version, which its manifest names."
            )
        self._config, self._data = config, manifest["data"]
        program, plan = manifest["program"], manifest["plan"]
        self.network: Network = make_network(config, program["input_shape"], program["num_classes"], given=given)
        self.schedule, tx = make_update_rule(config, plan["steps_per_epoch"], plan["total_steps"])
        model, outputs = self.network.model, self.network.own_state.outputs
        step_of_result = (manifest["summary"]["evaluation"] or {}).get("step", 0)
        start = functools.partial(state.start_state, model, tx, tuple(program["input_shape"]), outputs=outputs)
        self.like = jax.tree.map(
            lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(start, state.start_key(config.seed))
        )
        if step_of_result:
            self.state = saved.read(step_of_result, self.like)
        else:  # fitted before the first update
            self.state = state.init_state(model, tx, config.seed, program["input_shape"], outputs)

    def predict(self, images: Any) -> np.ndarray:
        """Returns the logits of evaluation for images as stored, float32 [n, classes]; those of one don't depend on n.

        Args:
          images: [n, height, width, channels] of the data set's dtype; [n, height, width] where it has one channel;
            feature vectors [n, features].

        Raises:
          UserError: they have another shape or dtype.
        """
        try:
            array = np.asarray(images)
        except ValueError as error:  # lists of different lengths
            raise UserError("predict wants one array of images, and these have several shapes.") from error
        stored = self._as_stored(array)
        # One size, that of the run's own evaluations, so that there is one compiled function.
        longest = max(self._data["train_examples"], self._data["test_examples"])
        size = devices.round_up_batch(min(self._config.evaluate.batch_size, longest))
        logits = np.empty((len(stored), self.network.program["num_classes"]), np.float32)
        variables = devices.replicate(self.state.replace(opt_state=(), presentations=None))
        for rows, weights in batches.cover_examples(len(stored), size):
            batch = stored[rows], np.zeros(size, np.int32), np.zeros(size, np.int32), np.zeros(size, np.uint32)
            computed = devices.fetch_batch(self._compiled(variables, *devices.shard(batch, 0))).T
            logits[rows[weights > 0]] = computed[weights > 0]
        return logits

    def _as_stored(self, images: np.ndarray) -> np.ndarray:
        """Returns images [n, height, width, channels] of the data set's dtype, as arrays to train on become them."""
        shape, dtype, is_vector = tuple(self._data["image_shape"]), np.dtype(self._data["image_dtype"]), False
        shapes = [shape, shape[:2]] if shape[2] == 1 else [shape]
        if self._data["has_vectors"]:
            is_vector, shapes = True, [shape[2:]]
        kinds = "buif" if is_vector else "f" if dtype.kind == "f" else "bui"
        is_fit = images.shape[1:] in shapes and images.dtype.kind in kinds
        if is_fit and dtype.kind == "u" and images.size and images.dtype.kind != "b":
            is_fit = 0 <= images.min() and images.max() <= np.iinfo(dtype).max
        if not is_fit:
            wanted = f"{'feature vectors' if is_vector else 'images'} [n, {', '.join(map(str, shapes[0]))}]"
            raise UserError(
                f"predict wants {wanted} of {dtype}, as the run's data set has them, and not {images.dtype} "
                f"{list(images.shape)}."
            )
        ids = np.arange(len(images))
        stored = Form(shape, dtype, is_vector).convert(images)
        value_range = self._config.data.value_range
        preprocessing.check_values(stored, ids, value_range, has_vectors=is_vector, where="predict")
        return stored

    @functools.cached_property
    def _compiled(self) -> Any:
        """(state, images, labels, true labels, ids), all [devices, ...] -> logits [devices, classes, batch]."""
        config, data = self._config, self._data
        shape = tuple(data["image_shape"])
        nothing = Split(np.zeros((0, *shape), data["image_dtype"]), np.zeros(0, np.int32), np.zeros(0, np.uint32))
        splits: dict[str, SplitSource] = {name: MemorySplit(nothing) for name in ("train", "test")}
        names = tuple(data["class_names"])
        dataset = Dataset(data["name"], data["decoder"], names, 0, splits, has_vectors=data["has_vectors"])
        pipeline = InputPipeline(config, dataset)
        # Of what is done to test images, all see what one permutation does.
        clean = config.copy_and_resolve_references()
        clean.corruption.test_pixels = clean.corruption.test_labels = False
        spec = InputPipeline(clean, dataset).corruption_spec("test")
        moments = no_moments(shape[-1])
        encoding = preprocessing.clean_encoding(shape[-1])
        matmul_precision = step.resolve_matmul_precision(config.train.matmul_precision, config.train.precision)
        compute = step.make_prediction(
            self.network.model,
            pipeline.evaluation_view,
            precision=config.train.precision,
            matmul_precision=matmul_precision,
        )

        def predict(variables: state.TrainState, images: Any, labels: Any, true_labels: Any, ids: Any) -> jax.Array:
            images = corrupt_images(
                spec.pixel_key, ids, images, moments, kind=spec.pixels, channels_together=spec.channels_together
            )
            batch = step.Batch(images, labels, true_labels, ids, jax.numpy.asarray(encoding))
            return compute(variables, batch).T

        return devices.map_devices(predict, donate_state=False)
