"""Words in the graph: where they are in texts, and which piece answers for which word."""

import functools
import sys
import unicodedata
from typing import NamedTuple

import numpy as np
import tensorflow as tf

_SPACE, _LETTER, _SINGLE = 0, 1, 2
_CHINESE = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2EBEF),
    (0x2F800, 0x2FA1F),
)


class Words(NamedTuple):
    """The N words of a batch of B texts, those of the first text first.

    Args:
        strings: string (N), UTF-8.
        begins: int32 (N), number of a word's first character in its text.
        ends: int32 (N), number of the character after its last one.
        text: int32 (N), which text the word is from.
        counts: int64 (B), how many words a text has.
    """

    strings: tf.Tensor
    begins: tf.Tensor
    ends: tf.Tensor
    text: tf.Tensor
    counts: tf.Tensor


def find_words(chars: tf.RaggedTensor, lengths: tf.Tensor) -> Words:
    """The words of texts as `kbert.data.tagging_readers.split_words` finds them.

    They are runs of letters and digits, single Chinese characters, and single marks. What a character is, is
    asked of the Python that makes the graph, as the task asks it, and is a constant of the graph: some 700
    ranges of code points.

    Args:
        chars: int32 (B, None), ragged, the texts' code points.
        lengths: int64 (B), how many characters of each text are read.
    """
    first_of_range, kind_of_range = character_kinds()
    row = chars.value_rowids()
    place = tf.range(tf.size(row, tf.int64), dtype=tf.int64) - tf.gather(chars.row_starts(), row)
    kind = tf.gather(kind_of_range, tf.searchsorted(first_of_range, chars.values, side="right") - 1)
    # What is not read separates words from nothing, as white space does.
    kind = tf.where(place < tf.gather(lengths, row), kind, _SPACE)
    is_letter, is_single = tf.equal(kind, _LETTER), tf.equal(kind, _SINGLE)
    # A run is one of letters of the same text.
    goes_on = is_letter[1:] & is_letter[:-1] & tf.equal(row[1:], row[:-1])
    edge = tf.zeros(tf.minimum(tf.shape(row), 1), tf.bool)  # None if there is no character.
    is_first = is_single | is_letter & tf.logical_not(tf.concat([edge, goes_on], axis=0))
    is_last = is_single | is_letter & tf.logical_not(tf.concat([goes_on, edge], axis=0))
    begins = tf.cast(tf.boolean_mask(place, is_first), tf.int32)
    ends = tf.cast(tf.boolean_mask(place, is_last), tf.int32) + 1
    text = tf.boolean_mask(row, is_first)
    spelled = tf.RaggedTensor.from_row_lengths(  # pyright: ignore[reportAttributeAccessIssue]
        tf.boolean_mask(chars.values, is_letter | is_single), ends - begins, validate=False
    )
    strings = tf.strings.unicode_encode(spelled, "UTF-8")
    counts = tf.math.unsorted_segment_sum(tf.ones_like(text), text, chars.nrows())
    return Words(strings, begins, ends, tf.cast(text, tf.int32), counts)


def align(
    words: Words, chars: tf.RaggedTensor, piece_begins: tf.RaggedTensor, piece_ends: tf.RaggedTensor
) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Which word each piece is the first one of, and where the words that it answers for end.

    Args:
        words: Of `find_words`.
        chars: int32 (B, None), ragged, the texts' code points.
        piece_begins: int32 (B, None), ragged, of `tokenize_with_offsets`; so is
        piece_ends: the same.

    Returns:
        int32 (B, None), ragged, the number of the word among the N, -1 where the piece is no word's first;
        and int32 (N), for a word that has a first piece, the number of the word after the last one that this
        piece answers for.

    Reference:
        `kbert.tasks.tagging_encoding`, which says why words share pieces or have none.
    """
    # Characters are counted through the batch, so that one search serves all texts; texts stand apart.
    starts = tf.cast(chars.row_starts(), tf.int32)
    offset = starts + tf.range(tf.size(starts))
    word_begin, word_end = (tf.gather(offset, words.text) + place for place in (words.begins, words.ends))
    piece_offset = tf.gather(offset, piece_begins.value_rowids())
    # What stands behind the last piece is in no word, and before the first one nothing ends.
    piece_begin = tf.concat([piece_begins.values + piece_offset, [tf.int32.max]], axis=0)
    piece_end = tf.concat([[-1], piece_ends.values + piece_offset], axis=0)

    number = tf.range(tf.size(word_begin))
    piece = tf.searchsorted(piece_begin, word_begin)
    has_first = tf.gather(piece_begin, piece) < word_end
    before = latest(number, has_first)
    # 0 stands for no word; no text has the number -1.
    text_before = tf.gather(tf.concat([[-1], words.text], axis=0), before + 1)
    is_covered = ~has_first & (tf.gather(piece_end, piece) > word_begin) & tf.equal(text_before, words.text)
    furthest = tf.math.unsorted_segment_max(
        tf.boolean_mask(number + 1, is_covered), tf.boolean_mask(before, is_covered), tf.size(number)
    )
    word_of_piece = tf.scatter_nd(
        tf.boolean_mask(piece, has_first)[:, tf.newaxis],
        tf.boolean_mask(number + 1, has_first),
        tf.shape(piece_begins.values),
    )
    return piece_begins.with_values(word_of_piece - 1), tf.maximum(number + 1, furthest)


def latest(values: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """At each place the value at the last chosen place up to it, -1 before the first one; int32 (N)."""
    of_chosen = tf.concat([[-1], tf.boolean_mask(values, chosen)], axis=0)
    return tf.gather(of_chosen, tf.cumsum(tf.cast(chosen, tf.int32)))


@functools.cache
def character_kinds() -> tuple[np.ndarray, np.ndarray]:
    """Ranges of code points that are alike: the first of each, int32, and the kind, int32.

    The kinds are white space, letters (which stand for all that makes words together), and what is a word of
    its own.
    """
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    single = np.array([unicodedata.category(character)[0] in "PS" for character in every])
    for first, last in _CHINESE:
        single[first : last + 1] = True
    kinds = np.where(single, _SINGLE, _LETTER)
    kinds[[character.isspace() for character in every]] = _SPACE
    starts = np.flatnonzero(np.diff(kinds, prepend=-1))
    return starts.astype(np.int32), kinds[starts].astype(np.int32)
