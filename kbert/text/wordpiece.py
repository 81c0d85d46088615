"""`WordPieceTokenizer`: raw text to ids, inside the graph, exactly as Google's BERT does it."""

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_text as tf_text

from kbert.errors import InputError
from kbert.text.normalization import SPECIAL_WORDS, as_batch, mark_special_tokens, split_words
from kbert.text.vocab import SPECIAL_TOKENS, UNK, Vocab

#: Longer words are [UNK]; Google counts characters, FastWordpiece bytes, of which a character has 4 at most.
_MAX_WORD_CHARS = 200
_MAX_WORD_BYTES = 4 * _MAX_WORD_CHARS
_TOO_LONG = "x" * (_MAX_WORD_BYTES + 1)

#: Texts of these characters alone need no normalization but ASCII lower-casing: printable ASCII, white
#: space, Chinese characters, and the punctuation of English and Chinese typesetting. No letter outside
#: ASCII is among them, so that a word has as many bytes as characters. A test holds every one of them
#: to what `split_words` makes of it.
_PLAIN = (
    r"[\t\n\r -~\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}"
    r"\x{2010}-\x{2027}\x{3001}-\x{3003}\x{3008}-\x{3011}\x{3014}-\x{301B}"
    r"\x{FF01}-\x{FF03}\x{FF05}-\x{FF0A}\x{FF0C}-\x{FF0F}\x{FF1A}\x{FF1B}\x{FF1F}\x{FF20}]*"
)
_SPECIAL_IN_TEXT = r"\[(?:" + "|".join(token[1:-1] for token in SPECIAL_TOKENS) + r")\]"


