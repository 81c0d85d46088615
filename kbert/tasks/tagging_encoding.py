"""How a tagger's input is made: words become positions of pieces, long texts several windows."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from kbert import data, features
from kbert.data import EncodedRows, TaggedText
from kbert.tag_schemes import entities_of, tags_of
from kbert.text import Windows, WordPieceTokenizer, cut_windows

#: Names in `EncodedRows.places`, int32 [rows, words]: the first word of the text that a position answers for,
#: -1 for none; the word after the last; and 1 where no other window shows more of what surrounds it.
WORD, WORD_STOP, IS_BEST = "word", "word_stop", "is_best"

_CHUNK = 1024


def encode_words(
    rows: Sequence[TaggedText],
    tokenizer: WordPieceTokenizer,
    *,
    max_length: int,
    stride: int | None,
    tag_ids: Mapping[str, int] | None,
    scheme: str | None = None,
) -> EncodedRows:
    """Texts as a tagger reads them: pieces, and for each word where its first one stands.

    Pieces are found in the text as it is, and words by their characters, so neither need know how the other
    splits. Mostly a piece belongs to one word, and a word has a first piece. If not:

    - Words share a piece, as where a file has one character a line and the vocabulary has `2003`: the piece
      answers for all of them, and learns the tag of the first.
    - Nothing is left of a word, as of a control character: it has no position, and no other one moves.

    Args:
        rows: What to encode.
        tokenizer: Of the model's vocabulary.
        max_length: Most pieces of a row, special tokens included.
        stride: Pieces from the beginning of a window to that of the next; None cuts long texts off.
        tag_ids: Tag -> id, for targets; a tag that it has not becomes 0. None makes no targets.
        scheme: Whose rules the targets of each row are to keep, for a CRF that forbids all others; None
            leaves the tags as they are, where a window begins within an entity, too.

    Returns:
        Inputs `token_ids`, `segment_ids` and `word_positions`, and the places above; with `tag_ids` as
        targets. A row without a word has position 0 alone, which is none.

    Raises:
        InputError: `stride` is out of its range.
    """
    step = max(1, max_length - 2) if stride is None else stride
    encode_chunk = _encoder(tokenizer, max_length, step)
    parts, owners, cut_off = [], [], 0
    for first in range(0, max(1, len(rows)), _CHUNK):
        chunk = rows[first : first + _CHUNK]
        begins, ends, windows = encode_chunk(data.string_tensor([row.text for row in chunk]))
        part = _words_in_windows(chunk, begins, ends, windows, tag_ids)
        owner = windows.owner.numpy().astype(np.int64)
        if stride is None:
            is_first = np.diff(owner, prepend=-1) > 0
            cut_off += len(np.unique(owner[~is_first]))
            part = {name: tf.ragged.boolean_mask(values, is_first) for name, values in part.items()}
            part[IS_BEST] = tf.ones_like(part[WORD])  # There is no other window.
            owner = owner[is_first]
        if tag_ids is not None and scheme is not None:
            part[features.TAG_IDS] = _in_scheme(part[features.TAG_IDS], tag_ids, scheme)
        parts.append(part)
        owners.append(first + owner)
    whole = {name: data.concat_rows(part[name] for part in parts) for name in parts[0]}
    names = features.TOKEN_IDS, features.SEGMENT_IDS, features.WORD_POSITIONS
    return EncodedRows(
        inputs={name: whole[name] for name in names},
        targets={} if tag_ids is None else {features.TAG_IDS: whole[features.TAG_IDS]},
        owner=np.concatenate(owners),
        num_truncated=cut_off,
        places={name: whole[name] for name in (WORD, WORD_STOP, IS_BEST)},
    )


@functools.lru_cache(maxsize=8)
def _encoder(tokenizer: WordPieceTokenizer, max_length: int, stride: int) -> Callable:
    """The graph from texts to pieces and windows; made once, as texts may be asked for one after another."""
    vocab = tokenizer.vocab

    # Without autograph, which would wrap an InputError into an error of its own.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def encode_chunk(texts):
        ids, begins, ends = tokenizer.tokenize_with_offsets(texts)
        windows = cut_windows(
            ids, max_length=max_length, stride=stride, cls_id=vocab.cls_id, sep_id=vocab.sep_id
        )
        return begins, ends, windows

    return encode_chunk


def _words_in_windows(
    chunk: Sequence[TaggedText],
    begins: tf.RaggedTensor,
    ends: tf.RaggedTensor,
    windows: Windows,
    tag_ids: Mapping[str, int] | None,
) -> dict[str, tf.RaggedTensor]:
    """All that `EncodedRows` has of these windows."""
    splits = np.cumsum([0, *(len(row.words) for row in chunk)])
    word_of_piece, stop = _align(chunk, begins, ends)
    word = windows.gather(begins.with_values(tf.constant(word_of_piece, tf.int32))).values.numpy()
    window = windows.piece.value_rowids().numpy()
    place = tf.ragged.range(windows.piece.row_lengths()).values.numpy()
    count = np.bincount(window[word >= 0], minlength=len(windows.owner))
    # A row without a word has one at [CLS], which the model takes for none: no batch is without any.
    chosen = (word >= 0) | (place == 0) & (count[window] == 0)
    word, first = word[chosen], splits[windows.owner.numpy()[window[chosen]]]
    columns = {
        features.WORD_POSITIONS: place[chosen],
        WORD: np.where(word >= 0, word - first, -1),
        WORD_STOP: np.where(word >= 0, stop[word] - first, -1) if len(stop) else word,
        IS_BEST: windows.has_most_context.values.numpy()[chosen],
    }
    if tag_ids is not None:
        of_words = np.array([tag_ids.get(tag, 0) for row in chunk for tag in row.tags] or [0])
        columns[features.TAG_IDS] = np.where(word >= 0, of_words[word], 0)
    lengths = np.maximum(count, 1)
    return {
        features.TOKEN_IDS: windows.token_ids,
        features.SEGMENT_IDS: windows.segment_ids,
        **{name: data.group_rows(values.astype(np.int32), lengths) for name, values in columns.items()},
    }


def _in_scheme(targets: tf.RaggedTensor, tag_ids: Mapping[str, int], scheme: str) -> tf.RaggedTensor:
    """The ids of each row with the tags that its entities have if there is nothing beside the row.

    A window begins or ends within an entity, and a word whose piece another one has leaves a gap.
    """
    names = list(tag_ids)
    mended = []
    for row in targets.to_list():
        tags = [names[number] for number in row]
        mended += [tag_ids.get(tag, 0) for tag in tags_of(entities_of(tags), len(tags), scheme)]
    return targets.with_values(tf.constant(mended, tf.int32))


def _align(
    chunk: Sequence[TaggedText], begins: tf.RaggedTensor, ends: tf.RaggedTensor
) -> tuple[np.ndarray, np.ndarray]:
    """Which word each piece is the first one of, -1 for none; and where the words that it answers for end.

    Both number the words of the whole chunk: int64 (pieces) and int64 (words).
    """
    counts = [len(row.words) for row in chunk]
    text_of_word = np.repeat(np.arange(len(chunk)), counts)
    spans = np.array([span for row in chunk for span in row.words], np.int64).reshape(-1, 2)
    # Characters are counted through the chunk, so that one search serves all texts; texts stand apart.
    offset = np.cumsum([0, *(len(row.text) + 1 for row in chunk)])
    word_begin, word_end = (spans + offset[text_of_word][:, np.newaxis]).T
    piece_offset = offset[begins.value_rowids().numpy()]
    piece_begin, piece_end = begins.values.numpy() + piece_offset, ends.values.numpy() + piece_offset

    number = np.arange(len(spans))
    piece = np.searchsorted(piece_begin, word_begin)
    # Where there is no such piece, what stands behind the last one is in no word.
    has_first = np.append(piece_begin, np.iinfo(np.int64).max)[piece] < word_end
    is_covered = ~has_first & (np.append(piece_end, -1)[piece - 1] > word_begin)
    before = np.maximum.accumulate(np.where(has_first, number, -1))
    is_covered &= (before >= 0) & (text_of_word[before] == text_of_word)
    stop = number + 1
    np.maximum.at(stop, before[is_covered], stop[is_covered])
    word_of_piece = np.full(len(piece_begin), -1)
    word_of_piece[piece[has_first]] = number[has_first]
    return word_of_piece, stop
