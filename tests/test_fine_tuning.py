"""A fine-tuning run as a whole: it learns, keeps the best weights, and goes on where it was stopped."""

import dataclasses
import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert import checkpoints, data, training
from kbert.data import Answer, EncodedRows, Example, Question, ScoredExample
from kbert.errors import InputError
from kbert.fine_tuning import _digest, _mark_of, _may_differ, check_fits, fine_tune
from kbert.inference import Predictor
from kbert.models import Bert
from kbert.recipe import Recipe
from kbert.run_settings import RunSettings
from kbert.start import StartingPoint
from kbert.tasks import Classification, Embedding, Regression
from kbert.text import Vocab, WordPieceTokenizer


@pytest.fixture
def run(tiny_config, tiny_vocab, tmp_path):
    """A function that trains on texts whose first word is the label's."""
    tokenizer = WordPieceTokenizer(str(tiny_vocab))
    rows = [
        Example(f"{word} {'film ' * n}", None, word, f"f:{n}") for n in range(8) for word in ("good", "bad")
    ]
    task = Classification.learn(rows, tokenizer, max_length=16)
    config = tiny_config.replace(vocab_size=len(Vocab.read(tiny_vocab)))
    start = StartingPoint(config, tiny_vocab, lowercase=True)

    def run(
        folder="m", train=rows, dev=rows, recipe=None, init=None, parts=1, max_length=16, best_score=None,
        **settings,
    ):  # fmt: skip
        spec = {**task.spec, "max_length": max_length} | ({"best_score": best_score} if best_score else {})
        settings = RunSettings(**{"batch_size": 8, "learning_rate": 3e-3, "precision": "float32"} | settings)
        own = Classification(spec, tokenizer)
        return fine_tune(
            own, start, own.encode(train), dev,
            init=init, settings=settings, recipe=recipe, model_dir=tmp_path / folder, parts=parts,
        )  # fmt: skip

    run.rows, run.start = rows, start
    return run


@pytest.fixture
def init(run, tmp_path):
    """A checkpoint to start from."""
    model = Bert(run.start.config)
    checkpoints.save_folder(tmp_path / "init", model, vocab_path=run.start.vocab_path)
    return str(tmp_path / "init")


def test_it_learns_and_answers(run):
    done = run(epochs=20)
    assert done.scores["accuracy"] == 1.0 == done.score
    assert [answer["label"] for answer in done.answers[:2]] == ["good", "bad"]
    assert len(done.history) == 20 and done.history[-1]["loss"] < done.history[0]["loss"]


def test_pairs_for_a_model_of_one_segment_are_refused_before_training(tiny_config, tiny_vocab, tmp_path):
    rows = [Example("good", "film", word, "f:2") for word in ("good", "bad")]
    task = Classification.learn(rows, WordPieceTokenizer(str(tiny_vocab)), max_length=16)
    start = StartingPoint(tiny_config.replace(num_segments=1), tiny_vocab, lowercase=True)
    with pytest.raises(InputError, match="num_segments=1"):
        fine_tune(
            task, start, task.encode(rows), rows,
            init=None, settings=RunSettings(epochs=1), model_dir=tmp_path / "m",
        )  # fmt: skip
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "kind, values, init, match",
    [
        (Embedding, {"freeze_layers": 2}, "some", "--freeze_layers=2 would leave nothing to train"),
        (Embedding, {"head_scale": 4.0}, "some", "bert_embedder has no weights above its encoder"),
        (Embedding, {"rdrop_alpha": 1.0}, "some", "--rdrop_alpha=1.0: CosineRegressionObjective cannot"),
        (Regression, {"freeze_layers": 3}, "some", "--freeze_layers=3, but the encoder has 2 layers"),
        (Regression, {"lora_rank": 2}, None, "--lora_rank=2 would freeze random weights for good"),
        (Regression, {"label_smoothing": 0.1}, "some", "--label_smoothing and --class_weights need"),
    ],
)
def test_what_does_not_fit_is_told_without_encoding(run, tiny_vocab, kind, values, init, match):
    rows = [ScoredExample("good", "film", float(n), f"f:{n}") for n in range(2)]
    task = kind.learn(rows, WordPieceTokenizer(str(tiny_vocab)), max_length=16)
    check_fits(task, run.start, rows, init=init, settings=RunSettings(), recipe=Recipe())
    with pytest.raises(InputError, match=match):
        check_fits(task, run.start, rows, init=init, settings=RunSettings(), recipe=Recipe(**values))


