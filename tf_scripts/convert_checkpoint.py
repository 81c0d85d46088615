"""Writes a BERT checkpoint with its heads in another form: Google's, Hugging Face's, Keras Hub's, kbert's.

Example:
    python tf_scripts/convert_checkpoint.py --input=uncased_L-2_H-128_A-2 --output=tiny --to=kbert
"""

from absl import flags, logging

from kbert import entry

FLAGS = flags.FLAGS

flags.DEFINE_string("input", None, "Folder or name; the form is found by its files.", required=True)
flags.DEFINE_string("output", None, "Folder to write; must be empty or not exist.", required=True)
flags.DEFINE_enum(
    "to", None, ["google", "huggingface", "keras_hub", "kbert"], "Form to write.", required=True
)
flags.DEFINE_bool("pair", False, "The classifier takes pairs of texts; Hugging Face's files do not say.")


def main() -> None:
    """Reads the checkpoint and writes it again."""
    from kbert import checkpoints

    checkpoints.convert(FLAGS.input, FLAGS.output, FLAGS.to, pair=FLAGS.pair)
    logging.info("%s: written in the form of %s", FLAGS.output, FLAGS.to)


if __name__ == "__main__":
    entry.run(main)
