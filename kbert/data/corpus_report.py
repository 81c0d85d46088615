"""`CorpusReport`: what is in a corpus, and what of it would ruin a pretraining run."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from kbert.data.length_histogram import octaves, percentile, text_histogram

_MANY_REPEATED = 0.1
_MANY_UNKNOWN = 0.01
_MUCH_TOO_LONG = 0.01
MANY_LOST = 0.02
_MANY_SINGLE = 0.5
_MUCH_CUT = 0.05
_FEW_PAIRS = 1000
_SHOWN = 10


@dataclass(frozen=True)
class CorpusReport:
    """What `inspect_corpus` found.

    Args:
        documents: What empty lines and the ends of files part.
        one_sentence_documents: Those with a single sentence.
        sentences: Lines that give any piece.
        pieces: Of all sentences, `[UNK]` included.
        unknown: Words that are `[UNK]`.
        unknown_characters: Character at which the vocabulary could not go on -> words lost to it.
        too_long_words: Those of over 200 characters, which are `[UNK]` whatever the vocabulary.
        too_long_characters: Of these.
        characters: Of all lines.
        sentence_lengths: Length in pieces -> sentences.
        document_lengths: Length in pieces -> documents.
        longest_line: Characters of it.
        repeated_share: Lines that are the same as an earlier one, as a share of all.
        repeated_lines: The beginnings of the most frequent of them, and how often they come.
        repeated_is_exact: Whether all lines were compared, or a sample.
        invalid_utf8: Sequences of bytes that are no UTF-8.
        max_length: Most pieces of [CLS] A [SEP] B [SEP].
        pairs: Next-sentence pairs that one pass gives; 0 if there is but one document.
        random_pairs: Those of them whose B is from another document.
        lost_signs_share: Of the letters, what lower-casing takes away from those without case, such as vowel
            signs; 0 where nothing is lower-cased.
        better_lowercase: The casing that fits the vocabulary better than the one asked for; None if that is
            the better one.
    """

    documents: int
    one_sentence_documents: int
    sentences: int
    pieces: int
    unknown: int
    unknown_characters: Counter
    too_long_words: int
    too_long_characters: int
    characters: int
    sentence_lengths: Counter
    document_lengths: Counter
    longest_line: int
    repeated_share: float
    repeated_lines: list[tuple[str, int]]
    repeated_is_exact: bool
    invalid_utf8: int
    max_length: int
    pairs: int
    random_pairs: int
    lost_signs_share: float
    better_lowercase: bool | None

    @property
    def unknown_share(self) -> float:
        """Share of the pieces that are `[UNK]`."""
        return self.unknown / self.pieces

    @property
    def too_long_share(self) -> float:
        """Share of the characters that are lost in words of over 200; lower-casing may make some longer."""
        return min(1.0, self.too_long_characters / self.characters)

    @property
    def cut_share(self) -> float:
        """Share of the pieces that are cut off, as a pair has no room for their sentence."""
        lost = (max(length - self._room, 0) * number for length, number in self.sentence_lengths.items())
        return sum(lost) / self.pieces

    @property
    def _room(self) -> int:
        return self.max_length - 3

    def warnings(self) -> list[str]:
        """One sentence each, with what to do; none if all is well."""
        found = [*self._structure_warnings(), *self._text_warnings()]
        if self.better_lowercase is not None:
            found.append(
                "the vocabulary fits this text better with "
                f"--lowercase={str(self.better_lowercase).lower()}: casing and vocabulary do not go together"
            )
        if self.invalid_utf8:
            found.append(
                f"{self.invalid_utf8:,} sequences of bytes are no UTF-8; save the files as UTF-8, as no "
                "records can be made of them"
            )
        return found

    def _structure_warnings(self) -> list[str]:
        found = []
        if self.documents == 1:
            found.append(
                "there is one document only, and so no next-sentence pair; put an empty line between "
                "documents"
            )
        elif self.one_sentence_documents > _MANY_SINGLE * self.documents:
            found.append(
                f"{self.one_sentence_documents / self.documents:.0%} of the documents have a single "
                "sentence, which nothing follows; write one sentence a line and empty lines only between "
                "documents"
            )
        if 0 < self.pairs < _FEW_PAIRS:
            found.append(f"{self.pairs:,} pairs are few: a model learns them by heart; add text")
        if self.cut_share > _MUCH_CUT:
            found.append(
                f"{self.cut_share:.0%} of the pieces are lost, as their line has over {self._room} pieces; "
                "write one sentence a line, not a paragraph"
            )
        return found

    def _text_warnings(self) -> list[str]:
        found = []
        if self.repeated_share > _MANY_REPEATED:
            found.append(
                f"{self.repeated_share:.0%} of the lines are the same as an earlier one; a model learns "
                "those by heart and little else; remove boilerplate and duplicates"
            )
        unknown_share = (self.unknown - self.too_long_words) / self.pieces
        if unknown_share > _MANY_UNKNOWN:
            found.append(
                f"{unknown_share:.1%} of the pieces are [UNK]; take a vocabulary made for this text "
                "(build_vocab.py), or add what is missing (extend_vocab.py)"
            )
        if self.lost_signs_share > MANY_LOST:
            found.append(
                f"lower-casing takes {self.lost_signs_share:.0%} of the letters away, such as vowel signs, "
                "so that other words become the same; take a vocabulary of build_vocab.py --nolowercase"
            )
        if self.too_long_share > _MUCH_TOO_LONG:
            found.append(
                f"{self.too_long_share:.1%} of the characters stand in words of over 200, each of which is "
                "[UNK]; if the language is written without spaces, have a segmenter put them between its "
                "words first"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """All figures for JSON."""
        return {
            "documents": self.documents,
            "one_sentence_documents": self.one_sentence_documents,
            "sentences": self.sentences,
            "pieces": self.pieces,
            "unknown": self.unknown,
            "unknown_share": self.unknown_share,
            "unknown_characters": [
                {"character": char, "code_points": [f"U+{ord(c):04X}" for c in char], "words": n}
                for char, n in _most_frequent(self.unknown_characters, 100)
            ],
            "too_long_words": self.too_long_words,
            "too_long_share": self.too_long_share,
            "lost_signs_share": self.lost_signs_share,
            "sentence_lengths": _length_figures(self.sentence_lengths),
            "document_lengths": _length_figures(self.document_lengths),
            "longest_line_characters": self.longest_line,
            "cut_share": self.cut_share,
            "repeated_share": self.repeated_share,
            "repeated_is_exact": self.repeated_is_exact,
            "repeated_lines": [{"line": line, "times": n} for line, n in self.repeated_lines],
            "invalid_utf8": self.invalid_utf8,
            "max_length": self.max_length,
            "next_sentence_pairs": self.pairs,
            "random_pairs": self.random_pairs,
            "warnings": self.warnings(),
        }

    def table(self) -> str:
        """The same for people."""
        lengths, documents = self.sentence_lengths, self.document_lengths
        rows = [
            ("documents", f"{self.documents:,}"),
            ("  of one sentence", f"{self.one_sentence_documents:,}"),
            ("  pieces", _spread(documents)),
            ("sentences", f"{self.sentences:,}"),
            ("  pieces", _spread(lengths)),
            (f"  beyond {self._room} pieces", f"{self.cut_share:.2%} of all pieces, which are cut off"),
            ("  longest line", f"{self.longest_line:,} characters"),
            ("  repeated", f"{self.repeated_share:.2%}{'' if self.repeated_is_exact else ' (sampled)'}"),
            *((f"    {n:,} times", line) for line, n in self.repeated_lines[:3]),
            ("pieces", f"{self.pieces:,}"),
            ("  [UNK]", f"{self.unknown:,} ({self.unknown_share:.3%})"),
            ("  because of", _characters(self.unknown_characters)),
            ("  too long", f"{self.too_long_words:,} words, {self.too_long_share:.2%} of all characters"),
            ("invalid UTF-8", f"{self.invalid_utf8:,}"),
            (
                "pairs a pass",
                f"about {self.pairs:,} of {self.max_length} pieces, {self.random_pairs:,} random",
            ),
        ]
        table = "\n".join(f"{name:<20} {value}".rstrip() for name, value in rows)
        return f"{table}\n\nsentences by pieces\n{text_histogram(lengths)}"


def _spread(lengths: Counter) -> str:
    marks = ", ".join(f"{share:.0%} up to {percentile(lengths, share):,}" for share in (0.5, 0.95, 0.99))
    return f"{marks}, longest {max(lengths, default=0):,}"


def _length_figures(lengths: Counter) -> dict[str, Any]:
    total = sum(length * number for length, number in lengths.items())
    return {
        "mean": total / max(lengths.total(), 1),
        **{f"p{share * 100:.0f}": percentile(lengths, share) for share in (0.5, 0.95, 0.99)},
        "longest": max(lengths, default=0),
        "histogram": [{"from": low, "to": high, "number": number} for low, high, number in octaves(lengths)],
    }


def _most_frequent(counts: Counter, number: int) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:number]


def _characters(counts: Counter) -> str:
    shown = [
        f"{char if char.isprintable() else ''} U+{ord(char[0]):04X} ({n:,})".strip()
        for char, n in _most_frequent(counts, _SHOWN)
    ]
    return "  ".join(shown) or "-"
