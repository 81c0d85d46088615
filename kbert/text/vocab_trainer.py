"""`train_vocab`: a WordPiece vocabulary learned from text."""

import collections
import heapq
import itertools
from collections.abc import Iterable

import tensorflow as tf
from absl import logging

from kbert.errors import InputError
from kbert.text.vocab import SPECIAL_TOKENS, Vocab
from kbert.text.wordpiece import split_words

#: A longer word is rarely a word of a language; it would fill the vocabulary with parts of itself.
_MAX_WORD_CHARS = 50
#: A pair of pieces seen only once says nothing about the next text.
_MIN_PAIR_COUNT = 2
_BATCH_LINES = 4096


def train_vocab(texts: Iterable[str | bytes], vocab_size: int, lowercase: bool = True) -> Vocab:
    """The vocabulary that spells the words of `texts` with few pieces.

    Words are cut exactly as `WordPieceTokenizer` cuts them, and each distinct one is spelled in
    characters; then, again and again, the two neighbouring pieces that are together most often in the
    text become one piece. The order of the texts does not matter.

    First come the special tokens, then the characters (each as the beginning of a word and, unless it is
    always a word by itself like "!" or "中", as the continuation "##x"), then the merged pieces, the
    most frequent first.

    Args:
        texts: Sentences or lines (`str`, or `bytes` of UTF-8); no word crosses from one to the next.
        vocab_size: Upper limit of the entries. A small corpus can yield fewer (a warning says so); of
            more characters than there are places, the rarest are left out.
        lowercase: Whether to lower-case and to strip accents.

    Raises:
        InputError: There is no word in `texts`, or no place for anything besides the special tokens.

    Example:
        >>> train_vocab(["low lower lowest", "low slow!"], 22).tokens[-4:]
        ('w', '##w', '##ow', 'low')

    Reference:
        Schuster and Nakajima, 2012, "Japanese and Korean Voice Search", whose merges maximize likelihood;
        here they go by count, as in Sennrich et al., 2016, "Neural Machine Translation of Rare Words with
        Subword Units". `keras_nlp.tokenizers.compute_word_piece_vocabulary` searches a count threshold
        instead: that takes tens of times as long, meets the size only roughly, and drops all words with
        a character that is not among the thousand most frequent.
    """
    places = vocab_size - len(SPECIAL_TOKENS)
    if places < 1:
        raise InputError(
            f"vocab_size={vocab_size} leaves no room beside the {len(SPECIAL_TOKENS)} special tokens"
        )
    counts = {word: n for word, n in _count_words(texts, lowercase).items() if len(word) <= _MAX_WORD_CHARS}
    if not counts:
        raise InputError(
            "there is no word in the texts to learn a vocabulary from; expected lines of plain text"
        )
    alphabet = _alphabet(counts, places)
    known = set(alphabet)
    spelled = [(pieces, counts[word]) for word in sorted(counts) if known.issuperset(pieces := _spell(word))]
    merged = itertools.islice(_merges(spelled, known), places - len(alphabet))
    vocab = Vocab([*SPECIAL_TOKENS, *alphabet, *merged])
    if len(vocab) < vocab_size:
        logging.warning(
            "The vocabulary has %d entries, not %d: the texts have no other pair of pieces twice",
            len(vocab),
            vocab_size,
        )
    return vocab


def _count_words(texts: Iterable[str | bytes], lowercase: bool) -> collections.Counter:
    """Word -> occurrences, words being what `WordPieceTokenizer` tells apart."""
    counts = collections.Counter()
    lines = iter(texts)
    while batch := list(itertools.islice(lines, _BATCH_LINES)):
        words, _, occurrences = tf.unique_with_counts(split_words(tf.constant(batch), lowercase).values)
        counts.update(dict(zip(words.numpy().tolist(), occurrences.numpy().tolist(), strict=True)))
    return collections.Counter({word.decode(): n for word, n in counts.items()})


def _spell(word: str) -> list[str]:
    return [word[0], *("##" + char for char in word[1:])]


def _alphabet(counts: dict[str, int], places: int) -> list[str]:
    """The pieces of one character, most frequent characters first where there are too many for `places`."""
    frequency = collections.Counter()
    inside_words = set()
    for word, n in counts.items():
        for char in word:
            frequency[char] += n
        if len(word) > 1:
            inside_words.update(word)
    chosen, free = [], places
    for char in sorted(frequency, key=lambda char: (-frequency[char], char)):
        forms = [char, "##" + char] if char in inside_words else [char]
        if len(forms) > free:
            break
        chosen.append(forms)
        free -= len(forms)
    return [piece for forms in sorted(chosen) for piece in forms]


def _merges(spelled: list[tuple[list[str], int]], known: set[str]):
    """Yields new pieces, the most frequent pair of neighbours of each moment; changes `spelled` on its way.

    The counts of all pairs are kept up to date rather than counted anew: a merge touches only the words
    that have the pair. The heap learns only of rising counts; an entry that promises too much is put
    back when it comes up.
    """
    pair_counts = collections.Counter()
    homes = collections.defaultdict(set)
    for index, (pieces, n) in enumerate(spelled):
        for pair in itertools.pairwise(pieces):
            pair_counts[pair] += n
            homes[pair].add(index)
    heap = [(-n, pair) for pair, n in pair_counts.items()]
    heapq.heapify(heap)
    while heap:
        promised, pair = heapq.heappop(heap)
        if pair_counts[pair] < _MIN_PAIR_COUNT:
            continue
        if pair_counts[pair] != -promised:
            heapq.heappush(heap, (-pair_counts[pair], pair))
            continue
        merged = pair[0] + pair[1].removeprefix("##")
        rising = set()
        for index in homes.pop(pair):
            pieces, n = spelled[index]
            for new in _join(pieces, n, pair, merged, pair_counts):
                homes[new].add(index)
                rising.add(new)
        for new in rising:
            heapq.heappush(heap, (-pair_counts[new], new))
        if merged not in known:
            known.add(merged)
            yield merged


def _join(
    pieces: list[str], n: int, pair: tuple[str, str], merged: str, pair_counts: collections.Counter
) -> list[tuple[str, str]]:
    """Makes `pair` one piece wherever it is in `pieces`, a word seen `n` times; returns what pairs arise."""
    first, second = pair
    arisen = []
    i = 0
    while i < len(pieces) - 1:
        if pieces[i] == first and pieces[i + 1] == second:
            pair_counts[pair] -= n
            if i > 0:
                pair_counts[pieces[i - 1], first] -= n
                arisen.append((pieces[i - 1], merged))
            if i + 2 < len(pieces):
                pair_counts[second, pieces[i + 2]] -= n
                arisen.append((merged, pieces[i + 2]))
            pieces[i : i + 2] = [merged]
        i += 1
    for new in arisen:
        pair_counts[new] += n
    return arisen
