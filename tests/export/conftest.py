"""A classifier so small that an export takes a second, with answers far from one another."""

import string

import numpy as np
import pytest

from kbert.config import BertConfig
from kbert.export import TextClassifier
from kbert.models import BertClassifier
from kbert.tasks import Classification
from kbert.text import Vocab, WordPieceTokenizer

WORDS = "the film is long but it never loses its way a short sentence once more 房 间 很 干 净".split()
TOKENS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", "##ing",
    *dict.fromkeys(string.ascii_lowercase + string.punctuation + "。，"),
]  # fmt: skip
LABELS = ["bad", "good", "中立"]
MAX_LENGTH = 40


@pytest.fixture(scope="session")
def tokenizer():
    return WordPieceTokenizer(Vocab(dict.fromkeys(TOKENS)))


@pytest.fixture(scope="session")
def make_model(tokenizer):
    """Function of a seed and a dtype policy, to a classifier whose answers differ from text to text."""

    def make(seed=1, dtype="float32"):
        config = BertConfig(
            vocab_size=len(tokenizer.vocab) + 3,
            hidden_dim=16,
            num_layers=1,
            num_heads=2,
            intermediate_dim=32,
            max_length=48,
        )
        model = BertClassifier(config, num_classes=len(LABELS), dtype=dtype)
        model.build()
        generator = np.random.default_rng(seed)
        for weight in model.weights:
            if "layer_norm" not in weight.path:
                weight.assign(generator.normal(0, 0.3, weight.shape))
        return model

    return make


@pytest.fixture(scope="session")
def make_task(tokenizer):
    def make(pair=False, **changes):
        spec = {"name": "classification", "labels": LABELS, "pair": pair, "max_length": MAX_LENGTH}
        return Classification({**spec, "lowercase": True, **changes}, tokenizer)

    return make


@pytest.fixture(scope="session")
def make_module(make_model, make_task):
    def make(pair=False, kind=TextClassifier, **arguments):
        return kind(make_task(pair), make_model(**arguments))

    return make


@pytest.fixture(scope="session")
def expected_answer(tokenizer):
    """Function of a float32 model and the texts of one example, to the answer, restated in NumPy."""

    def answer(model, *texts):
        parts = [tokenizer.tokenize([text]).to_list()[0] for text in texts]
        room = MAX_LENGTH - 1 - len(parts)
        truncated = sum(map(len, parts)) > room
        while sum(map(len, parts)) > room:
            max(reversed(parts), key=len).pop()
        cls_id, sep_id = tokenizer.vocab.cls_id, tokenizer.vocab.sep_id
        token_ids = [cls_id] + [token for part in parts for token in (*part, sep_id)]
        first = len(parts[0]) + 2
        segment_ids = [0] * first + [1] * (len(token_ids) - first)
        logits = np.array(
            model({"token_ids": np.array([token_ids]), "segment_ids": np.array([segment_ids])})["logits"]
        )[0].astype("float64")
        probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        label_id = int(probabilities.argmax())
        return {
            "label": LABELS[label_id],
            "label_id": label_id,
            "score": probabilities[label_id],
            "probabilities": probabilities,
            "num_tokens": len(token_ids),
            "truncated": truncated,
        }

    return answer
