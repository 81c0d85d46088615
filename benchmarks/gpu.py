"""On one accelerator: kbert on JAX beside transformers on torch with torch.compile, both in bfloat16.

Pretraining steps (masked tokens, AdamW, clipping) and answers, on drawn rows. Each candidate has a process
of its own and they take turns; the first turns, which compile, are left out. The rate of large bfloat16
products on the same device, measured between the turns, gives the share of what it could do.

  pretrain-128     full rows of 128
  pretrain-512     documents of 64 to 512 pieces: kbert packs them into rows of 512, with attention inside
                   each document; transformers pads them to the longest of the batch
  answer-128       the hidden states of full rows of 128

Attention weights are not dropped, in neither, so that both may use flash attention. A machine without
TensorFlow will do; without torch or transformers, kbert is measured alone. Without a GPU everything runs on
the processor.

  python benchmarks/gpu.py --output=FOLDER
  python benchmarks/gpu.py --output=FOLDER --cases=pretrain-512 --size=large --batch_size=32
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import statistics
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")  # Before Keras is imported.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # There are others on the device.

from absl import flags
from speed import device_jax, device_torch, limits, report  # beside this script
from speed.device_rows import Rows
from speed.turns import Candidates, Turns

from kbert import BertConfig, entry
from kbert.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("output", None, "Folder for results.json, table.txt and speed.png.", required=True)
flags.DEFINE_list("cases", "pretrain-128,pretrain-512,answer-128", "What is timed.")
flags.DEFINE_string("size", None, "Of all cases; default: base, and large for pretrain-512.")
flags.DEFINE_integer("batch_size", None, "Rows; default: 256, 32 and 512.", lower_bound=1)
flags.DEFINE_integer("steps", 20, "Of a turn.", lower_bound=1)
flags.DEFINE_integer("rounds", 5, "Turns that are timed.", lower_bound=1)
flags.DEFINE_integer("warmup", 2, "Turns before them.", lower_bound=0)
flags.DEFINE_string("role", None, "A candidate (used by the script itself).")


@dataclasses.dataclass(frozen=True)
class Case:
    """A size, rows of a batch, their length, whether they hold documents, and whether they train."""

    size: str
    batch_size: int
    length: int
    documents: bool = False
    trains: bool = True


CASES = {
    "pretrain-128": Case("base", 256, 128),
    "pretrain-512": Case("large", 32, 512, documents=True),
    "answer-128": Case("base", 512, 128, trains=False),
}
CANDIDATES = {"kbert": device_jax.work_off, "transformers": device_torch.work_off}


def case_of(name):
    """The case, with what the flags say of it."""
    if name not in CASES:
        raise InputError(f"--cases={name} is not known; choose of {', '.join(CASES)}")
    case = CASES[name]
    return dataclasses.replace(
        case, size=FLAGS.size or case.size, batch_size=FLAGS.batch_size or case.batch_size
    )


def config_of(case):
    """The sizes, without dropping attention weights."""
    return BertConfig.preset(case.size, attention_dropout=0.0)


def compare(name):
    """Runs one case, and gives its results."""
    case = case_of(name)
    logs = pathlib.Path(FLAGS.output, "logs", name)
    logs.mkdir(parents=True, exist_ok=True)
    has_peer = importlib.util.find_spec("torch") and importlib.util.find_spec("transformers")
    there = [who for who in CANDIDATES if who == "kbert" or has_peer]
    again = [sys.executable, __file__, *sys.argv[1:], f"--cases={name}"]
    commands = {who: [*again, f"--role={who}"] for who in (*there, limits.PEAK)}
    with Candidates(commands, str(logs)) as running:
        turns = running.rounds(FLAGS.rounds, FLAGS.warmup)
        device = running.introductions[limits.PEAK]["device"]
    rows = Rows(case.batch_size, case.length, case.documents)
    mask_rate = rows.num_masked / rows.num_tokens if case.trains else 0
    flop = limits.training_flop(config_of(case), rows.lengths, mask_rate) / (1 if case.trains else 3)
    peak = statistics.median(turn["flops"] for turn in turns[limits.PEAK]) / 1e9
    found = {limits.PEAK: {"bfloat16_gflops": peak}}
    lengths = rows.lengths * FLAGS.steps
    for who in there:
        found[who] = limits.rates(turns[who], lengths, flop, found[limits.PEAK], bfloat16=True)
        found[who]["loss"] = turns[who][-1].get("loss")
    return device, found


def main():
    """Prints the table."""
    if FLAGS.role == limits.PEAK:
        return device_jax.work_off_peak(Turns())
    if FLAGS.role:
        case = case_of(FLAGS.cases[0])
        return CANDIDATES[FLAGS.role](case, config_of(case), FLAGS.steps, Turns())
    for name in FLAGS.cases:
        case_of(name)
    os.makedirs(FLAGS.output, exist_ok=True)
    machine, found = report.machine(), {}
    for name in FLAGS.cases:
        machine["device"], found[name] = compare(name)
        how = {"rounds": FLAGS.rounds, **dataclasses.asdict(case_of(name))}
        report.add(FLAGS.output, name, found[name], machine | how)
    print(json.dumps(machine))
    print(report.table(found))


if __name__ == "__main__":
    entry.run(main, backend=os.environ["KERAS_BACKEND"])
