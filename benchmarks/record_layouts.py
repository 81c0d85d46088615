"""How much of a batch is text and how much is padding, under each layout of pretraining rows.

Make records of up to 512 pieces with tf_scripts/build_pretraining_data.py first.

Example:
  python benchmarks/record_layouts.py --data_dir=records --vocab=vocab.txt
"""

import numpy as np
from absl import flags

from kbert import entry

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Records, made by build_pretraining_data.py.", required=True)
flags.DEFINE_string("vocab", None, "vocab.txt of the records.", required=True)
flags.DEFINE_integer("batch_size", 32, "Rows of a batch.", lower_bound=1)


def share_of_text(batches, num_records):
    """Percent of places that are no padding, over the batches in which as many records came by."""
    real = places = seen = 0
    for inputs, _ in batches.as_numpy_iterator():
        real += np.count_nonzero(inputs["padding_mask"])
        places += inputs["padding_mask"].size
        seen += np.count_nonzero(inputs["record_number"] >= 0)
        if seen >= num_records:
            break
    return 100 * real / places


def main():
    """Prints a line for each layout."""
    from kbert.pretraining_records import Records
    from kbert.text import Vocab

    vocab = Vocab.read(FLAGS.vocab)
    for layout in ("padded", "pools", "packed"):
        records = Records(FLAGS.data_dir, vocab, FLAGS.batch_size, layout=layout)
        count = records.description.num_records
        share = share_of_text(records.training_batches(seed=1)(0), count)
        print(f"{layout:7} {share:5.1f} % of the places hold text, in batches of {FLAGS.batch_size} rows")


if __name__ == "__main__":
    entry.run(main)
