"""`WordPieceTokenizer`: raw text to ids, inside the graph, exactly as Google's BERT does it."""

import os
from typing import Any

import tensorflow as tf
import tensorflow_text as tf_text

from kbert.errors import InputError
from kbert.text.vocab import UNK, Vocab

#: White space besides " \t\n\r": category Z of Unicode.
_WIDE_SPACE = r"[\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]"
#: What vanishes without a trace: categories Cc (but \t\n\r) and Cf, and the replacement character.
_INVISIBLE = r"[\x{00}-\x{08}\x{0B}\x{0C}\x{0E}-\x{1F}\x{7F}-\x{9F}\p{Cf}\x{FFFD}]"
_ACCENT = r"\p{Mn}"
#: A character that is a word by itself: ASCII marks, Unicode punctuation, and Chinese characters.
_STANDS_ALONE = (
    r"([!-/:-@\[-`{-~\p{P}"
    r"\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{F900}-\x{FAFF}\x{20000}-\x{2A6DF}"
    r"\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}\x{2F800}-\x{2FA1F}])"
)

#: Longer words are [UNK]; Google counts characters, FastWordpiece bytes, of which a character has 4 at most.
_MAX_WORD_CHARS = 200
_MAX_WORD_BYTES = 4 * _MAX_WORD_CHARS
_TOO_LONG = "x" * (_MAX_WORD_BYTES + 1)


def split_words(texts: tf.Tensor, lowercase: bool) -> tf.RaggedTensor:
    r"""Normalized words, the first half of tokenization (Google's `BasicTokenizer`).

    Invalid UTF-8, control and format characters vanish; white space, punctuation and Chinese characters
    part words, and the latter two are words themselves.

    Args:
        texts: string (B), UTF-8.
        lowercase: Whether to lower-case and to strip accents (both, as Google does).

    Returns:
        string (B, None), ragged.

    Example:
        >>> split_words(tf.constant(["Déjà-vu 中国"]), lowercase=True).to_list()
        [[b'deja', b'-', b'vu', b'\xe4\xb8\xad', b'\xe5\x9b\xbd']]
    """
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")
    texts = tf.strings.regex_replace(texts, _WIDE_SPACE, " ")
    texts = tf.strings.regex_replace(texts, _INVISIBLE, "")
    if lowercase:
        # ASCII goes first because the Unicode op obeys the process's locale: Turkish makes a dotless ı of I.
        texts = tf.strings.lower(tf.strings.lower(texts), encoding="utf-8")
        texts = tf.strings.regex_replace(tf_text.normalize_utf8(texts, "NFD"), _ACCENT, "")
    # Only now, as a decomposition can be punctuation: U+1FEF is a grave accent.
    texts = tf.strings.regex_replace(texts, _STANDS_ALONE, r" \1 ")
    return tf.strings.split(texts)


