"""Owns which texts each field of a config may hold, read off the rooms that act on them.

Refuses to judge: settings.py refuses what is none of them.
"""

from rethink import executors, feeding, models
from rethink.data import batches, corruption, preprocessing
from rethink.regularization import augmentation, batch_norm, early_stopping, explicit
from rethink.results import gallery
from rethink.studies import STUDIES, kernel, linear, theorem1
from rethink.theory import convolutional_features, kernels
from rethink.training import optimizer, step

CHOICES = {
    "kind": ("train", *STUDIES),
    "executor": tuple(executors.EXECUTORS),
    "figure": gallery.CHOICES,
    "data.feed": feeding.FEEDS,
    "data.remainder": batches.REMAINDERS,
    "corruption.labels": corruption.LABELS,
    "corruption.pixels": corruption.PIXELS,
    "preprocess.whiten": preprocessing.WHITEN,
    "model.init": tuple(models.INITIALIZERS),
    "weight_decay.kind": explicit.WEIGHT_DECAYS,
    "weight_decay.parameters": explicit.DECAYED,
    "dropout.place": explicit.DROPOUT_PLACES,
    "augmentation.crop": augmentation.CROPS,
    "early_stopping.monitor": early_stopping.MONITORS,
    "early_stopping.labels": early_stopping.LABELS,
    "batch_norm.kind": batch_norm.KINDS,
    "batch_norm.evaluation": batch_norm.EVALUATIONS,
    "theorem1.targets": theorem1.TARGETS,
    "linear.features": linear.FEATURES,
    "kernel.name": tuple(kernels.KERNELS),
    "kernel.features": kernel.FEATURES,
    "kernel.filter_kind": convolutional_features.FILTERS,
    "train.precision": step.PRECISIONS,
    "optimizer.name": tuple(optimizer.OPTIMIZERS),
    "optimizer.schedule": optimizer.SCHEDULES,
    "optimizer.decay_unit": optimizer.DECAY_UNITS,
}
