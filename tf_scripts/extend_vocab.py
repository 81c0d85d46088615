r"""Adds the words of a corpus to a vocabulary, and with --init rows for them to a model.

    python tf_scripts/extend_vocab.py --input='notes/*.txt' --init=bert-base --output=bert-clinical
    python tf_scripts/extend_vocab.py --input='notes/*.txt' --vocab=vocab.txt --mode=unused --output=new.txt

The first writes a model folder from which `pretrain.py --init` continues; the second a vocabulary alone, for
a model whose embedding table is to stay as it is. On stdout stand the words that save the most tokens, tokens
per word and the share of [UNK] before and after, and in the last line the same figures as JSON.
"""

import json
import tempfile
import time
from pathlib import Path

from absl import flags, logging

from kbert import entry
from kbert.errors import InputError
from kbert.whole_files import check_local, check_writable

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "input", None, "Text files, plain or gzip, or JSON lines; or globs; comma-separated.", required=True
)
flags.DEFINE_string("text_field", "text", "Of JSON lines: where the text is.")
flags.DEFINE_string("init", None, "Checkpoint to extend: a folder or name, see docs/checkpoints.md.")
flags.DEFINE_string("vocab", None, "vocab.txt to extend; default: the one in --init.")
flags.DEFINE_bool("lowercase", None, "Lower-case and strip accents; default: what --init or --vocab say.")
flags.DEFINE_integer("num_words", 1000, "Words to add at most.", lower_bound=1)
flags.DEFINE_integer("min_count", 5, "Fewest occurrences of a word to add.", lower_bound=1)
flags.DEFINE_enum("mode", "append", ["append", "unused"], "At the end, or over [unusedN] entries.")
flags.DEFINE_integer(
    "max_words", 1_000_000, "Most different words to count at a time, which bounds the memory.", lower_bound=2
)
flags.DEFINE_string(
    "output", None, "Model folder to write with --init, empty or new; else a file.", required=True
)


def _check_output(output):
    check_local(output)
    if FLAGS.init and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output}: already holds something; name a new folder for the model")
    if not FLAGS.init and output.is_dir():
        raise InputError(f"{output}: is a folder; name a file for the vocabulary, or a model with --init")
    check_writable(output.parent)


def _vocab_and_case():
    """The vocabulary to extend, and whether its text is lower-cased."""
    from kbert.checkpoints.vocabulary import settle_case
    from kbert.start import starting_point
    from kbert.text import Vocab

    if FLAGS.init:
        start = starting_point(init=FLAGS.init, vocab=FLAGS.vocab, lowercase=FLAGS.lowercase)
        return Vocab.read(start.vocab_path), start.lowercase
    if not FLAGS.vocab:
        raise InputError("there is nothing to extend; give --init, a model, or --vocab, a vocabulary")
    vocab = Vocab.read(FLAGS.vocab)
    return vocab, settle_case(FLAGS.vocab, vocab.tokens, FLAGS.lowercase)


def _report(extension):
    """Prints what was found and returns the figures."""
    print(f"{'word':<24}{'count':>9}{'saves':>9}  pieces until now")
    for word in extension.words[:20]:
        print(f"{word.word:<24}{word.count:>9}{word.score:>9}  {' '.join(word.pieces)}")
    figures = {"words_added": len(extension.words), "vocab_size": len(extension.vocab)}
    print(f"{'':<16}{'before':>10}{'after':>10}")
    for name, form in (("tokens_per_word", ".3f"), ("unknown_share", ".4%")):
        before, after = getattr(extension.before, name), getattr(extension.after, name)
        print(f"{name.replace('_', ' '):<16}{before:>10{form}}{after:>10{form}}")
        figures |= {f"{name}_before": round(before, 6), f"{name}_after": round(after, 6)}
    return figures


def _write_model(output, old_vocab, new_vocab, lowercase, figures, started):
    from kbert import checkpoints, manifest, resize_vocab

    model = resize_vocab(checkpoints.load(FLAGS.init), old_vocab, new_vocab)
    task = checkpoints.read_task(FLAGS.init)
    task = task or {"name": "pretraining", "max_length": model.config.longest_sequence}
    with tempfile.TemporaryDirectory() as folder:
        new_vocab.write(Path(folder) / "vocab.txt")
        checkpoints.save_folder(
            output, model, task={**task, "lowercase": lowercase}, vocab_path=Path(folder) / "vocab.txt"
        )
    manifest.write_manifest(
        output,
        command="extend_vocab",
        flags={flag.name: flag.value for flag in FLAGS.get_key_flags_for_module(__name__)},
        metrics=figures,
        seconds=time.monotonic() - started,
    )


def main():
    started = time.monotonic()
    output = Path(FLAGS.output)
    _check_output(output)
    vocab, lowercase = _vocab_and_case()

    from kbert.data.corpus import expand_files
    from kbert.data.line_stream import stream_lines
    from kbert.text.vocab_extension import extend_vocab
    from kbert.text.word_counts import count_words

    counts = count_words(
        stream_lines(expand_files(FLAGS.input), text_field=FLAGS.text_field), lowercase, FLAGS.max_words
    )
    logging.info("Counted %d words, %d of them different", counts.total, len(counts.counts))
    extension = extend_vocab(
        vocab,
        counts,
        lowercase=lowercase,
        num_words=FLAGS.num_words,
        min_count=FLAGS.min_count,
        mode=FLAGS.mode,
    )
    figures = _report(extension)
    if FLAGS.init:
        _write_model(output, vocab, extension.vocab, lowercase, figures, started)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        extension.vocab.write(output)
    logging.info("Wrote %s after %.0f s", output, time.monotonic() - started)
    print(json.dumps(figures))


if __name__ == "__main__":
    entry.run(main)
