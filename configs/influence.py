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

EXAMPLES = {"digits": 0, "mnist": 10000, "cifar10": 4000}


def get_config(arguments=None):
    words = (arguments or "").split(",")
    data = next((word for word in words if word in EXAMPLES), "digits")
    rest = ",".join(word for word in words if word not in EXAMPLES)
    config = base.get_config()
    config.kind = "influence"
    config.name = f"influence-{data}"
    config.data.name = data
    config.data.train_examples = EXAMPLES[data]
    config.corruption.labels = "symmetric"
    config.corruption.label_probability = 0.1
    config.optimizer.schedule = "constant"
    config.train.total_epochs = 10.0
    if data == "digits":
        config.influence.networks = 200
        config.train.batch_size = 64
        config.train.total_epochs = 20.0
    base.apply_arguments(config, rest, model="mlp_1x512" if data == "digits" else "mlp_512_256")
    if config.model.name.startswith("mlp_"):
        config.optimizer.learning_rate = 0.1
    return config