class WordPieceTokenizer(tf.Module):
    """BERT's tokenizer as TensorFlow ops, with the ids of Google's `FullTokenizer`.

    Being in the graph it travels with the model: the same code runs eagerly, in a `tf.data` pipeline and
    in a served SavedModel, where training and serving cannot disagree. The vocabulary is a constant of
    the graph; no file is needed once the tokenizer is made.

    A word of over 200 characters is [UNK]. Which character is what is read from TensorFlow's own tables
    (Unicode 15, for lower-casing 13, for accents 16), so it does not depend on the Python installed.

    There are two ways from text to ids, with the same ids. Most texts consist of characters for which
    nothing but ASCII lower-casing has to be done; there one op finds words and pieces in one pass. The
    others are normalized and split into words first, which takes several times as long.

    Args:
        vocab_path: File of the vocabulary, one piece a line, or a `Vocab`.
        lowercase: Whether to lower-case and to strip accents; must be as the vocabulary was made.
        special_tokens_in_text: What a literal "[MASK]" or "[SEP]" in the text is: three words of text as
            for Google (False), or the token as for Hugging Face (True). Where texts come from
            strangers, False keeps them from writing [SEP] into the middle of an input.

    Raises:
        InputError: The vocabulary cannot be used, see `Vocab`; or the texts are no batch.

    Example:
        >>> vocab = Vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing"])
        >>> tokenizer = WordPieceTokenizer(vocab)
        >>> tokenizer.tokenize(["Playing", "play! play"]).to_list()
        [[5, 6], [5, 1, 5]]
        >>> WordPieceTokenizer(vocab, special_tokens_in_text=True).tokenize(["play[MASK]"]).to_list()
        [[5, 4]]

    Reference:
        google-research/bert, tokenization.py. Song et al., 2021, "Fast WordPiece Tokenization", for the
        matching of pieces. The splitting of other than plain texts is not left to tensorflow-text's
        tokenizers because they ask the ICU they are linked with what punctuation is, and the vocabulary's
        table holds the answers of the ICU it was built with: two releases, one to train and one to
        serve, need not agree. On the plain characters all do.
    """

    def __init__(
        self,
        vocab_path: str | os.PathLike | Vocab,
        lowercase: bool = True,
        special_tokens_in_text: bool = False,
    ):
        super().__init__(name="word_piece_tokenizer")
        self.vocab = vocab_path if isinstance(vocab_path, Vocab) else Vocab.read(vocab_path)
        self.lowercase = lowercase
        self.special_tokens_in_text = special_tokens_in_text
        special = SPECIAL_WORDS if special_tokens_in_text else {}
        # A piece with white space can occur in no word, but would be found in a text: it gets a name
        # that no plain text can have.
        hidden = {token: f"\x01{i}" for i, token in enumerate(self.vocab.tokens) if token.split() != [token]}
        with tf.device("cpu"):  # where string ops run; a GPU would have to send the table back for each batch
            try:
                self._pieces_of_words = self._matcher(special, _MAX_WORD_BYTES, no_pretokenization=True)
                self._pieces_of_text = self._matcher(hidden, _MAX_WORD_CHARS, no_pretokenization=False)
            except RuntimeError as error:
                raise InputError(
                    f"{vocab_path}: no text can be split into its {len(self.vocab)} entries ({error}); "
                    f"expected word pieces besides the special tokens, as build_vocab.py makes them"
                ) from error

    def _matcher(self, renamed: dict[str, str], max_bytes: int, **options) -> Any:
        return tf_text.FastWordpieceTokenizer(
            [renamed.get(token, token) for token in self.vocab.tokens],
            max_bytes_per_word=max_bytes,
            token_out_type=tf.int32,  # pyright: ignore[reportArgumentType]
            unknown_token=renamed.get(UNK, UNK),
            **options,
        )

    def tokenize(self, texts) -> tf.RaggedTensor:
        """The ids of each text, without special tokens (but those in the text, where they are asked for).

        Args:
            texts: string (B), UTF-8: a tensor, or a list of `str` or `bytes`. Empty texts, NUL, and bytes
                that are no UTF-8 (which are left out, see `count_invalid`) are all right.

        Returns:
            int32 (B, None), ragged.
        """
        return self._by_kind(as_batch(texts), self._tokenize_plain, self._tokenize_any)[0]

    def tokenize_with_offsets(self, texts) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """The ids of each text, and where each token stands in the text as given.

        Args:
            texts: As for `tokenize`.

        Returns:
            `(ids, begins, ends)`, each int32 (B, None), ragged. `ids` are those of `tokenize`; `begins`
            (inclusive) and `ends` (exclusive) count code points of the original, in which each sequence of
            bytes that are no UTF-8 counts as in Python's `decode("utf-8", "replace")`: `text[begin:end]` is
            where the token comes from.
        """
        texts = as_batch(texts)
        ids, begins, ends = self._by_kind(texts, self._locate_plain, self._locate_any)
        return ids, begins, ends

    def count_invalid(self, texts) -> tf.Tensor:
        """How many sequences of bytes in each text are no UTF-8 and were left out, int32 (B)."""
        texts = as_batch(texts)
        replaced = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        cleaned = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")
        return tf.strings.length(replaced, "UTF8_CHAR") - tf.strings.length(cleaned, "UTF8_CHAR")

    def _by_kind(self, texts: tf.Tensor, plain_way: Callable, any_way: Callable) -> list[tf.RaggedTensor]:
        """What the one way gives for plain texts and the other for the rest, in the order of the texts."""
        plain = tf.strings.regex_full_match(texts, _PLAIN)
        if self.special_tokens_in_text:
            plain &= ~tf.strings.regex_full_match(texts, f"(?s).*{_SPECIAL_IN_TEXT}.*")

        def mixed():
            parts = tf.dynamic_partition(tf.range(tf.size(texts)), tf.cast(plain, tf.int32), 2)
            results = zip(
                any_way(tf.gather(texts, parts[0])), plain_way(tf.gather(texts, parts[1])), strict=True
            )
            back = tf.math.invert_permutation(tf.concat(parts, axis=0))
            return [tf.gather(_stacked(*pair), back) for pair in results]

        return tf.cond(tf.reduce_all(plain), lambda: plain_way(texts), mixed)

    def _tokenize_plain(self, texts: tf.Tensor) -> list[tf.RaggedTensor]:
        return [self._pieces_of_text.tokenize(tf.strings.lower(texts) if self.lowercase else texts)]

    def _tokenize_any(self, texts: tf.Tensor) -> list[tf.RaggedTensor]:
        return [self._pieces_of_words.tokenize(_hide_long_words(self._words(texts))).merge_dims(1, 2)]

    def _words(self, texts: tf.Tensor) -> tf.RaggedTensor:
        if self.special_tokens_in_text:
            texts = mark_special_tokens(texts)
        return split_words(texts, self.lowercase, marked=self.special_tokens_in_text)

    def _locate_plain(self, texts: tf.Tensor) -> list[tf.RaggedTensor]:
        """Lower-casing ASCII moves nothing: bytes of the text, which are counted off in characters."""
        lowered = tf.strings.lower(texts) if self.lowercase else texts
        ids, begins, ends = self._pieces_of_text.tokenize_with_offsets(lowered)
        chars = tf.strings.unicode_decode(texts, "UTF-8")
        text_begin = tf.gather(tf.cumsum(tf.strings.length(texts), exclusive=True), ids.value_rowids())
        first = text_begin + tf.cast(begins.values, tf.int32)
        last = text_begin + tf.cast(ends.values, tf.int32) - 1
        return _in_characters(ids, first, last, chars, 1 + tf.cast(chars.values > 0x7F, tf.int32) * 2)

    def _locate_any(self, texts: tf.Tensor) -> list[tf.RaggedTensor]:
        """Tokens are found in the normalized text, where characters are missing or have become several.

        The way back goes through bytes: each character of the original has a width, the bytes it
        leaves in the words, and a token's first and last byte tell its first and last character.
        """
        words = self._words(texts)
        ids, first, stop = self._pieces_of_words.tokenize_with_offsets(_hide_long_words(words))
        word_bytes = tf.strings.length(words.values)
        word = ids.values.value_rowids()
        # [UNK] is always a whole word, and a hidden one has lost its length.
        is_word = ids.flat_values == self.vocab.unk_id
        stop = tf.where(is_word, tf.gather(word_bytes, word), tf.cast(stop.flat_values, tf.int32))
        word_begin = tf.gather(tf.cumsum(word_bytes, exclusive=True), word)  # among all bytes of the batch
        first = word_begin + tf.cast(first.flat_values, tf.int32)
        marked = mark_special_tokens(texts) if self.special_tokens_in_text else texts
        chars = tf.strings.unicode_decode(marked, "UTF-8", errors="replace")
        return _in_characters(
            ids.merge_dims(1, 2), first, word_begin + stop - 1, chars, self._widths(chars.values)
        )

    def _widths(self, chars: tf.Tensor) -> tf.Tensor:
        """The bytes that each code point, int32 (N), leaves in the words, int32 (N).

        Each distinct one is normalized by itself. That is exact although a capital sigma is lower-cased
        according to its neighbours: both small sigmas have two bytes.
        """
        distinct, index = tf.unique(chars)
        texts = tf.strings.unicode_encode(distinct[:, tf.newaxis], "UTF-8")
        words = split_words(texts, self.lowercase, marked=self.special_tokens_in_text)
        return tf.gather(tf.reduce_sum(words.with_values(tf.strings.length(words.values)), axis=1), index)


