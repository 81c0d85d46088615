r"""Learns a WordPiece vocabulary from plain text of any size.

    python tf_scripts/build_vocab.py --input='corpus/*.txt,more.txt.gz' --vocab_size=8000 --output=vocab.txt

The file has one piece a line, the special tokens first; its line number, from 0, is a piece's id. The same
files give the same vocabulary. Chinese: --character_coverage=0.9995 leaves out the rarest characters.
"""

import time
from pathlib import Path

from absl import flags, logging

from kbert import entry
from kbert.whole_files import check_new_file

_INPUT = flags.DEFINE_multi_string(
    "input",
    None,
    "Text files of UTF-8 or JSON lines, plain or gzip, or globs; a comma list, and repeatable.",
    required=True,
)
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size",
    30522,
    "Entries at most, special tokens included; a small corpus can yield fewer.",
    lower_bound=1,
)
_LOWERCASE = flags.DEFINE_boolean(
    "lowercase",
    True,
    "Lower-case and strip accents, also vowel signs (Thai, Hindi); models must do the same.",
)
_SPECIAL_TOKENS = flags.DEFINE_list(
    "special_tokens",
    "[PAD],[UNK],[CLS],[SEP],[MASK]",
    "In the order of their ids: [PAD] first, the other four, and any of your own as [NAME].",
)
_UNUSED = flags.DEFINE_integer(
    "unused",
    0,
    "Places [unusedN] for later, after [PAD]; 99 give the other four Google's ids 100 to 103.",
    lower_bound=0,
)
_CHARACTER_COVERAGE = flags.DEFINE_float(
    "character_coverage", 1.0, "Share of the text's characters to know; below 1 the rarest are left out."
)
_MAX_WORDS = flags.DEFINE_integer(
    "max_words",
    1_000_000,
    "Most different words to count at a time, which bounds the memory; the rarest are forgotten beyond.",
    lower_bound=2,
)
_TEXT_FIELD = flags.DEFINE_string("text_field", "text", "Of JSON lines: where the text is.")
_OUTPUT = flags.DEFINE_string("output", None, "File to write.", required=True)


def main():
    """Runs the flags."""
    started = time.monotonic()
    output = Path(_OUTPUT.value)
    check_new_file(output)
    from kbert.data.corpus import expand_files
    from kbert.data.line_stream import stream_lines
    from kbert.text import train_vocab

    vocab = train_vocab(
        stream_lines(expand_files(",".join(_INPUT.value).split(",")), text_field=_TEXT_FIELD.value),
        _VOCAB_SIZE.value,
        _LOWERCASE.value,
        special_tokens=_SPECIAL_TOKENS.value,
        unused=_UNUSED.value,
        character_coverage=_CHARACTER_COVERAGE.value,
        max_words=_MAX_WORDS.value,
    )
    output.absolute().parent.mkdir(parents=True, exist_ok=True)
    vocab.write(output)
    logging.info("Wrote %d word pieces to %s in %.1f s", len(vocab), output, time.monotonic() - started)


if __name__ == "__main__":
    entry.run(main)
