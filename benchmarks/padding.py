"""What padding costs a step of fine-tuning: random batches with and without it, and rows of like length.

All three train the same model on the same rows, in turn. The mean leaves out the first call of a turn, twenty
steps, which waits for the graph.

  python benchmarks/padding.py --init=FOLDER --data=../shared/data --sets=conll2003,mrpc
"""

import statistics
import time

from absl import flags
from finetuning_sets import SETS  # beside this script

from kbert import entry
from kbert.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("init", None, "Hugging Face folder of an encoder.", required=True)
flags.DEFINE_string("data", None, "Folder of the data sets.", required=True)
flags.DEFINE_list("sets", "conll2003,mrpc,trec", "Data sets.")
flags.DEFINE_integer("steps", 250, "Steps of a turn, of 32 rows.", lower_bound=2)
flags.DEFINE_integer("rounds", 2, "Turns of each.", lower_bound=1)
flags.DEFINE_string("precision", "auto", "As of finetune.py.")

BATCH = 32
#: Name -> options of the model, and of the batches.
LAYOUTS = {
    "random, unpadded": ({"unpad": True}, {}),
    "random, padded": ({"unpad": False}, {}),
    "like length, padded": ({"unpad": False}, {"by_length": True}),
}


def milliseconds_of(task, start, encoded, layout, parts):
    """The mean of a step of a turn."""
    import keras

    from kbert import checkpoints, data, training

    model_options, batch_options = LAYOUTS[layout]
    keras.utils.set_random_seed(1)
    model = task.blank_model(start.config, dtype=training.dtype_policy(FLAGS.precision), **model_options)
    model.build()
    checkpoints.load_encoder_into(model, FLAGS.init)
    batches = data.training_batches(encoded, BATCH, 1, seed=1, **batch_options)
    steps, ends = -(-len(encoded) // BATCH), []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            ends.append((batch, time.perf_counter()))

    training.fit(
        model, training.AdamW(5e-5, weight_decay_rate=0.01), task.objective(model), batches,
        steps_per_epoch=steps, steps_per_call=min(20, steps // 2), callbacks=[Clock()], parts=parts,
    )  # fmt: skip
    (first, began), (last, ended) = ends[0], ends[-1]
    return 1000 * (ended - began) / (last - first)


def encoded_rows(name, start):
    """A task, and as many of its training rows as the steps take, so that both orders have the same."""
    from kbert.tasks import Columns, task_class
    from kbert.text import WordPieceTokenizer

    benchmark = SETS[name]
    kind = task_class(benchmark.task)
    rows = kind.read(f"{FLAGS.data}/{benchmark.files[0]}", Columns(names=benchmark.names))
    tokenizer = WordPieceTokenizer(start.vocab_path, lowercase=start.lowercase)
    task = kind.learn(rows, tokenizer, benchmark.max_length)
    if len(rows) <= BATCH:
        raise InputError(f"{name}: {len(rows)} training rows; expected more than a batch of {BATCH}")
    return task, task.encode(rows[: FLAGS.steps * BATCH])


def main():
    """Prints a line for each set."""
    from kbert import training
    from kbert.start import starting_point

    parts = training.share_cores()
    unknown = sorted(set(FLAGS.sets) - set(SETS))
    if unknown:
        raise InputError(f"--sets={','.join(unknown)} is not known; choose of {', '.join(SETS)}")
    start = starting_point(init=FLAGS.init)
    for name in FLAGS.sets:
        task, encoded = encoded_rows(name, start)
        turns = {layout: [] for layout in LAYOUTS}
        for _ in range(FLAGS.rounds):
            for layout, of_layout in turns.items():
                of_layout.append(milliseconds_of(task, start, encoded, layout, parts))
        medians = [f"{layout} {statistics.median(values):.0f}" for layout, values in turns.items()]
        print(f"{name}, ms of a step: {'; '.join(medians)}", flush=True)


if __name__ == "__main__":
    entry.run(main)
