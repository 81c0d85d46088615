"""Fine-tuning on SST-2 from the first byte to the dev accuracy: kbert and transformers on torch, in turn.

What a user waits for: starting Python, reading and tokenizing 67,349 rows, one epoch, the accuracy on dev.
Both have batch 32, AdamW at 5e-5 with 10 % linear warm-up and linear decay, clipping at 1, dropout 0.1 and
batches padded to their longest row, the peer's of like length. kbert computes as its default says
(bfloat16 where the processor has it), transformers in float32 as its users run it on a CPU.

  python benchmarks/finetune_sst2_whole.py --init=FOLDER --train=../shared/data/sst2/train.tsv \
      --dev=../shared/data/sst2/dev.tsv --peer_python=PYTHON_WITH_TORCH
"""

import csv
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from absl import flags

from kbert import entry

FLAGS = flags.FLAGS
flags.DEFINE_string("init", None, "Hugging Face folder of an encoder.", required=True)
flags.DEFINE_string("train", None, "SST-2's train.tsv.", required=True)
flags.DEFINE_string("dev", None, "SST-2's dev.tsv.", required=True)
flags.DEFINE_integer("rounds", 1, "Runs of each candidate.", lower_bound=1)
flags.DEFINE_string("peer_python", sys.executable, "Interpreter that has torch and transformers.")
flags.DEFINE_bool("peer", False, "The run of transformers alone (used by the script itself).")

BATCH, POOL = 32, 100  # Rows in a batch; batches that are sorted by length together.
SCRIPT = pathlib.Path(__file__).resolve()
FINETUNE = SCRIPT.parents[1] / "tf_scripts" / "finetune.py"


def read_rows(path):
    """[(sentence, label)] of a GLUE file, which is tab-separated and unquoted."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(row["sentence"], int(row["label"])) for row in rows]


def batches_of_like_length(ids, random):
    """Index lists of 32: shuffled, then sorted by length within pools of 100 batches."""
    order = random.permutation(len(ids))
    batches = []
    for begin in range(0, len(order), BATCH * POOL):
        pool = sorted(order[begin : begin + BATCH * POOL], key=lambda row: len(ids[row]))
        batches += [pool[i : i + BATCH] for i in range(0, len(pool), BATCH)]
    random.shuffle(batches)
    return batches


def run_transformers():
    """The dev accuracy after one epoch of the usual loop in float32."""
    import numpy
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification, get_linear_schedule_with_warmup

    torch.manual_seed(42)
    tokenizer = AutoTokenizer.from_pretrained(FLAGS.init)
    model = BertForSequenceClassification.from_pretrained(FLAGS.init, num_labels=2).train()
    train, dev = read_rows(FLAGS.train), read_rows(FLAGS.dev)

    def encode(rows):
        return tokenizer([text for text, _ in rows], truncation=True, max_length=128)["input_ids"]

    def forward(ids, rows, numbers):
        batch = tokenizer.pad({"input_ids": [ids[i] for i in numbers]}, return_tensors="pt")
        return model(**batch, labels=torch.tensor([rows[i][1] for i in numbers]))

    ids = encode(train)
    batches = batches_of_like_length(ids, numpy.random.default_rng(42))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    schedule = get_linear_schedule_with_warmup(optimizer, len(batches) // 10, len(batches))
    for numbers in batches:
        forward(ids, train, numbers).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()
    ids, correct = encode(dev), 0
    with torch.no_grad():
        for begin in range(0, len(dev), BATCH):
            numbers = range(begin, min(begin + BATCH, len(dev)))
            found = forward(ids, dev, numbers).logits.argmax(-1).tolist()
            correct += sum(label == dev[i][1] for label, i in zip(found, numbers, strict=True))
    return correct / len(dev)


def kbert_command(model_dir):
    """The command of the README, as it stands there."""
    values = {
        "task": "classification", "train": FLAGS.train, "dev": FLAGS.dev, "init": FLAGS.init,
        "batch_size": BATCH, "learning_rate": 5e-5, "epochs": 1, "model_dir": model_dir,
    }  # fmt: skip
    return [sys.executable, str(FINETUNE), *(f"--{name}={value}" for name, value in values.items())]


def seconds_of(command):
    """Wall-clock of a process; what it says goes to stderr."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr)
    return time.perf_counter() - started


def main():
    """Prints one JSON object."""
    if FLAGS.peer:
        print(json.dumps({"transformers": {"val_accuracy": run_transformers()}}), file=sys.stderr)
        return
    files = [f"--init={FLAGS.init}", f"--train={FLAGS.train}", f"--dev={FLAGS.dev}"]
    seconds = {"kbert": [], "transformers": []}
    for _ in range(FLAGS.rounds):
        with tempfile.TemporaryDirectory() as folder:
            seconds["kbert"].append(seconds_of(kbert_command(f"{folder}/model")))
        seconds["transformers"].append(seconds_of([FLAGS.peer_python, str(SCRIPT), "--peer", *files]))
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    ratio = medians["kbert"] / medians["transformers"]
    print(json.dumps({"seconds": seconds, "kbert_over_transformers": ratio}))


if __name__ == "__main__":
    entry.run(main)
