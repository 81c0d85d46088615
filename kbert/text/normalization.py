"""Raw text to normalized words, inside the graph: the first half of BERT's tokenization."""

import unicodedata
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from kbert.errors import InputError
from kbert.text.reference import as_utf8
from kbert.text.vocab import SPECIAL_TOKENS

try:
    import tensorflow_text as tf_text
except ModuleNotFoundError:  # There is no wheel of it for some systems.
    tf_text = None

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

#: "[MASK]" in the text, taken as a token, becomes as many control characters: one that says which, and
#: fillers. They pass where letters would be lower-cased and brackets be split off, and no offset moves.
SPECIAL_WORDS = {token: chr(i) + "\x0e" * (len(token) - 1) for i, token in enumerate(SPECIAL_TOKENS, start=1)}
_MARKERS = r"[\x{01}-\x{05}\x{0E}]"
_MARKED = r"([\x{01}-\x{05}]\x{0E}+)"
_INVISIBLE_BESIDE_MARKERS = _INVISIBLE.replace(r"\x{00}-\x{08}", r"\x{00}\x{06}-\x{08}").replace(
    r"\x{0E}-\x{1F}", r"\x{0F}-\x{1F}"
)


def share_of_lost_signs(texts: Iterable[str | bytes]) -> float:
    """The share of all letters that lower-casing takes away, as accents, from those without case.

    On a letter with case an accent is a lesser thing; on others it is a vowel, a tone or what makes a "g" of
    a "k", and what is left is another word.

    Example:
        >>> share_of_lost_signs(["ม้า"]), share_of_lost_signs(["été"]), share_of_lost_signs(["中国 한국"])
        (0.3333333333333333, 0.0, 0.0)
    """
    letters = signs = 0
    for text in texts:
        text = text.decode(errors="ignore") if isinstance(text, bytes) else text
        is_caseless = False
        for char in unicodedata.normalize("NFD", text):
            category = unicodedata.category(char)
            if category != "Mn":
                letters += category.startswith("L")
                is_caseless = category == "Lo"
            elif is_caseless:
                signs += 1
    return signs / max(letters + signs, 1)


def as_batch(texts) -> tf.Tensor:
    """A string tensor (B) of texts, `str` or `bytes`.

    Lone surrogates in `str`, which TensorFlow refuses, become bytes that are no UTF-8.

    Raises:
        InputError: The texts are no batch.
    """
    if isinstance(texts, list | tuple) and any(isinstance(text, str) for text in texts):
        texts = [as_utf8(text) for text in texts]
    texts = tf.convert_to_tensor(texts, tf.string)
    if texts.shape.rank not in (None, 1):
        raise InputError(f"texts has shape {texts.shape}; expected one axis, a batch such as [text]")
    return tf.ensure_shape(texts, [None])  # a served graph learns the rank from each request


def mark_special_tokens(texts: tf.Tensor) -> tf.Tensor:
    """The texts with each literal "[MASK]", "[SEP]" and so on as one of `SPECIAL_WORDS`; string (B).

    Control characters of the text's own, which would vanish later, are replaced by another of them first.
    """
    texts = tf.strings.regex_replace(texts, _MARKERS, "\x06")
    for token, word in SPECIAL_WORDS.items():
        texts = tf.strings.regex_replace(texts, rf"\[{token[1:-1]}\]", word)
    return texts


def split_words(texts: tf.Tensor, lowercase: bool, marked: bool = False) -> tf.RaggedTensor:
    r"""Normalized words (Google's `BasicTokenizer`).

    Bytes that are no UTF-8, control and format characters vanish; white space, punctuation and Chinese
    characters part words, and the latter two are words themselves.

    Args:
        texts: string (B), UTF-8.
        lowercase: Whether to lower-case and to strip accents (both, as Google does).
        marked: Whether the texts come from `mark_special_tokens`; its `SPECIAL_WORDS` are words then.

    Returns:
        string (B, None), ragged.

    Example:
        >>> split_words(tf.constant(["Déjà-vu 中国"]), lowercase=True).to_list()
        [[b'deja', b'-', b'vu', b'\xe4\xb8\xad', b'\xe5\x9b\xbd']]
    """
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")
    texts = tf.strings.regex_replace(texts, _WIDE_SPACE, " ")
    texts = tf.strings.regex_replace(texts, _INVISIBLE_BESIDE_MARKERS if marked else _INVISIBLE, "")
    if lowercase:
        # ASCII goes first because the Unicode op obeys the process's locale: Turkish makes a dotless ı of I.
        texts = tf.strings.lower(tf.strings.lower(texts), encoding="utf-8")
        texts = tf.strings.regex_replace(_decomposed(texts), _ACCENT, "")
    # Only now, as a decomposition can be punctuation: U+1FEF is a grave accent.
    texts = tf.strings.regex_replace(texts, _STANDS_ALONE, r" \1 ")
    if marked:
        texts = tf.strings.regex_replace(texts, _MARKED, r" \1 ")
    return tf.strings.split(texts)


def ends_with_accents(texts, ends: tf.RaggedTensor) -> tf.RaggedTensor:
    """Where pieces end, with the accents behind them.

    An accent that is a character of its own leaves nothing in a lower-cased word, so that the `ends` of
    `tokenize_with_offsets` stand before it. Cut out of the text by them, a last letter would lose it: in Thai
    or Hindi a vowel.

    Args:
        texts: string (B), UTF-8, as for `WordPieceTokenizer`.
        ends: int32 (B, None), ragged, in code points.

    Returns:
        int32 (B, None), ragged.

    Example:
        >>> ends_with_accents(["cafe\u0301 x"], tf.ragged.constant([[4, 7]], tf.int32)).to_list()
        [[5, 7]]
    """
    chars = tf.strings.unicode_decode(as_batch(texts), "UTF-8", errors="replace")
    distinct, index = tf.unique(chars.values)
    spelled = tf.strings.unicode_encode(distinct[:, tf.newaxis], "UTF-8")
    is_accent = tf.gather(tf.strings.regex_full_match(spelled, _ACCENT), index)
    # Places of what is no accent, through all texts; the last one is behind them all.
    others = tf.concat([tf.where(~is_accent)[:, 0], [tf.size(is_accent, tf.int64)]], axis=0)
    start, limit = (
        tf.gather(places, ends.value_rowids()) for places in (chars.row_starts(), chars.row_limits())
    )
    following = tf.gather(others, tf.searchsorted(others, start + tf.cast(ends.values, tf.int64)))
    return ends.with_values(tf.cast(tf.minimum(following, limit) - start, tf.int32))


def _decomposed(texts: tf.Tensor) -> tf.Tensor:
    """The texts in canonical decomposition, NFD: a letter and then its accents."""
    if tf_text is not None:
        return tf_text.normalize_utf8(texts, "NFD")

    def decompose(batch):
        return np.array([unicodedata.normalize("NFD", text.decode()).encode() for text in batch], object)

    return tf.ensure_shape(tf.numpy_function(decompose, [texts], tf.string), texts.shape)
