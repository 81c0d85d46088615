"""Which pieces make up a word, so that masking can hide whole words."""

import itertools
import re
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from kbert.errors import InputError
from kbert.text.vocab import Vocab

#: Cuts a text without spaces into words, which joined are the text again.
Segmenter = Callable[[str], Sequence[str]]

#: The blocks of Chinese characters, each of which the tokenizer makes a word of its own.
_CHINESE = re.compile(
    "[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\U00020000-\U0002a6df"
    "\U0002a700-\U0002b73f\U0002b740-\U0002b81f\U0002b820-\U0002ceaf\U0002f800-\U0002fa1f]"
)


def word_starts(pieces: Sequence[str], segmenter: Segmenter | None = None) -> list[int]:
    """1 for each piece that begins a word, 0 for each that continues one.

    Without a segmenter words are what `##` says. That is right for languages with spaces, and does nothing
    for Chinese: there every character is a piece of its own, none of which has a `##`, so that hiding
    "whole words" is hiding single characters under another name. A segmenter knows that 喜欢 is one word. It
    gets each run of Chinese characters, joined; all other pieces, and words that mix both, stay with `##`.

    Args:
        pieces: Of the vocabulary, special tokens included.
        segmenter: Any callable `str -> list of words`, such as `jieba_segmenter()`, or None.

    Returns:
        As many numbers as there are pieces.

    Raises:
        InputError: The segmenter's words do not make up the text that it got.

    Example:
        >>> word_starts(["[CLS]", "play", "##ing", "[SEP]"])
        [1, 1, 0, 1]
        >>> word_starts(["我", "喜", "欢", "。"])  # `##` does not know
        [1, 1, 1, 1]
        >>> word_starts(["我", "喜", "欢", "。"], segmenter=lambda text: ["我", "喜欢"])
        [1, 1, 0, 1]

    Reference:
        Cui et al., 2019, "Pre-Training with Whole Word Masking for Chinese BERT", section 2.
    """
    starts = [int(not piece.startswith("##")) for piece in pieces]
    if segmenter is None:
        return starts

    def is_chinese(place: int) -> bool:
        return _CHINESE.fullmatch(pieces[place]) is not None

    for chinese, run in itertools.groupby(range(len(pieces)), is_chinese):
        if chinese:
            places = list(run)
            text = "".join(pieces[place] for place in places)
            begins = _begins(text, segmenter(text))
            for offset, place in enumerate(places):
                starts[place] = int(offset in begins)
    return starts


def _begins(text: str, words: Sequence[str]) -> set[int]:
    """Where in the text its words begin."""
    if "".join(words) != text:
        raise InputError(
            f"the segmenter made {list(words)} of {text!r}; expected words that joined are the text again, "
            f"none dropped or rewritten"
        )
    return {0, *itertools.accumulate(map(len, words))}


def jieba_segmenter() -> Segmenter:
    """Chinese words by jieba, the most used segmenter.

    What it returns is a plain function of a module, which other processes can be sent.

    Raises:
        InputError: jieba is not installed.
    """
    try:
        import jieba  # noqa: F401
    except ImportError as error:
        raise InputError(
            'jieba is missing, which finds Chinese words; pip install ".[chinese]" brings it; or give '
            "another callable that makes a list of words of a text"
        ) from error
    return _jieba_words


def _jieba_words(text: str) -> list[str]:
    import jieba

    return jieba.lcut(text)


class WholeWords:
    """`word_starts` of ids instead of pieces, as an op of a graph, for records that hold none.

    Without a segmenter it is one lookup in a constant table. With one it leaves the graph for Python at each
    row, one row at a time, whatever the number of parallel calls: better, the records hold `word_starts`.

    Args:
        vocab: The vocabulary that the ids refer to.
        segmenter: As for `word_starts`.

    Example:
        >>> vocab = Vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing"])
        >>> WholeWords(vocab)(tf.constant([2, 5, 6, 3])).numpy().tolist()
        [1, 1, 0, 1]
    """

    def __init__(self, vocab: Vocab, segmenter: Segmenter | None = None):
        self.vocab = vocab
        self.segmenter = segmenter
        self._starts = word_starts(vocab.tokens)

    def __call__(self, token_ids: tf.Tensor) -> tf.Tensor:
        """The words of one row.

        Args:
            token_ids: int32 (S).

        Returns:
            int32 (S), 1 where a whole word begins.
        """
        if self.segmenter is None:
            return tf.gather(tf.constant(self._starts, tf.int32), token_ids)
        starts = tf.numpy_function(self._segmented, [token_ids], tf.int32, stateful=False)
        return tf.ensure_shape(starts, token_ids.shape)

    def _segmented(self, token_ids):
        starts = word_starts([self.vocab.tokens[i] for i in token_ids], self.segmenter)
        return np.array(starts, np.int32)
