"""Writes a BERT checkpoint in another form: Google's TF1, Hugging Face's safetensors, or kbert's own.

Example:
    python tf_scripts/convert_checkpoint.py --input=uncased_L-2_H-128_A-2 --output=tiny --to=kbert
"""

from absl import flags, logging

from kbert import entry

FLAGS = flags.FLAGS

flags.DEFINE_string("input", None, "Folder of the checkpoint; its form is found by its files.", required=True)
flags.DEFINE_string("output", None, "Folder to write; must be empty or not exist.", required=True)
flags.DEFINE_enum("to", None, ["google", "huggingface", "kbert"], "Form to write.", required=True)


def main() -> None:
    """Reads the checkpoint and writes it again."""
    from kbert import checkpoints

    checkpoints.convert(FLAGS.input, FLAGS.output, FLAGS.to)
    logging.info("%s: written in the form of %s", FLAGS.output, FLAGS.to)


if __name__ == "__main__":
    entry.run(main)
