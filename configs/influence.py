"""What networks memorize, example by example, and which test examples it helps (Feldman & Zhang, 2020).

    python main.py --config=configs/influence.py              # digits, a tenth of the labels wrong: 200 networks
    python main.py --config=configs/influence.py:mnist        # 10,000 images, 2,000 networks 512-256: their example
    python main.py --config=configs/influence.py:cifar10      # the same on 4,000 images
    python main.py --config=configs/influence.py:mnist,mlp_1x512    # another network; smoke: seconds

On a CPU, --config.hardware.cpu_devices=2 trains two networks at a time. Interrupted, the same command resumes; with
more --config.influence.networks it adds to those that there are.

Time: digits under a minute on 2 cores (AMD EPYC), shared with other work.
Expect: memorization near 1 of most wrong labels and near 0 of most others, and an AUROC that tells them apart.
"""

from rethink.configs import base

DATA = {
    "digits": {"influence.networks": 200, "train.batch_size": 64, "train.total_epochs": 20.0},
    "mnist": {"data.train_examples": 10_000},
    "cifar10": {"data.train_examples": 4_000},
}


def get_config(arguments=None):
    words = (arguments or "").split(",")
    chosen = [word for word in words if word in DATA]
    if len(chosen) > 1:
        raise ValueError(f"'{arguments}': of {', '.join(DATA)} one at most")
    data = (*chosen, "digits")[0]
    config = base.get_config()
    config.kind = "influence"
    config.name = f"influence-{data}"
    config.data.name = data
    config.corruption.labels = "symmetric"
    config.corruption.label_probability = 0.1
    config.optimizer.schedule = "constant"
    config.train.total_epochs = 10.0
    config.update_from_flattened_dict(DATA[data])
    rest = ",".join(word for word in words if word not in DATA)
    base.apply_arguments(config, rest, model="mlp_1x512" if data == "digits" else "mlp_512_256")
    if config.model.name.startswith("mlp_"):
        config.optimizer.learning_rate = 0.1
    return config
