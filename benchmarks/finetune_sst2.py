"""Fine-tuning on SST-2: seconds per step of kbert and of transformers on torch, in turn, on the same batches.

Both start from the same Hugging Face folder and see the same rows in the same length buckets, with batch
32, AdamW at 5e-5, clipping at 1, dropout 0.1. kbert computes as its default says (bfloat16 where the
processor has it), transformers in float32 as its users run it on a CPU. The first steps of each run are left
out; rounds alternate; the medians are compared.

  python benchmarks/finetune_sst2.py --init=FOLDER --train=../shared/data/sst2/train.tsv --steps=60 --rounds=3
"""

import json
import statistics
import subprocess
import sys
import time

from absl import flags

from kbert import entry

FLAGS = flags.FLAGS
flags.DEFINE_string("init", None, "Hugging Face folder of an encoder.", required=True)
flags.DEFINE_string("train", None, "SST-2's train.tsv.", required=True)
flags.DEFINE_integer("steps", 60, "Steps that are timed in each run.", lower_bound=1)
flags.DEFINE_integer("warmup", 20, "Steps before them.", lower_bound=1)
flags.DEFINE_integer("rounds", 3, "Runs of each candidate.", lower_bound=1)
flags.DEFINE_string("peer_python", sys.executable, "Interpreter that has torch and transformers.")
flags.DEFINE_enum(
    "only", None, ["kbert", "transformers"], "One run of one candidate (used by the script itself)."
)
flags.DEFINE_string("batches", None, "File of the batches (used by the script itself).")

BATCH = 32


def write_batches(path):
    """The batches of kbert's own pipeline, as plain JSON that both candidates read."""
    from kbert import data
    from kbert.checkpoints import find_vocab
    from kbert.tasks import Classification, Columns
    from kbert.text import WordPieceTokenizer

    examples = Classification.read(FLAGS.train, Columns())
    tokenizer = WordPieceTokenizer(find_vocab(FLAGS.init), lowercase=True)
    encoded = Classification.learn(examples, tokenizer, max_length=128).encode(examples)
    batches = data.training_batches(encoded, BATCH, 1, seed=42, by_length=True).take(
        FLAGS.warmup + FLAGS.steps
    )
    rows = [
        {**{k: v.tolist() for k, v in inputs.items()}, "label": targets["label"].tolist()}
        for inputs, targets in batches.as_numpy_iterator()
    ]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(rows, file)
    return sum(map(sum, (mask for row in rows for mask in row["padding_mask"]))) / len(rows), -(
        -len(examples) // BATCH
    )


def run_kbert(batches):
    """Seconds per step of the public path: model, optimizer, loop."""
    import keras
    import tensorflow as tf

    from kbert import checkpoints, training
    from kbert.models import BertClassifier, ClassificationObjective

    parts = training.share_cores()
    model = BertClassifier(checkpoints.read_config(FLAGS.init), 2, dtype=training.dtype_policy("auto"))
    model.build()
    checkpoints.load_encoder_into(model, FLAGS.init)

    def generate():
        for row in batches:
            inputs = {k: row[k] for k in ("token_ids", "segment_ids", "padding_mask")}
            yield inputs, {"label": row["label"]}

    matrix, vector = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)
    signature = ({k: matrix for k in ("token_ids", "segment_ids", "padding_mask")}, {"label": vector})
    times = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            times.append(time.perf_counter())

    training.fit(
        model,
        training.AdamW(training.LinearWarmup(5e-5, 2105, 210)),
        ClassificationObjective(),
        tf.data.Dataset.from_generator(generate, output_signature=signature).cache().prefetch(8),
        steps_per_epoch=len(batches),
        callbacks=[Clock()],
        steps_per_call=FLAGS.warmup,
        parts=parts,
    )
    return (times[-1] - times[0]) / (len(batches) - FLAGS.warmup)


def run_transformers(batches):
    """Seconds per step of the usual loop in float32."""
    import torch
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(FLAGS.init, num_labels=2).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(step / 210, max(0.0, (2105 - step) / (2105 - 210)))
    )
    for number, row in enumerate(batches):
        if number == FLAGS.warmup:
            started = time.perf_counter()
        longest = max(
            map(sum, row["padding_mask"])
        )  # Padded to the longest of the batch, as a collator does.
        names = {"input_ids": "token_ids", "attention_mask": "padding_mask"}
        inputs = {theirs: torch.tensor(row[ours])[:, :longest] for theirs, ours in names.items()}
        model(**inputs, labels=torch.tensor(row["label"])).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return (time.perf_counter() - started) / (len(batches) - FLAGS.warmup)


def main():
    """Prints one JSON object."""
    if FLAGS.only:
        with open(FLAGS.batches, encoding="utf-8") as file:
            batches = json.load(file)
        print(json.dumps({"kbert": run_kbert, "transformers": run_transformers}[FLAGS.only](batches)))
        return
    path = FLAGS.batches or "/tmp/kbert-sst2-batches.json"
    tokens, epoch_steps = write_batches(path)
    seconds = {"transformers": [], "kbert": []}
    for _ in range(FLAGS.rounds):
        for name, found in seconds.items():
            python = FLAGS.peer_python if name == "transformers" else sys.executable
            command = [python, __file__, f"--only={name}", f"--batches={path}", f"--init={FLAGS.init}",
                       f"--train={FLAGS.train}", f"--warmup={FLAGS.warmup}"]  # fmt: skip
            output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            found.append(float(output.splitlines()[-1]))
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    print(
        json.dumps(
            {
                "seconds_per_step": seconds,
                "median": medians,
                "real_tokens_per_step": tokens,
                "epoch_seconds": {name: median * epoch_steps for name, median in medians.items()},
                "transformers_over_kbert": medians["transformers"] / medians["kbert"],
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    entry.run(main)
