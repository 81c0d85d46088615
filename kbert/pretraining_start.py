"""What a pretraining run starts from: a checkpoint, or random weights that know how frequent tokens are."""

import os
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from kbert import checkpoints, data, training
from kbert.errors import InputError
from kbert.models import BertMaskedLM, BertPretrainer
from kbert.start import starting_point
from kbert.text import Vocab
from kbert.vocab_resizing import resize_vocab

#: Settings of a run of which a checkpoint has a short mark, and what it means that the marks differ.
MARKS = {"start": "another start (--init, or a --vocab for which its table is made to fit)"}


def starting_model(
    vocab_path: str | os.PathLike,
    *,
    init: str | None = None,
    size: str | None = None,
    config: str | None = None,
    dtype: str | None = None,
) -> BertPretrainer:
    """The model before its first step; call it in the scope of the strategy.

    Args:
        vocab_path: `vocab.txt` of the records. Where `init` was trained with another one, its table is made
            to fit: known tokens keep their rows, new ones start as the mean of their old pieces' (see
            `resize_vocab`).
        init: Checkpoint to go on from, with whatever heads it has; or one of the next two.
        size: Name of a preset, for random weights.
        config: JSON file of `BertConfig`, for random weights.
        dtype: Keras dtype policy.

    Raises:
        InputError: As `starting_point`; or `init` has too few token embeddings, and no vocabulary.
    """
    if not init or size or config:
        start = starting_point(init=init, size=size, config=config, vocab=str(vocab_path))
        model = BertPretrainer(start.config, dtype=dtype)
        model.build()
        return model
    model = checkpoints.load(init, BertPretrainer, new_heads="init", dtype=dtype)
    vocab, tokens = Vocab.read(vocab_path), checkpoints.read_tokens(init)
    if tokens is not None and tuple(tokens) != vocab.tokens:
        return resize_vocab(model, Vocab(tokens, source=init), vocab)
    if len(vocab) > model.config.vocab_size:
        raise InputError(
            f"{init}: has {model.config.vocab_size} token embeddings, {vocab_path} {len(vocab)} pieces, and "
            f"no vocabulary there says which are known; put its vocab.txt into that folder"
        )
    return model


def warn_of_other_case(init: str | None, folder: str | os.PathLike) -> None:
    """Logs a line where a checkpoint was trained on text of another case than that of the records.

    Args:
        init: The checkpoint; nothing is logged of None, or one that does not say it.
        folder: Of the records.
    """
    learned = checkpoints.read_lowercase(init) if init else None
    lowercase = data.RecordsDescription.read(folder).lowercase
    if learned not in (None, lowercase):
        logging.warning(
            "%s: records with --lowercase=%s, but %s was trained with %s; is that intended?",
            *(folder, lowercase, init, learned),
        )


def settings_of_start(model: BertPretrainer, init: str | None, parts: int = 1) -> dict[str, Any]:
    """What a checkpoint notes of the model before its first step, from which no other one goes on.

    To be called in the scope of the strategy.

    Args:
        model: Of `starting_model`.
        init: The checkpoint that it is made of; else its weights follow from the seed and the sizes, but on
            another machine not to the last bit, and are not noted.
        parts: Of `kbert.training.share_cores`.

    Returns:
        For `settings` of `kbert.training.Checkpoints`.
    """
    sizes = {f"model.{name}": value for name, value in model.config.to_dict().items()}
    weights = (weight.tobytes() for weight in model.get_weights())
    return {
        **sizes,
        "precision": model.dtype_policy.name.removeprefix("mixed_"),  # What `auto` means here.
        "start": training.fingerprint(weights) if init else None,
        "parts": parts,
        "devices": tf.distribute.get_strategy().num_replicas_in_sync,
    }


def may_differ(name: str, then: Any) -> bool:
    """Whether a run goes on, with a warning, where a setting was another one.

    Parts, which depend on the machine, and devices change no more than the order of sums and what dropout
    drops.
    """
    return name in ("parts", "devices")


def start_at_frequencies(
    model: BertPretrainer | BertMaskedLM, folder: str | os.PathLike, vocab: Vocab
) -> None:
    """Sets a new masked-token head's bias to the logs of the tokens' frequencies in a folder of records.

    Before it learns anything else, a model learns that "the" is more frequent than "xylophone". From biases
    of 0 the loss falls from ln V to what that knowledge is worth in hundreds of steps, which teach the
    encoder nothing, and whose large gradients are all alike. Here the loss begins there. A head that came
    with a checkpoint, whose bias is not 0, keeps what it has learned.

    Args:
        model: Before its first step.
        folder: Of the records that it will be trained on.
        vocab: Of the records.

    Raises:
        InputError: The folder holds no records, or damaged ones.

    Reference:
        Karpathy, 2019, "A Recipe for Training Neural Networks", "init well". A departure from
        google-research/bert, which starts at 0.
    """
    if np.any(np.asarray(model.mlm.bias)):
        return
    special = (vocab.pad_id, vocab.cls_id, vocab.sep_id, vocab.mask_id)
    counts = data.token_counts(folder, special)
    # A token that was never seen counts as half a one, or it could not be learned from a longer text.
    shares = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    bias = np.full(model.config.vocab_size, np.log(shares.min()), "float32")
    bias[: len(shares)] = np.log(shares)  # The table may have more rows than the vocabulary entries.
    model.mlm.bias.assign(bias)