class WordPieceTokenizer(tf.Module):
    """BERT's tokenizer as TensorFlow ops, with the ids of Google's `FullTokenizer`.

    Being in the graph it travels with the model: the same code runs eagerly, in a `tf.data` pipeline and
    in a served SavedModel, where training and serving cannot disagree. The vocabulary is a constant of
    the graph; no file is needed once the tokenizer is made.

    A literal "[MASK]" in the text is text, three words of it; `pack` adds the special tokens. A word of
    over 200 characters is [UNK]. Which character is what is read from TensorFlow's own tables (Unicode
    15, for lower-casing 13), so it does not depend on the Python installed.

    Args:
        vocab_path: File of the vocabulary, one piece a line, or a `Vocab`.
        lowercase: Whether to lower-case and to strip accents; must be as the vocabulary was made.

    Raises:
        InputError: The vocabulary cannot be used, see `Vocab`; or the texts are no batch.

    Example:
        >>> vocab = Vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing"])
        >>> tokenizer = WordPieceTokenizer(vocab)
        >>> tokenizer.tokenize(["Playing", "play! play"]).to_list()
        [[5, 6], [5, 1, 5]]

    Reference:
        google-research/bert, tokenization.py. Song et al., 2021, "Fast WordPiece Tokenization", for the
        matching of pieces. The splitting is not left to tensorflow-text's tokenizers because they ask the
        ICU they are linked with what punctuation is, and the vocabulary's table holds the answers
        of the ICU it was built with: two releases, one to train and one to serve, need not agree.
    """

    def __init__(self, vocab_path: str | os.PathLike | Vocab, lowercase: bool = True):
        super().__init__(name="word_piece_tokenizer")
        self.vocab = vocab_path if isinstance(vocab_path, Vocab) else Vocab.read(vocab_path)
        self.lowercase = lowercase
        with tf.device("cpu"):  # where string ops run; a GPU would have to send the table back for each batch
            self._pieces: Any = tf_text.FastWordpieceTokenizer(
                list(self.vocab.tokens),
                max_bytes_per_word=_MAX_WORD_BYTES,
                token_out_type=tf.int32,  # pyright: ignore[reportArgumentType]
                unknown_token=UNK,
                no_pretokenization=True,
            )

    def tokenize(self, texts) -> tf.RaggedTensor:
        """The ids of each text, without special tokens.

        Args:
            texts: string (B), UTF-8: a tensor, or a list of `str` or `bytes`. Empty texts, NUL, and bytes
                that are no UTF-8 (which are left out) are all right.

        Returns:
            int32 (B, None), ragged.
        """
        words = split_words(_as_batch(texts), self.lowercase)
        return self._pieces.tokenize(_hide_long_words(words)).merge_dims(1, 2)

    def tokenize_with_offsets(self, texts) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """The ids of each text, and where each token stands in the text as given.

        Tokens are found in the normalized text, in which characters are missing or have become several.
        The way back goes through bytes: each character of the original has a width, the bytes it
        leaves in the words, and a token's first and last byte tell its first and last character.

        Args:
            texts: As for `tokenize`.

        Returns:
            `(ids, begins, ends)`, each int32 (B, None), ragged. `ids` are those of `tokenize`; `begins`
            (inclusive) and `ends` (exclusive) count code points of the original, bytes that are no UTF-8
            left out: in Python, `text[begin:end]` is where the token comes from.
        """
        texts = _as_batch(texts)
        words = split_words(texts, self.lowercase)
        ids, first, stop = self._pieces.tokenize_with_offsets(_hide_long_words(words))
        word_bytes = tf.strings.length(words.values)
        word = ids.values.value_rowids()
        # [UNK] is always a whole word, and a hidden one has lost its length.
        is_word = ids.flat_values == self.vocab.unk_id
        stop = tf.where(is_word, tf.gather(word_bytes, word), tf.cast(stop.flat_values, tf.int32))
        word_begin = tf.gather(tf.cumsum(word_bytes, exclusive=True), word)  # among all bytes of the batch
        first = word_begin + tf.cast(first.flat_values, tf.int32)
        last = word_begin + stop - 1

        chars = tf.strings.unicode_decode(texts, "UTF-8", errors="ignore")
        char_stop = tf.cumsum(self._widths(chars.values))
        ids = ids.merge_dims(1, 2)
        text_begin = tf.gather(tf.cast(chars.row_starts(), tf.int32), ids.value_rowids())
        begins = tf.searchsorted(char_stop, first, side="right") - text_begin
        ends = tf.searchsorted(char_stop, last, side="right") + 1 - text_begin
        return ids, ids.with_values(begins), ids.with_values(ends)

    def _widths(self, chars: tf.Tensor) -> tf.Tensor:
        """The bytes that each code point, int32 (N), leaves in the words, int32 (N).

        Each distinct one is normalized by itself. That is exact although a capital sigma is lower-cased
        according to its neighbours: both small sigmas have two bytes.
        """
        distinct, index = tf.unique(chars)
        words = split_words(tf.strings.unicode_encode(distinct[:, tf.newaxis], "UTF-8"), self.lowercase)
        return tf.gather(tf.reduce_sum(words.with_values(tf.strings.length(words.values)), axis=1), index)


def _as_batch(texts) -> tf.Tensor:
    texts = tf.convert_to_tensor(texts, tf.string)
    if texts.shape.rank not in (None, 1):
        raise InputError(f"texts has shape {texts.shape}; expected one axis, a batch such as [text]")
    return tf.ensure_shape(texts, [None])  # a served graph learns the rank from each request


def _hide_long_words(words: tf.RaggedTensor) -> tf.RaggedTensor:
    """`words`, those of over 200 characters replaced by one that is too long in bytes too."""
    too_long = tf.strings.length(words.values, unit="UTF8_CHAR") > _MAX_WORD_CHARS
    return words.with_values(tf.where(too_long, _TOO_LONG, words.values))
