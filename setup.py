"""Installs the package. What each dependency is for: BUILD_NOTES.md."""

import pathlib

from setuptools import find_packages, setup

PAGE = ["plotly>=6"]
TEST = [*PAGE, "playwright", "pytest", "pytest-xdist", "hypothesis", "ruff", "mypy"]

setup(
    name="rethink",
    version="0.1.0",
    description="Experiments on what neural networks memorize and what they learn (Zhang et al., 2017).",
    long_description=pathlib.Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["rethink", "rethink.*"]),
        *("rethink.configs", "rethink.configs.beyond", "rethink.configs.paper"),
    ],
    package_data={"rethink.report.page": ["*.css", "*.js", "templates/*.html"]},
    install_requires=[
        "absl-py",
        "array_record",
        "dm_pix>=0.4.5",
        "flax>=0.12",
        "grain>=0.2.18",
        "importlib_resources",
        "jax>=0.10",
        "jinja2>=3.1",
        "matplotlib>=3.9",
        "ml_collections>=1.1",
        "numpy>=2",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12",
        "pandas>=2.2",
        "pillow>=11",
        "rich>=13",
        "scikit-learn>=1.5",
        "scipy",
        "tabulate>=0.9",
        "tensorboardX>=2.6",
        "tensorflow-datasets>=4.9.10",
        "threadpoolctl>=3.1",
    ],
    extras_require={
        "cuda": ["jax[cuda12]"],
        "tpu": ["jax[tpu]"],
        "tf": ["tensorflow-cpu>=2.21; platform_system == 'Linux'", "tensorflow>=2.21; platform_system != 'Linux'"],
        "bench": ["cleanlab>=2.7", "psutil", "torch", "torchvision"],
        "cluster": ["ray>=2.50"],
        "page": PAGE,
        "parquet": ["pyarrow"],
        "test": TEST,
    },
)
