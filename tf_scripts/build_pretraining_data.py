"""Turns a corpus of any size into pretraining records: pairs of text runs for the next-sentence task.

A text file has one sentence a line and an empty line between documents; with --split_sentences, one paragraph
a line. Files may be compressed (.gz). JSON lines (.jsonl) and tfds:NAME have a document a row. Masks are not
stored but drawn when the records are read; --static_masking stores them, for google-research/bert or Model
Garden. An interrupted run goes on when the same command is given again.

Example:
  python tf_scripts/build_pretraining_data.py --input='corpus/*.txt' --vocab=vocab.txt --output_dir=records \
      --workers=8 --shards=8
"""

import time

from absl import flags, logging

from kbert import entry
from kbert.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_list("input", None, "Files, globs or tfds:NAME, comma-separated.", required=True)
flags.DEFINE_string("vocab", None, "vocab.txt of the model.", required=True)
flags.DEFINE_bool("lowercase", None, "Lower-case and strip accents; default: what the vocabulary looks like.")
flags.DEFINE_bool("split_sentences", False, "Lines are paragraphs; split them (English, Chinese).")
flags.DEFINE_string("text_field", "text", "Where JSON rows and tfds:NAME have the text.")
flags.DEFINE_string("tfds_split", "train", "Split of tfds:NAME.")
flags.DEFINE_integer(
    "max_length", 128, "Most pieces of a record, [CLS] and both [SEP] included.", lower_bound=8
)
flags.DEFINE_enum(
    "next_sentence", "nsp", ["nsp", "sop", "none"],
    "Second text: the next or a random one, the two in order or swapped, or none (whole sentences, packed).",
)  # fmt: skip
flags.DEFINE_bool("whole_words", False, "Mark where words begin, so that masks can hide whole words.")
flags.DEFINE_enum("segmenter", None, ["jieba"], "Finds Chinese words, for --whole_words.")
flags.DEFINE_enum(
    "static_masking",
    None,
    ["google", "model_garden"],
    "Store masks, with the feature names of the one named.",
)
flags.DEFINE_integer("max_predictions", None, "Most masked tokens of a record, if stored.", lower_bound=1)
flags.DEFINE_float("mask_rate", 0.15, "Share of tokens to mask, if stored.", 0, 1)
flags.DEFINE_integer("max_span", 1, "Most words to mask in a row, if stored.", lower_bound=1)
flags.DEFINE_string(
    "output_dir", None, "Folder to write; records that are there are replaced.", required=True
)
flags.DEFINE_integer("shards", 4, "Number of files; each is written by one process.", lower_bound=1)
flags.DEFINE_integer(
    "passes", 1, "How often the corpus is cut into pairs, each time differently.", lower_bound=1
)
flags.DEFINE_alias("dupe_factor", "passes")
flags.DEFINE_integer("seed", 12345, "Of pairs, order and stored masks.")
flags.DEFINE_integer("workers", 1, "Processes; the records do not depend on it.", lower_bound=1)
flags.DEFINE_string("runner", None, "Let Apache Beam do the work with this runner, such as DirectRunner.")
flags.DEFINE_multi_string("beam_option", [], "Another option of Beam, such as --flink_master=HOST:8081.")


def main():
    started = time.monotonic()
    if FLAGS.beam_option and FLAGS.runner is None:
        raise InputError("--beam_option has no meaning without --runner")
    from kbert.checkpoints.vocabulary import settle_case
    from kbert.data import write_records
    from kbert.data.record_settings import RecordSettings
    from kbert.text import Vocab

    settings = RecordSettings(
        vocab=FLAGS.vocab,
        lowercase=settle_case(FLAGS.vocab, Vocab.read(FLAGS.vocab).tokens, FLAGS.lowercase),
        max_length=FLAGS.max_length,
        next_sentence=FLAGS.next_sentence,
        passes=FLAGS.passes,
        shards=FLAGS.shards,
        seed=FLAGS.seed,
        split_sentences=FLAGS.split_sentences,
        text_field=FLAGS.text_field,
        tfds_split=FLAGS.tfds_split,
        whole_words=FLAGS.whole_words,
        segmenter=FLAGS.segmenter,
        static_masking=FLAGS.static_masking,
        predictions=FLAGS.max_predictions,
        mask_rate=FLAGS.mask_rate,
        max_span=FLAGS.max_span,
    )
    description = write_records(
        FLAGS.input,
        FLAGS.output_dir,
        settings,
        workers=FLAGS.workers,
        beam_options=[f"--runner={FLAGS.runner}", *FLAGS.beam_option] if FLAGS.runner else None,
    )
    logging.info(
        "wrote %d records in %d shards to %s after %.0f s",
        description.num_records, FLAGS.shards, FLAGS.output_dir, time.monotonic() - started,
    )  # fmt: skip


if __name__ == "__main__":
    entry.run(main)
