"""What the tests of tasks share: a tokenizer, and a short training run."""

import pytest

from kbert.fine_tuning import fine_tune
from kbert.run_settings import RunSettings
from kbert.start import StartingPoint
from kbert.text import WordPieceTokenizer


@pytest.fixture
def tokenizer(tiny_vocab):
    return WordPieceTokenizer(str(tiny_vocab))


@pytest.fixture
def fine_tuned(tiny_config, tiny_vocab, tokenizer, tmp_path):
    """A function that trains a small model on rows, measures it on them too, and gives what comes out."""
    config = tiny_config.replace(
        vocab_size=len(tokenizer.vocab), num_layers=1, dropout=0.0, attention_dropout=0.0
    )

    def fine_tuned(task, rows, epochs=12, dev=None, **more):
        settings = {"batch_size": 8, "learning_rate": 3e-3, "precision": "float32", **more}
        settings = RunSettings(epochs=epochs, **settings)
        start = StartingPoint(config, tiny_vocab, lowercase=True)
        dev = rows if dev is None else dev
        return fine_tune(
            task, start, task.encode(rows), dev, init=None, settings=settings, model_dir=tmp_path / "run"
        )

    return fine_tuned
