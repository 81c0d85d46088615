"""Every fault that the self-test is for, made on purpose, must be found by the check that is for it."""

import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kbert import features
from kbert.export import TextClassifier, samples, saved_model, self_test
from tests.test_architecture import imports


class KerasModelInside(TextClassifier):
    """keras-team/keras issue 20095: `tf.saved_model.load` runs it, TF Serving fails at the first request."""

    def __init__(self, task, model):
        super().__init__(task, model)
        self.model = model
        view = dict(enumerate(self.weights)).values()  # of the weights, which SavedModel does not follow
        del self.weights
        self.weights = view


class WeightsTwice(TextClassifier):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.copies = [tf.Variable(weight) for weight in self.weights]


class TakesAnyShape(TextClassifier):
    def answer(self, text):
        return super().answer(tf.reshape(text, [-1]))


class TakesUnequalBatches(TextClassifier):
    def answer(self, text, text_pair):
        length = tf.minimum(tf.size(text), tf.size(text_pair))
        text, text_pair = tf.ensure_shape(text, [None]), tf.ensure_shape(text_pair, [None])
        return super().answer(text[:length], text_pair[:length])


class ForgetsPadding(TextClassifier):
    def _padded(self, token_ids, segment_ids):
        padded = super()._padded(token_ids, segment_ids)
        return {name: padded[name] for name in (features.TOKEN_IDS, features.SEGMENT_IDS)}


class IsSlightlyWrong(TextClassifier):
    def answer(self, text):
        outputs = super().answer(text)
        return {**outputs, "score": outputs["score"] + 2e-5}


class MixesRows(TextClassifier):
    """Right for the samples as batches, wrong for their rows alone."""

    def answer(self, text):
        outputs = super().answer(text)
        alone = tf.cast(tf.size(text) == 1, tf.float32) * tf.cast(tf.strings.length(text) == 0, tf.float32)
        return {**outputs, "score": outputs["score"] + 0.1 * alone}


class CallsPython(TextClassifier):
    def answer(self, text):
        return super().answer(tf.numpy_function(lambda value: value, [text], tf.string))


class NeedsXla(TextClassifier):
    def answer(self, text):
        outputs = super().answer(text)
        return {**outputs, "score": tf.function(lambda x: x * 1.0, jit_compile=True)(outputs["score"])}


class NamesAPath(TextClassifier):
    def answer(self, text):
        outputs = super().answer(text)
        return {**outputs, "label": outputs["label"] + tf.strings.substr(os.getcwd() + "/x", 0, 0)}


class SilentAboutHugeTexts(TextClassifier):
    def answer(self, text):
        outputs = super().answer(text)
        return {**outputs, "truncated": outputs["truncated"] & (tf.strings.length(text) < 50_000)}


class DropsAnOutput(TextClassifier):
    def answer(self, text):
        outputs = super().answer(text)
        return {name: value for name, value in outputs.items() if name != "num_tokens"}


@pytest.fixture(scope="module")
def write(make_module):
    """Function of a module and a folder, to the export as the self-test sees it."""
    right = {pair: samples.answered(make_module(pair)) for pair in (False, True)}

    def write_and_load(module, folder):
        saved_model._write(module, right[module.task["pair"]], str(folder))
        return self_test.Export(str(folder))

    return write_and_load


def check_paths(export):
    # The last two are parts of the names of the graph's own nodes.
    self_test.check_paths(export, [os.getcwd(), "/", "/output", "/bert"])


CHECKS = types.SimpleNamespace(
    answers=self_test.check_answers,
    bad_shapes=self_test.check_bad_shapes,
    batches=self_test.check_batches,
    huge_text=self_test.check_huge_text,
    ops=self_test.check_ops,
    paths=check_paths,
    weights=self_test.check_weights,
)


def test_the_file_alone_is_a_program():
    """A server's machine has no kbert, and none of its packages but TensorFlow's own."""
    packages = {name.split(".")[0] for name in imports(Path(self_test.__file__))}
    assert packages - sys.stdlib_module_names == {"google", "numpy", "tensorflow", "tensorflow_text"}


@pytest.mark.slow_after_first
@pytest.mark.parametrize("pair", [False, True])
def test_a_good_export_passes_every_check(make_module, write, tmp_path, pair):
    export = write(make_module(pair), tmp_path / "good")
    for check in vars(CHECKS).values():
        check(export)


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    ("kind", "pair", "check", "message"),
    [
        (KerasModelInside, False, CHECKS.answers, "variable"),
        (WeightsTwice, False, CHECKS.weights, "bytes of tensors"),
        (TakesAnyShape, False, CHECKS.bad_shapes, "text of a lower rank is answered"),
        (TakesUnequalBatches, True, CHECKS.bad_shapes, "text longer is answered"),
        (ForgetsPadding, False, CHECKS.answers, "differs by"),
        (IsSlightlyWrong, False, CHECKS.answers, "score differs by 2e-05"),
        (MixesRows, False, CHECKS.batches, "score differs by"),
        (CallsPython, False, CHECKS.ops, "PyFunc"),
        (NeedsXla, False, CHECKS.ops, "jit_compile"),
        (NamesAPath, False, CHECKS.paths, "local path"),
        (SilentAboutHugeTexts, False, CHECKS.huge_text, "megabyte"),
        (DropsAnOutput, False, CHECKS.answers, "num_tokens"),
    ],
)
def test_a_fault_is_found(make_module, write, tmp_path, kind, pair, check, message):
    export = write(make_module(pair, kind), tmp_path / "faulty")
    with pytest.raises((self_test.Failure, tf.errors.OpError), match=message):
        check(export)


@pytest.mark.parametrize(
    ("value", "is_path"),
    [
        (b"/bert/vocab.txt", True),
        (b"file:///bert/vocab.txt", True),
        (b"no such file: '/bert/vocab.txt'", True),
        (b"hash_table_/bert/vocab.txt_-2_-1", True),
        (b"bert_classifier/bert/layer_0/output/bias", False),
        (b"loc:@bert_classifier/bert/layer_0", False),
        (b"/models/bert/vocab.txt", False),
        (b"/berta", False),
    ],
)
def test_a_path_is_no_part_of_a_name(value, is_path):
    assert self_test.holds_path(value, "/bert") is is_path
    assert self_test.holds_path(value, "/bert/") is is_path


@pytest.mark.parametrize("value", [0.50002, np.nan, np.inf])
def test_a_float_may_differ_by_the_tolerance_only(value):
    expected = {"score": np.array([0.5])}
    self_test.difference(expected, {"score": np.array([0.500005], np.float32)})
    with pytest.raises(self_test.Failure, match="score differs"):
        self_test.difference(expected, {"score": np.array([value], np.float32)})