@pytest.mark.slow
def test_the_best_epoch_is_kept_and_not_the_last(run, monkeypatch, tmp_path):
    """The measure says that the second epoch was the best."""
    scores = iter([0.5, 0.9, 0.2, 0.2])
    monkeypatch.setattr(Classification, "scores", lambda *_: {"accuracy": next(scores)})
    best = run("best", epochs=3, schedule="stable")
    with np.load(tmp_path / "best" / "best.npz") as file:
        kept = [file[name] for name in sorted(file.files)]
    for weight, expected in zip(best.model.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(weight, expected)
    monkeypatch.undo()
    last = run("last", epochs=3, schedule="stable", keep="last")
    pairs = zip(best.model.get_weights(), last.model.get_weights(), strict=True)
    assert not all(np.array_equal(weight, other) for weight, other in pairs)


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_for_bit(run, monkeypatch):
    whole = run("whole", epochs=3)

    def stop(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt
        original(self, epoch, logs)

    original = training.BestWeights.on_epoch_end
    monkeypatch.setattr(training.BestWeights, "on_epoch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        run("stopped", epochs=3, checkpoint_every=1)
    monkeypatch.undo()
    with pytest.raises(InputError, match="seed"):
        run("stopped", epochs=3, checkpoint_every=1, seed=7)
    again = run("stopped", epochs=3, checkpoint_every=1)
    for weight, expected in zip(again.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert [logs["loss"] for logs in again.history] == [logs["loss"] for logs in whole.history]


@pytest.mark.slow
@pytest.mark.parametrize("is_tpu", [False, True])
def test_where_padding_is_computed_rows_come_by_length(run, monkeypatch, is_tpu):
    asked, batches = [], data.training_batches
    monkeypatch.setattr(training, "is_tpu", lambda: is_tpu)
    monkeypatch.setattr(
        data,
        "training_batches",
        lambda *args, by_length: asked.append(by_length) or batches(*args, by_length),
    )
    run(epochs=1)
    assert asked == [is_tpu]


@pytest.mark.slow
def test_nothing_of_a_run_is_kept_in_memory(run):
    """Or a process with ten seeds would hold ten models, with their optimizers."""

    def graphs():
        gc.collect()
        return sum(issubclass(type(thing), tf.Graph) for thing in gc.get_objects())

    run("first", epochs=1)
    before = graphs()
    run("second", epochs=1)
    assert graphs() == before


@pytest.mark.slow
def test_a_run_that_crashed_goes_on_after_its_last_epoch(run, monkeypatch):
    """Nothing could be saved as it ended."""
    whole, begun = run("whole", epochs=3), []
    original = training.ProgressLog.on_epoch_begin

    def crash(self, epoch, logs=None):
        begun.append(epoch)
        original(self, epoch, logs)
        if begun == [0, 1, 2]:
            raise MemoryError

    monkeypatch.setattr(training.ProgressLog, "on_epoch_begin", crash)
    with pytest.raises(MemoryError):
        run("crashed", epochs=3)
    again = run("crashed", epochs=3)
    assert begun == [0, 1, 2, 2]
    for weight, expected in zip(again.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.slow
def test_a_run_does_not_go_on_from_another_start(run, monkeypatch):
    """Its weights would replace those of another --init, whose name the manifest would then have."""
    run(epochs=1)
    set_seed = keras.utils.set_random_seed
    monkeypatch.setattr(keras.utils, "set_random_seed", lambda seed: set_seed(seed + 1))
    with pytest.raises(InputError, match=r"holds a run with another start \(--init\); start it"):
        run(epochs=1)


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_rows_or_another_task(run):
    run(epochs=1, checkpoint_every=1)
    rows = run.rows
    swapped = [
        dataclasses.replace(row, label=other.label) for row, other in zip(rows, rows[::-1], strict=True)
    ]
    for changed, named in [
        ({"train": swapped}, "other training rows"),
        ({"dev": swapped}, "other dev rows"),
        ({"max_length": 12}, r"another task \(its labels, --best_score, --max_length or an option"),
        ({"best_score": "macro_f1"}, "another task"),
    ]:
        with pytest.raises(InputError, match=f"holds a run with {named}.*; start it as before"):
            run(epochs=1, checkpoint_every=1, **changed)
    run(epochs=1, checkpoint_every=1, best_score="accuracy")  # It is the customary one.


@pytest.mark.slow
def test_a_run_goes_on_with_other_parts_but_not_in_another_precision(run, monkeypatch, caplog):
    run(epochs=1, precision="auto", parts=2)
    with caplog.at_level("WARNING", logger="absl"):
        run(epochs=1, precision="auto")
    assert "holds a run with parts=2, which goes on with 1" in caplog.text
    other = {"float32": "mixed_bfloat16", "mixed_bfloat16": "float32"}[training.dtype_policy("auto")]
    monkeypatch.setattr(training, "dtype_policy", lambda _: other)
    with pytest.raises(InputError, match="holds a run with precision='(bfloat16|float32)', which cannot"):
        run(epochs=1, precision="auto")


@pytest.mark.parametrize(
    "then, now, goes_on",
    [
        ({"parts": 2}, {"parts": 1}, True),
        ({"precision": "auto"}, {"precision": "float32"}, True),  # As checkpoints were at first.
        ({}, {"devices": 1}, True),
        ({"precision": "bfloat16"}, {"precision": "float32"}, False),
        ({"devices": 2}, {"devices": 1}, False),
        ({"seed": 2}, {"seed": 1}, False),
    ],
)
def test_only_what_the_machine_decides_may_differ(then, now, goes_on, tmp_path, caplog):
    variables = [keras.Variable([1.0])]
    training.Checkpoints(tmp_path, settings=then).save(3, variables, {"step": 3})
    checkpoints = training.Checkpoints(tmp_path, settings=now, may_differ=_may_differ)
    if not goes_on:
        with pytest.raises(InputError, match=f"holds a run with {[*now][0]}=.*, which cannot go on with"):
            checkpoints.restore(variables)
        return
    with caplog.at_level("WARNING", logger="absl"):
        assert checkpoints.restore(variables) == {"step": 3}
    assert f"holds a run with {[*now][0]}=" in caplog.text


def test_what_a_mark_stands_for_is_told(tmp_path):
    variables = [keras.Variable([1.0])]
    training.Checkpoints(tmp_path, settings={"rows": "9f"}).save(3, variables, {"step": 3})
    checkpoints = training.Checkpoints(tmp_path, settings={"rows": "a1"}, marks={"rows": "other rows"})
    with pytest.raises(InputError, match="holds a run with other rows; start it as before, or name another"):
        checkpoints.restore(variables)


def test_the_mark_of_rows_tells_where_each_ends_and_what_is_to_be_learned():
    def mark(ids, labels):
        ids, labels = tf.ragged.constant(ids, tf.int32), np.array(labels, np.int32)
        return _digest(EncodedRows({"token_ids": ids}, {"label": labels}, np.arange(2), 0, {}))

    marks = [mark([[1, 2], [3]], [0, 1]), mark([[1], [2, 3]], [0, 1]), mark([[1, 2], [3]], [1, 0])]
    assert len(set(marks)) == 3 and mark([[1, 2], [3]], [0, 1]) == marks[0]


def test_the_mark_of_dev_rows_has_all_that_they_are_measured_by():
    """Their targets may lack it, such as a question's other answers, or scores after training on triples."""

    def mark(score, source="dev.tsv:2"):
        return _mark_of([ScoredExample("a", "b", score, source)])

    assert mark(1.5) == mark(1.5, "moved/dev.tsv:2") != mark(1.75)

    def mark_of_answers(*texts):
        answers = tuple(Answer(text, 0, 0) for text in texts)
        return _mark_of([Question("1", "Who?", "Ann and Bob", answers, True, "dev.json:1")])

    assert mark_of_answers("Ann") == mark_of_answers("Ann") != mark_of_answers("Ann", "Ann and Bob")


@pytest.mark.slow
def test_adapters_are_merged_after_they_were_measured(run, init, monkeypatch):
    """The measure says that the last epoch was not the best, so the kept weights are answered with again."""
    scores = iter([0.2] * 8 + [0.9, 0.2, 0.9])
    monkeypatch.setattr(Classification, "scores", lambda *_: {"accuracy": next(scores)})
    done = run(epochs=10, init=init, recipe=Recipe(lora_rank=8), schedule="stable")
    assert not any("lora" in weight.path for weight in done.model.weights)
    encoded = done.task.encode(run.rows)
    answers = done.task.answers(run.rows, encoded, Predictor(done.task, done.model)(encoded))
    for answer, expected in zip(done.answers, answers, strict=True):
        assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)


@pytest.mark.slow
def test_without_dev_rows_nothing_is_measured(run, init):
    done = run(dev=[], epochs=1, init=init, recipe=Recipe(lora_rank=4))
    assert done.scores == {} and done.score is None and done.answers == []
    assert not any("lora" in weight.path for weight in done.model.weights)


@pytest.mark.slow
@pytest.mark.parametrize("tpu", [False, True])
def test_what_is_trained_leaves_padding_out_and_what_is_kept_does_not(run, monkeypatch, tpu):
    """But not for TPUs, whose compiler must know all shapes."""
    trained = []
    fit = training.fit

    def noting(model, *args, **kwargs):
        trained.append(model.bert.unpad)
        return fit(model, *args, **kwargs)

    monkeypatch.setattr(training, "is_tpu", lambda: tpu)
    monkeypatch.setattr(training, "fit", noting)
    done = run(epochs=1)
    assert trained == [not tpu] and not done.model.bert.unpad


@pytest.mark.slow
def test_weights_that_are_no_numbers_are_never_the_best(run, monkeypatch, tmp_path):
    """The loss of an epoch's last step is that before its update, and may be the last number there is."""
    exact = Predictor.__call__

    def broken(self, encoded):
        return {
            name: [np.full_like(row, np.nan) for row in rows] for name, rows in exact(self, encoded).items()
        }

    monkeypatch.setattr(Predictor, "__call__", broken)
    with pytest.raises(FloatingPointError, match="logits on dev is not a finite number.*lower the learning"):
        run("m", epochs=1)
    assert not (tmp_path / "m" / "best.npz").exists()
