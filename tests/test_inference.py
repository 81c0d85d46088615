"""A model folder answers texts from Python, in the order they came."""

import collections
import copy
import json
import pickle
import threading

import numpy as np
import pytest
import tensorflow as tf

import kbert
from kbert.checkpoints import convert, save_folder
from kbert.export import text_module
from kbert.inference import Predictor, _ahead
from kbert.models import BertClassifier


@pytest.fixture
def model_dir(tiny_config, tiny_vocab, tmp_path):
    def make(pair=False, **changes):
        model = BertClassifier(tiny_config.replace(**changes), num_classes=3)
        model.build()
        rng = np.random.default_rng(2)
        for weight in model.weights:
            weight.assign(np.asarray(weight) + rng.normal(0, 0.3, weight.shape))
        task = {"name": "classification", "labels": ["a", "b", "c"], "max_length": 16}
        save_folder(
            tmp_path / "m", model, task={**task, "pair": pair, "lowercase": True}, vocab_path=tiny_vocab
        )
        return tmp_path / "m"

    return make


TEXTS = ["the film was good", "", "我们 很 喜欢 这 部 电影", "bad " * 40, "Café!", "not a bad play"]


def test_answers_come_in_order_and_alike_alone_or_together(model_dir):
    classify = kbert.pipeline(model_dir())
    together = classify(TEXTS)
    assert len({answer["score"] for answer in together}) == len(TEXTS)
    for text, answer in zip(TEXTS, together, strict=True):
        alone = classify(text)
        assert (
            alone["label"] == answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
        )
        assert alone["score"] == pytest.approx(answer["score"], abs=1e-6)
    assert classify([]) == []


def test_a_generator_is_read_and_what_cannot_be_is_refused(model_dir):
    folder = model_dir()
    classify = kbert.pipeline(folder)
    assert classify(text for text in TEXTS[:2]) == classify(TEXTS[:2])
    with pytest.raises(kbert.InputError, match="a dict of text came"):
        classify({"text": "good film"})

    class DataFrame(collections.UserList):  # As that of pandas, which goes through its names.
        columns = property(list)

    with pytest.raises(kbert.InputError, match="a DataFrame of text came"):
        classify(DataFrame(["text"]))
    with pytest.raises(kbert.InputError, match="batch_size=0; expected at least 1"):
        kbert.pipeline(folder, batch_size=0)


def test_logits_are_those_of_the_loaded_model(model_dir):
    folder = model_dir()
    classify, model = kbert.pipeline(folder), kbert.load(folder)
    v = classify.task.tokenizer.vocab
    ids = [[v.cls_id, v.id("good"), v.id("film"), v.sep_id]]
    expected = np.asarray(model({"token_ids": np.array(ids)})["logits"])[0]
    probabilities = np.exp(expected) / np.exp(expected).sum()
    answer = classify("good film")
    assert list(answer["probabilities"].values()) == pytest.approx(probabilities, abs=1e-6)
    assert json.loads(json.dumps(answer)) == answer


def test_batch_size_and_workers_change_nothing(model_dir):
    classify = kbert.pipeline(model_dir())
    encoded = classify.task.encode(classify.task.rows_of(TEXTS), labelled=False)
    one, many, together = (
        np.stack(Predictor(classify.task, classify.model, *sizes)(encoded)["logits"])
        for sizes in ((1,), (6,), (1, 3))
    )
    np.testing.assert_allclose(one, many, atol=1e-5)
    np.testing.assert_array_equal(one, together)


def test_batches_go_at_once_and_come_in_their_order():
    """The first waits for the third to begin, so it would never end if fewer than three went at a time."""
    third = threading.Event()

    def square(number):
        if number == 3:
            third.set()
        assert third.wait(60)
        return number**2

    assert list(_ahead(square, range(1, 8), workers=3)) == [1, 4, 9, 16, 25, 36, 49]


def test_one_worker_stays_in_the_scope_of_the_strategy():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        assert list(_ahead(lambda _: tf.distribute.get_strategy() is strategy, range(3), 1)) == [True] * 3


def test_pairs_where_they_belong(model_dir):
    classify = kbert.pipeline(model_dir(pair=True))
    first, swapped = classify("good film", "the play"), classify("the play", "good film")
    assert first["score"] != pytest.approx(swapped["score"], abs=1e-4)
    with pytest.raises(kbert.InputError, match="pairs of texts; no pairs came"):
        classify("good film")
    with pytest.raises(kbert.InputError, match="2 texts and 1 pairs"):
        classify(["a", "b"], ["c"])
    with pytest.raises(kbert.InputError, match="text 1 is nan; expected a string"):
        classify(["a", "b"], ["c", float("nan")])
    halves = classify("good \ud83d film", "the play\ude00")
    assert halves["score"] == pytest.approx(first["score"], abs=1e-6)


def test_a_model_of_one_segment_answers_texts_but_no_pairs(model_dir):
    classify = kbert.pipeline(model_dir(num_segments=1))
    assert classify("good film")["label"]
    with pytest.raises(kbert.InputError, match="num_segments=1"):
        kbert.pipeline(model_dir(pair=True, num_segments=1))
    with pytest.raises(kbert.InputError, match="num_segments=1"):
        text_module(type(classify.task)({**classify.task.spec, "pair": True}, classify.task.tokenizer),
                    classify.model)  # fmt: skip


def test_folders_that_cannot_answer_are_named(tiny_config, tmp_path, model_dir):
    model = kbert.load(model_dir()).bert
    save_folder(tmp_path / "bare", model)
    with pytest.raises(kbert.InputError, match="bare: holds no fine-tuned model"):
        kbert.pipeline(tmp_path / "bare")
    convert(tmp_path / "bare", tmp_path / "theirs", "huggingface")
    with pytest.raises(kbert.InputError, match="theirs: holds no model in kbert's own form.*--to=kbert"):
        kbert.pipeline(tmp_path / "theirs")
    (model_dir() / "vocab.txt").unlink()
    with pytest.raises(kbert.InputError, match="vocab.txt"):
        kbert.pipeline(tmp_path / "m")


def test_a_pipeline_can_be_copied_and_sent_to_another_process(model_dir):
    classify = kbert.pipeline(model_dir())
    expected = [answer["score"] for answer in classify(TEXTS)]
    for again in (copy.deepcopy(classify), pickle.loads(pickle.dumps(classify))):
        assert again.model is not classify.model
        for weight in again.model.weights:  # The copy answers by its own weights, and not by the first one's.
            weight.assign(np.asarray(weight) * 1.01)
        assert [answer["score"] for answer in classify(TEXTS)] == expected
        assert [answer["score"] for answer in again(TEXTS)] != expected
