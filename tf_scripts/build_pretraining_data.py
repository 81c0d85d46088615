"""Turns a corpus into pretraining records: pairs of text runs for the next-sentence task.

The corpus has one sentence a line and an empty line between documents. Masks are not stored but drawn
when the records are read.

Example:
  python tf_scripts/build_pretraining_data.py --input='corpus/*.txt' --vocab=vocab.txt --output_dir=records
"""

import time

from absl import flags, logging

from kbert import entry

FLAGS = flags.FLAGS
flags.DEFINE_list("input", None, "Text files or globs, comma-separated.", required=True)
flags.DEFINE_string("vocab", None, "vocab.txt of the model.", required=True)
flags.DEFINE_bool("lowercase", True, "Lower-case and strip accents; must fit the vocabulary.")
flags.DEFINE_integer(
    "max_length", 128, "Most pieces of a record, [CLS] and both [SEP] included.", lower_bound=8
)
flags.DEFINE_string(
    "output_dir", None, "Folder to write; records that are there are replaced.", required=True
)
flags.DEFINE_integer("shards", 4, "Number of files.", lower_bound=1)
flags.DEFINE_integer(
    "passes", 1, "How often the corpus is cut into pairs, each time differently.", lower_bound=1
)
flags.DEFINE_integer("seed", 12345, "Of pairs and order.")


def main():
    started = time.monotonic()
    from kbert.data import write_records
    from kbert.data.corpus import expand_files
    from kbert.text import WordPieceTokenizer

    description = write_records(
        expand_files(FLAGS.input),
        WordPieceTokenizer(FLAGS.vocab, lowercase=FLAGS.lowercase),
        FLAGS.vocab,
        FLAGS.output_dir,
        max_length=FLAGS.max_length,
        shards=FLAGS.shards,
        passes=FLAGS.passes,
        seed=FLAGS.seed,
    )
    logging.info(
        "wrote %d records in %d shards to %s after %.0f s",
        description.num_records, FLAGS.shards, FLAGS.output_dir, time.monotonic() - started,
    )  # fmt: skip


if __name__ == "__main__":
    entry.run(main)
