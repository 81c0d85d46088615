"""Serialized `tf.train.Example`s, which TF Serving's Classify and Regress send."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kbert import features
from kbert.export.samples import requests


def parse_examples(serialized: tf.Tensor, names: Sequence[str]) -> list[tf.Tensor]:
    """The texts in Examples, each string (B,).

    Args:
        serialized: string (B,).
        names: Of the features; all but `text` may be missing and are empty then.

    Raises:
        tf.errors.InvalidArgumentError: One is no Example, or has no `text`.
    """
    columns = {
        name: tf.io.FixedLenFeature([], tf.string, None if name == features.TEXT else "") for name in names
    }
    parsed: Any = tf.io.parse_example(serialized, columns)
    return [parsed[name] for name in names]


def texts_of_example(serialized: bytes, names: Sequence[str]) -> list[bytes]:
    """The texts in one Example."""
    found = tf.train.Example.FromString(serialized).features.feature
    return [found[name].bytes_list.value[0] for name in names]


def example_requests(names: Sequence[str], max_length: int) -> list[dict[str, list[bytes]]]:
    """The requests of the self-test, written as Examples under the name `inputs`."""
    return [
        {
            "inputs": [
                _example(dict(zip(names, row, strict=True))) for row in zip(*texts.values(), strict=True)
            ]
        }
        for texts in requests(tuple(names), max_length)
    ]


def _example(texts: dict[str, bytes]) -> bytes:
    feature = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[text])) for name, text in texts.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
