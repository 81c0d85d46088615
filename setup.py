"""Packaging of kbert: what it is, what it needs, what is optional."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
# Read as text: importing kbert here would need its dependencies before they are installed.
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "kbert/version.py").read_text(encoding="utf-8")).group(1)

SERVE = ["grpcio>=1.75,<2", "grpcio-health-checking>=1.75,<2"]
# Word segmentation of Chinese, for masks over whole words.
CHINESE = ["jieba>=0.42.1,<1"]
# Pictures of curves and lengths; without them runs and reports are the same in numbers.
PLOTS = ["matplotlib>=3.8,<4"]
TEST = [
    *SERVE,
    *CHINESE,
    *PLOTS,
    "check-jsonschema>=0.30",  # the schema of Compose files
    "hypothesis>=6.100,<7",
    "jax[cpu]>=0.6,<1",  # the other backend of the layers and models
    "kubernetes-validate>=1.31",  # the schemas of Kubernetes' objects
    "promql-parser>=0.4",  # the grammar of Prometheus' alerts
    # With its own Node.js from PyPI: without the extra, pyright fetches one from elsewhere.
    "pyright[nodejs]>=1.1.400,<2",
    "pytest>=8.4,<10",
    "pytest-xdist>=3.8,<4",
    "ruff>=0.14,<1",
]

setup(
    name="kbert",
    version=VERSION,
    description="BERT for TensorFlow and Keras 3, from raw text to a served model",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    # "." said aloud makes an editable install a plain path entry, which type checkers follow too.
    package_dir={"": "."},
    packages=find_packages(include=["kbert", "kbert.*"]),
    package_data={
        "kbert": ["py.typed"],
        "kbert.serving": ["page/*"],
        "kbert.serving.deployment": ["templates/*"],
    },
    python_requires=">=3.10,<3.13",
    # tensorflow-text and tensorflow-serving-api are built against one minor version of TensorFlow;
    # tensorflow-text 2.21.0 does not import. Python 3.10 gets Keras 3.12, the last one made for it.
    install_requires=[
        "absl-py>=2.1,<3",
        "h5py>=3.11,<4",
        "importlib-resources>=5",  # tensorflow-datasets 4.9.10 imports it and does not ask for it
        "keras>=3.12,<4",
        "keras-nlp>=0.25,<1",
        "numpy>=2,<3",
        "pyyaml>=6,<7",
        "safetensors>=0.4.5,<1",
        "tensorflow>=2.21,<2.22",
        "tensorflow-datasets>=4.9.7,<5",
        "tensorflow-serving-api>=2.21,<2.22",
        'tensorflow-text>=2.21.1,<2.22; platform_system != "Windows"',  # no wheel: see kbert.text.python_ops
    ],
    extras_require={
        "serve": SERVE,
        "test": TEST,
        "beam": ["apache-beam>=2.77,<3", "google-crc32c>=1.5,<2"],
        "bench": ["onnx>=1.17", "onnxruntime>=1.20", "tokenizers>=0.21", "torch>=2.6", "transformers>=4.50"],
        "chinese": CHINESE,
        "hub": ["huggingface-hub>=0.26"],
        "plots": PLOTS,
    },
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
