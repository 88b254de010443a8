"""Your own data, docs/data.md: images as stored, or feature vectors; with its true labels, or with `random` ones.

    python main.py --config=configs/own.py --config.data.name=folder:data/pets
    python main.py --config=configs/own.py:random,mlp_3x512 --config.data.name=npz:mine.npz

Time: 2 s for random labels of 142 vectors, 11 s for those of 480 images of 64x64, on 2 cores, shared with other work.
Expect: 100% train accuracy, on random labels too; on these, test accuracy at chance.
"""

from ml_collections.config_dict import required_placeholder

from rethink.configs import base


def get_config(arguments=None):
    words = (arguments or "").split(",")
    labels = ["own-data", *(["random"] if "random" in words else [])]
    rest = ",".join(word for word in words if word != "random")
    config = base.fitted_config(rest, name="-".join(labels))
    config.data.name = required_placeholder(str)
    config.preprocess.whiten = "auto"
    config.corruption.labels = "uniform" if "random" in words else "none"
    if config.model.name.startswith("mlp_"):  # with few steps an epoch, 0.01 ends before random labels are fitted
        config.optimizer.learning_rate = 0.1
    return config