def _in_characters(ids, first, last, chars, widths) -> list[tf.RaggedTensor]:
    """`[ids, begins, ends]`: the tokens' first and last bytes, int32 (N), as characters of their texts.

    `widths` int32 are the bytes of each of `chars`, both for the batch as a whole, as are the bytes.
    """
    char_stop = tf.cumsum(widths)
    text_begin = tf.gather(tf.cast(chars.row_starts(), tf.int32), ids.value_rowids())
    begins = tf.searchsorted(char_stop, first, side="right") - text_begin
    ends = tf.searchsorted(char_stop, last, side="right") + 1 - text_begin
    return [ids, ids.with_values(begins), ids.with_values(ends)]


def _stacked(first: tf.RaggedTensor, second: tf.RaggedTensor) -> tf.RaggedTensor:
    """The rows of both; what `tf.concat` of ragged tensors does, with a tenth of its ops."""
    values = tf.concat([first.values, second.values], axis=0)
    lengths = tf.concat([first.row_lengths(), second.row_lengths()], axis=0)
    return tf.RaggedTensor.from_row_lengths(values, lengths, validate=False)  # pyright: ignore[reportAttributeAccessIssue]


def _hide_long_words(words: tf.RaggedTensor) -> tf.RaggedTensor:
    """`words`, those of over 200 characters replaced by one that is too long in bytes too."""
    too_long = tf.strings.length(words.values, unit="UTF8_CHAR") > _MAX_WORD_CHARS
    return words.with_values(tf.where(too_long, _TOO_LONG, words.values))
