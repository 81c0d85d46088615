"""`train_vocab`: a WordPiece vocabulary learned from text."""

import collections
import heapq
import itertools
import re
import time
from collections.abc import Iterable, Iterator, Sequence

from absl import logging

from kbert.errors import InputError
from kbert.text.normalization import share_of_lost_signs
from kbert.text.vocab import PAD, SPECIAL_TOKENS, Vocab
from kbert.text.word_counts import count_words

#: A longer word is rarely a word of a language; it would fill the vocabulary with parts of itself.
_MAX_WORD_CHARS = 50
#: From this share of the characters on it is told that they stand in longer words.
_MUCH_TOO_LONG = 0.01
#: Of the text, looked at for signs that lower-casing takes away; and their share that is told.
_SAMPLE = 1 << 18
_MANY_LOST = 0.02
#: A pair of pieces seen only once says nothing about the next text.
_MIN_PAIR_COUNT = 2
#: If the characters alone take up more of the vocabulary, few places are left for words.
_LARGE_ALPHABET = 0.5
_LOG_SECONDS = 10


def train_vocab(
    texts: Iterable[str | bytes],
    vocab_size: int,
    lowercase: bool = True,
    *,
    special_tokens: Sequence[str] = SPECIAL_TOKENS,
    unused: int = 0,
    character_coverage: float = 1.0,
    max_words: int = 1_000_000,
) -> Vocab:
    """The vocabulary that spells the words of `texts` with few pieces.

    Words are cut exactly as `WordPieceTokenizer` cuts them, and each distinct one is spelled in
    characters; then, again and again, the two neighbouring pieces that are together most often in the
    text become one piece. The same texts always give the same vocabulary; their order does not matter
    while there are no more than `max_words` words.

    First come the special tokens, then the characters (each as the beginning of a word and, unless it is
    always a word by itself like "!" or "中", as the continuation "##x"), then the merged pieces, the
    most frequent first.

    Args:
        texts: Sentences or lines (`str`, or `bytes` of UTF-8), read once; no word crosses from one to the
            next.
        vocab_size: Upper limit of the entries. A small corpus can yield fewer (a warning says so); of
            more characters than there are places, the rarest are left out.
        lowercase: Whether to lower-case and to strip accents, vowel signs of Thai or Hindi among them.
        special_tokens: In the order of their ids: [PAD], which has id 0, then the other four, and any of
            your own, in brackets as `[NAME]`.
        unused: Places for later, "[unused0]" and on, after [PAD]; with 99 of them [UNK], [CLS], [SEP] and
            [MASK] have ids 100 to 103 as in Google's vocabularies.
        character_coverage: Share of all characters in the text that the vocabulary has to know, over 0 up
            to 1. Below 1 the rarest characters are left out, which pays for Chinese and for text from the
            web: 0.9995 is customary.
        max_words: Most distinct words to count at a time, see `count_words`; it bounds the memory.

    Raises:
        InputError: `texts` have no word of up to 50 characters, the special tokens are not as described, or
            there is no place for anything besides them.

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
    first = _first_entries(special_tokens, unused)
    places = vocab_size - len(first)
    if places < 1:
        raise InputError(
            f"vocab_size={vocab_size} leaves no room beside the {len(special_tokens)} special tokens"
            f"{f' and {unused} unused ones' if unused else ''}; make it larger"
        )
    if not 0 < character_coverage <= 1:
        raise InputError(
            f"character_coverage={character_coverage} is no share; expected over 0 and up to 1, as 0.9995"
        )
    counts = _count(texts, lowercase, max_words)
    alphabet = _alphabet(counts, places, character_coverage)
    if len(alphabet) > _LARGE_ALPHABET * vocab_size:
        logging.warning(
            "Single characters take %d of the %d entries; a lower character coverage leaves out the rarest",
            len(alphabet),
            vocab_size,
        )
    known = set(alphabet)
    spelled, times = _spell(counts, known)
    merged = itertools.islice(_merges(spelled, times, known), places - len(alphabet))
    vocab = Vocab([*first, *alphabet, *_logged(merged, places - len(alphabet))])
    if len(vocab) < vocab_size:
        logging.warning(
            "The vocabulary has %d entries, not %d: the texts have no other pair of pieces twice",
            len(vocab),
            vocab_size,
        )
    return vocab


def _first_entries(special_tokens: Sequence[str], unused: int) -> list[str]:
    """The entries before the learned ones."""
    for token in special_tokens:
        # In brackets, as a learned piece cannot be.
        if not re.fullmatch(r"\[[^\s\[\]]+\]", token) or token.startswith("[unused"):
            raise InputError(f"the special token {token!r} is no name in brackets; expected one like [NAME]")
    missing = [token for token in SPECIAL_TOKENS if token not in special_tokens]
    if missing or special_tokens[0] != PAD or len(set(special_tokens)) < len(special_tokens):
        raise InputError(
            f"special_tokens={','.join(special_tokens)}; expected {PAD} first, as ids are padded with 0, "
            f"and each of {', '.join(SPECIAL_TOKENS[1:])} and of your own once"
        )
    return [PAD, *(f"[unused{number}]" for number in range(unused)), *special_tokens[1:]]


def _count(texts: Iterable[str | bytes], lowercase: bool, max_words: int) -> dict[str, int]:
    found = count_words(
        _told_of_lost_signs(texts) if lowercase else texts, lowercase, max_words, _MAX_WORD_CHARS
    )
    if not found.counts:
        spaces = ", with spaces between words" if found.too_long else ""
        raise InputError(
            f"there is no word of up to {_MAX_WORD_CHARS} characters in the texts to learn a vocabulary "
            f"from; expected lines of plain text{spaces}"
        )
    logging.info("Counted %d words, %d of them different", found.total, len(found.counts))
    too_long = found.too_long_characters / found.characters
    if too_long > _MUCH_TOO_LONG:
        logging.warning(
            "%.0f%% of the characters stand in words of over %d, from which nothing is learned; if the "
            "language is written without spaces, have a segmenter put them between its words first",
            *(100 * too_long, _MAX_WORD_CHARS),
        )
    if found.missed:
        logging.info(
            "There were over %d different words at a time: words seen up to %d times are left out, and no "
            "count is too low by more than that",
            max_words,
            found.missed,
        )
    return found.counts


def _told_of_lost_signs(texts: Iterable[str | bytes]) -> Iterator[str | bytes]:
    """The same texts; if lower-casing takes much of the first ones away, that is told."""
    texts, first, size = iter(texts), [], 0
    for text in texts:
        first.append(text)
        size += len(text)
        if size >= _SAMPLE:
            break
    lost = share_of_lost_signs(text[:_SAMPLE] for text in first)
    if lost > _MANY_LOST:
        logging.warning(
            "Lower-casing takes %.0f%% of the letters away, such as vowel signs, so that other words become "
            "the same; --nolowercase keeps them",
            100 * lost,
        )
    return itertools.chain(first, texts)


def _logged(pieces: Iterator[str], expected: int) -> Iterator[str]:
    """The same pieces, with a line of progress every few seconds."""
    started = logged = None
    for number, piece in enumerate(pieces):
        yield piece
        now = time.monotonic()
        if started is None or logged is None:
            started = logged = now  # Counting all pairs came before the first piece.
        elif now - logged >= _LOG_SECONDS:
            rate, logged = number / (now - started), now
            logging.info(
                "Learned %d of %d pieces, %.0f/s, at most %.0f s left",
                number, expected, rate, (expected - number) / rate,
            )  # fmt: skip


def _spell(counts: dict[str, int], known: set[str]) -> tuple[list[list[str]], list[int]]:
    """The pieces and the count of each word that the alphabet can spell; empties `counts`, to save memory."""
    first = {piece: piece for piece in known if len(piece) == 1}
    later = {piece[-1]: piece for piece in known if len(piece) == 3}
    spelled, times = [], []
    while counts:
        word, n = counts.popitem()
        # One string for each piece, however many words have it.
        pieces = [first.get(word[0]), *map(later.get, word[1:])]
        if None not in pieces:
            spelled.append(pieces)
            times.append(n)
    return spelled, times


def _alphabet(counts: dict[str, int], places: int, coverage: float) -> list[str]:
    """The pieces of one character: of the most frequent ones, until `coverage` or `places` are reached."""
    frequency = collections.Counter()
    inside_words = set()
    for word, n in counts.items():
        for char in word:
            frequency[char] += n
        if len(word) > 1:
            inside_words.update(word)
    chosen, free, covered = [], places, 0
    enough = coverage * frequency.total()
    for char in sorted(frequency, key=lambda char: (-frequency[char], char)):
        forms = [char, "##" + char] if char in inside_words else [char]
        if len(forms) > free or covered >= enough:
            break
        chosen.append(forms)
        free -= len(forms)
        covered += frequency[char]
    return [piece for forms in sorted(chosen) for piece in forms]


def _merges(spelled: list[list[str]], times: list[int], known: set[str]) -> Iterator[str]:
    """Yields new pieces, the most frequent pair of neighbours of each moment; changes `spelled` on its way.

    The counts of all pairs are kept up to date rather than counted anew: a merge touches only the words
    that have the pair. The heap learns only of rising counts; an entry that promises too much is put
    back when it comes up.
    """
    pair_counts = collections.Counter()
    # Lists, though a word can be in one twice: the second time it has nothing left to merge. Sets would
    # take several times the memory.
    homes = collections.defaultdict(list)
    for index, pieces in enumerate(spelled):
        for pair in itertools.pairwise(pieces):
            pair_counts[pair] += times[index]
            homes[pair].append(index)
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
            for new in _join(spelled[index], times[index], pair, merged, pair_counts):
                homes[new].append(index)
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
