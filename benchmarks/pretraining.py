"""Pretraining: masked-language-model loss against wall-clock, kbert beside Keras Hub's BertMaskedLM.

Both train the same sizes on the same records (whole sentences of one document, up to 128 pieces), with as
many rows a step, the same AdamW, warm-up and clipping, in the precision that is faster on the machine.
kbert's head begins with the frequencies of the tokens, the default of pretrain.py (--output_bias=zeros: with
0, as Keras Hub's). Keras Hub masks with its own `MaskedLMMaskGenerator` and pads to 128; in float32 it is
compiled by XLA, in bfloat16 not, for on CPUs that is the faster way of each. The rate stays where the warm-up
ends, so that the middle of one curve can be compared with the end of the other.

Each has a process of its own; they work in turn, a slice of seconds each, and the other one waits. After
its slice each is measured by one function on the same masked rows of held-out text; that time, and the first
call, in which TensorFlow traces, is not counted.

  python benchmarks/pretraining.py --data=../shared/data --size=mini --seconds=240 --output=FOLDER
"""

import importlib.util
import json
import pathlib
import statistics
import sys

import pretraining_sides  # beside this script
from absl import flags, logging
from pretraining_data import MASK_RATE, token_ids, write_corpora
from speed.limits import training_flop
from speed.turns import Candidates

from kbert import entry
from kbert.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "Folder with corpora/ and vocab/.", required=True)
flags.DEFINE_string("output", None, "Folder for the records, curves.json and curves.png.", required=True)
flags.DEFINE_string("size", "mini", "Size of the encoder, tiny to large.")
flags.DEFINE_float("seconds", 240.0, "Seconds of training of each.", lower_bound=0.1)
flags.DEFINE_float("slice_seconds", 30.0, "Seconds of a turn.", lower_bound=0.1)
flags.DEFINE_integer("batch_size", 16, "Rows of a step.", lower_bound=2)
flags.DEFINE_float("learning_rate", 1e-3, "Where the warm-up ends, and after it.", lower_bound=0)
flags.DEFINE_float("dropout", 0.1, "Of both.", 0, 1)
flags.DEFINE_enum("output_bias", "frequencies", ["frequencies", "zeros"], "Of kbert's new weights.")
flags.DEFINE_integer("held_out_rows", 512, "Rows that are measured.", lower_bound=1)
flags.DEFINE_enum("precision", "auto", ["auto", "float32", "bfloat16"], "Of both.")
flags.DEFINE_enum("role", None, ["kbert", "keras_hub", "peak"], "A part (used by the script itself).")

SCRIPT = pathlib.Path(__file__).resolve()


def seconds_to(curve, loss):
    """When a curve is first at or below a loss, in a straight line between its points; None for never.

    Args:
        curve: List of {"seconds", "loss"}, in the order of time.
        loss: To be reached.
    """
    before = None
    for point in curve:
        if point["loss"] <= loss:
            if before is None:
                return point["seconds"]
            share = (before["loss"] - loss) / (before["loss"] - point["loss"])
            return before["seconds"] + share * (point["seconds"] - before["seconds"])
        before = point
    return None


def parts(*roles):
    """Parts in processes of their own; each starts when the one before it has answered, and waits."""
    logs = pathlib.Path(FLAGS.output, "logs")
    logs.mkdir(exist_ok=True)
    again = [sys.executable, str(SCRIPT), *sys.argv[1:]]
    return Candidates({role: [*again, f"--role={role}"] for role in roles}, str(logs))


def train_in_turn():
    """Name -> curve."""
    with parts("kbert", "keras_hub") as running:
        curves = {name: [point] for name, point in running.introductions.items()}
        while min(curve[-1]["seconds"] for curve in curves.values()) < FLAGS.seconds:
            for name, curve in curves.items():
                curve.append(running.turn(name))
                logging.info("%s: %s", name, curve[-1])
    return curves


def measured_peak():
    """FLOP per second of a matrix product."""
    with parts("peak") as running:
        return running.introductions["peak"]


def draw(curves):
    """curves.png, where matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logging.info("no curves.png: matplotlib is missing; pip install '.[plots]' in the source folder")
        return
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="seconds of training", ylabel="held-out MLM loss", title=FLAGS.size)
    for name, curve in curves.items():
        axes.plot([p["seconds"] for p in curve], [p["loss"] for p in curve], "o-", label=name)
    axes.legend()
    figure.savefig(f"{FLAGS.output}/curves.png", dpi=120)


def main():
    """Prints one JSON object."""
    if FLAGS.role:
        getattr(pretraining_sides, f"run_{FLAGS.role}")()
        return
    if importlib.util.find_spec("keras_hub") is None:
        raise InputError("keras_hub is missing, with which kbert is compared; pip install keras-hub")
    write_corpora()
    lengths = [len(row) for row in token_ids("train").as_numpy_iterator()]
    curves, peak = train_in_turn(), measured_peak()
    row_tokens, flop = statistics.mean(lengths), training_flop(pretraining_sides.config(), lengths, MASK_RATE)
    final = curves["keras_hub"][-1]
    reached = seconds_to(curves["kbert"], final["loss"])
    results = {
        "flags": {
            name: FLAGS[name].value
            for name in ("size", "batch_size", "learning_rate", "dropout", "precision", "output_bias")
        },
        "peak_gflops": peak / 1e9,
        "kbert_seconds_to_keras_hubs_last_loss": reached,
        "share_of_keras_hubs_seconds": reached and reached / final["seconds"],
        "curves": curves,
    }
    for name, curve in curves.items():
        rate = curve[-1]["steps"] * FLAGS.batch_size * row_tokens / curve[-1]["seconds"]
        results[name] = {
            "loss": curve[-1]["loss"],
            "real_tokens_per_second": rate,
            "share_of_peak": rate * flop / peak,
        }
    pathlib.Path(f"{FLAGS.output}/curves.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
    draw(curves)
    print(json.dumps(results))


if __name__ == "__main__":
    entry.run(main)
