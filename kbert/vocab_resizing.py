"""`resize_vocab`: another vocabulary for a trained model, in which every token keeps what it has learned."""

import os

import keras
import numpy as np
import tensorflow as tf

from kbert.errors import InputError
from kbert.models import require_merged
from kbert.models.paths import weight_paths
from kbert.text import Vocab
from kbert.text.normalization import split_words

#: The weights with one row, or one number, for each token.
_BY_TOKEN = ("bert/embeddings/token_embeddings", "mlm/bias")


def resize_vocab(
    model: keras.Model, vocab: Vocab | str | os.PathLike, new_vocab: Vocab | str | os.PathLike
) -> keras.Model:
    """The model for another vocabulary: with tokens added, taken away or moved to other places.

    A token of both vocabularies keeps its row of the embedding table, and its bias in the
    masked-language-model head, to the bit. A new token gets the mean of its old pieces', those into which
    the old tokenizer would have split it: "##ings" starts as the mean of "##ing" and "##s". Where that
    gives `[UNK]`, it starts as `[UNK]`: the model takes the new token as it has taken the text so far. All
    other weights are copied. Train on some text afterwards, for the rows to become their tokens' own.

    Args:
        model: A `Bert` or a model with heads; it is left as it is.
        vocab: Its vocabulary, or the file of it. Rows of the table beyond it, which some checkpoints have
            to round the size up, are dropped.
        new_vocab: The other one; `len(new_vocab)` will be the model's `config.vocab_size`.

    Returns:
        A new, built model of the same class and heads; not compiled.

    Raises:
        InputError: A vocabulary lacks a special token or has a token twice, `vocab` has more tokens
            than the table has rows, or the model has LoRA adapters.

    Example:
        >>> from kbert import BertConfig
        >>> from kbert.models import Bert
        >>> vocab = Vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing"])
        >>> bert = Bert(BertConfig.preset("tiny", vocab_size=len(vocab)))
        >>> resize_vocab(bert, vocab, Vocab([*vocab.tokens, "playing"])).config.vocab_size
        8
    """
    require_merged(model)
    vocab, new_vocab = _as_vocab(vocab), _as_vocab(new_vocab)
    rows = model.config.vocab_size
    if len(vocab) > rows:
        raise InputError(
            f"the vocabulary has {len(vocab)} tokens, but the model's embedding table {rows} rows; give "
            "the vocabulary that the model was trained with"
        )
    config = model.config.replace(vocab_size=len(new_vocab))
    resized = type(model).from_config({**model.get_config(), "config": config.to_dict()})
    for one in (model, resized):
        one.build()
    pieces = _old_pieces(vocab, new_vocab)
    old_weights = weight_paths(model)
    for path, weight in weight_paths(resized).items():
        array = keras.ops.convert_to_numpy(old_weights[path])
        weight.assign(np.stack([array[ids].mean(0) for ids in pieces]) if path in _BY_TOKEN else array)
    return resized


def _as_vocab(vocab: Vocab | str | os.PathLike) -> Vocab:
    return vocab if isinstance(vocab, Vocab) else Vocab.read(vocab)


def _old_pieces(vocab: Vocab, new_vocab: Vocab) -> list[list[int]]:
    """For each new token the old ids that stand for it, one or several."""
    # A token may be what the tokenizer would part at marks first, such as "e-mail".
    words = split_words(tf.constant(new_vocab.tokens), lowercase=False).to_list()
    pieces = []
    for token, token_words in zip(new_vocab.tokens, words, strict=True):
        if token in vocab:
            ids = [vocab.id(token)]
        elif token.startswith("##"):
            ids = _split(token[2:], vocab, continues=True)
        else:
            ids = [i for word in token_words for i in _split(word.decode(), vocab, continues=False)]
        pieces.append(ids or [vocab.unk_id])
    return pieces


def _split(word: str, vocab: Vocab, continues: bool) -> list[int]:
    """The ids of a word by longest match first, as the tokenizer splits; `[UNK]` if that comes to no end.

    Args:
        word: One word, or the rest of one, without "##".
        vocab: Where the pieces are from.
        continues: Whether this is the rest of a word, all of whose pieces begin with "##".
    """
    ids, start = [], 0
    while start < len(word):
        prefix = "##" if continues or start else ""
        ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in vocab)
        end = next(ends, None)
        if end is None:
            return [vocab.unk_id]
        ids.append(vocab.id(prefix + word[start:end]))
        start = end
    return ids
