"""A fine-tuning run as a whole: it learns, keeps the best weights, and goes on where it was stopped."""

import numpy as np
import pytest

from kbert import training
from kbert.data import Example
from kbert.errors import InputError
from kbert.fine_tuning import fine_tune
from kbert.run_settings import RunSettings
from kbert.start import StartingPoint
from kbert.tasks import Classification
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

    def run(folder="m", dev=rows, **settings):
        settings = RunSettings(batch_size=8, learning_rate=3e-3, precision="float32", **settings)
        return fine_tune(
            task, start, task.encode(rows), dev, init=None, settings=settings, model_dir=tmp_path / folder
        )

    return run


def test_it_learns_and_answers(run):
    done = run(epochs=12)
    assert done.scores["accuracy"] == 1.0 == done.score
    assert [answer["label"] for answer in done.answers[:2]] == ["good", "bad"]
    assert len(done.history) == 12 and done.history[-1]["loss"] < done.history[0]["loss"]


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


def test_without_dev_rows_nothing_is_measured(run):
    done = run(dev=[], epochs=1)
    assert done.scores == {} and done.score is None and done.answers == []
