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
import os
import pathlib
import statistics
import subprocess
import sys
import time

from absl import flags, logging

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
LENGTH, MASK_RATE, WARMUP_STEPS, STEPS_PER_CALL, SEED = 128, 0.15, 100, 5, 1
NEVER = 10**8
CORPORA = {
    "train": ("brown.train.txt", "speeches.train.txt", "wikitext2.valid.txt"),
    "dev": ("brown.dev.txt", "speeches.dev.txt"),
}


def vocab_path():
    """The vocabulary of both."""
    return f"{FLAGS.data}/vocab/bert-base-uncased.txt"


def records_folder(split):
    """Where `write_corpora` puts the records of a split."""
    return f"{FLAGS.output}/records-{split}"


def write_corpora():
    """Makes the records of both splits, if they are not there."""
    from kbert.data import write_records
    from kbert.data.record_settings import RecordSettings

    for split, names in CORPORA.items():
        settings = RecordSettings(
            vocab=vocab_path(), max_length=LENGTH, next_sentence="none", shards=1, seed=SEED
        )
        files = [f"{FLAGS.data}/corpora/{name}" for name in names]
        write_records(files, records_folder(split), settings)


def records(split):
    """The records as a user of kbert reads them: rows of like length in a batch."""
    from kbert.pretraining import Records
    from kbert.text import Vocab

    return Records(records_folder(split), Vocab.read(vocab_path()), FLAGS.batch_size, mask_rate=MASK_RATE)


def token_ids(split):
    """The ids of each record, unpadded."""
    import tensorflow as tf

    def ids(serialized):
        row = tf.io.parse_single_example(serialized, {"token_ids": tf.io.VarLenFeature(tf.int64)})
        return tf.cast(tf.sparse.to_dense(row["token_ids"]), tf.int32)

    folder = records_folder(split)
    return tf.data.TFRecordDataset(list(map(str, records(split).description.files(folder)))).map(ids)


def masked_loss(logits, mask_ids, mask_weights):
    """The cross-entropy of the masked tokens of a batch, added up, and how many they are.

    Args:
        logits: (B, P, V), any float.
        mask_ids: int32 (B, P), the hidden tokens.
        mask_weights: float32 (B, P), 0 for slots without one.
    """
    import tensorflow as tf

    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(mask_ids, tf.cast(logits, tf.float32))
    return tf.reduce_sum(losses * mask_weights), tf.reduce_sum(mask_weights)


def held_out_loss(logits_of):
    """A function that gives the mean loss of a model now, always on the same masked rows.

    Args:
        logits_of: Function from inputs to logits.
    """
    import tensorflow as tf

    batches = list(records("dev").held_out_batches().take(-(-FLAGS.held_out_rows // FLAGS.batch_size)))

    @tf.function(reduce_retracing=True)
    def of_batch(inputs, targets):
        return masked_loss(logits_of(inputs), targets["mask_ids"], targets["mask_weights"])

    def measure():
        sums = [of_batch(inputs, targets) for inputs, targets in batches]
        return float(sum(loss for loss, _ in sums) / sum(weight for _, weight in sums))

    return measure


def schedule():
    """A warm-up, and then one rate."""
    from kbert.training import WarmupStableDecay

    return WarmupStableDecay(FLAGS.learning_rate, NEVER, WARMUP_STEPS, 1)


def turns(measure):
    """A callback that trains when the parent process says so on stdin, and says on stdout how it went."""
    import keras

    class Turns(keras.callbacks.Callback):
        """Counts seconds and steps of its turns; measures after each."""

        def __init__(self):
            super().__init__()
            self.seconds, self.steps, self.begun = 0.0, 0, None

        def on_train_batch_end(self, batch, logs=None):
            now = time.perf_counter()
            self.steps += STEPS_PER_CALL
            if self.begun is None:
                self.steps = 0  # This call was traced; what comes is counted.
            elif now - self.begun < FLAGS.slice_seconds:
                return
            else:
                self.seconds += now - self.begun
            point = {"seconds": self.seconds, "steps": self.steps, "loss": measure()}
            print(json.dumps(point), flush=True)
            self.model.stop_training = sys.stdin.readline() == ""
            if self.model.stop_training:
                os._exit(0)  # Nothing is kept of the model, and Keras Hub's epoch would have to end first.
            self.begun = time.perf_counter()

    return Turns()


def config():
    """The sizes of both."""
    from kbert import BertConfig
    from kbert.text import Vocab

    rates = {"dropout": FLAGS.dropout, "attention_dropout": FLAGS.dropout}
    return BertConfig.preset(FLAGS.size, vocab_size=len(Vocab.read(vocab_path())), **rates)


def run_kbert():
    """The public path for records without pairs, by the defaults of pretrain.py."""
    from kbert.training.threads import share_cores

    parts = share_cores()
    import keras

    from kbert import training
    from kbert.models import BertMaskedLM, MaskedLMObjective
    from kbert.pretraining_start import start_at_frequencies
    from kbert.text import Vocab

    keras.utils.set_random_seed(SEED)
    model = BertMaskedLM(config(), dtype=training.dtype_policy(FLAGS.precision))
    model.build()
    if FLAGS.output_bias == "frequencies":
        start_at_frequencies(model, records_folder("train"), Vocab.read(vocab_path()))
    measure = held_out_loss(lambda inputs: model(inputs, scores_only=True)["mlm_logits"])
    training.fit(
        model,
        training.AdamW(schedule()),
        MaskedLMObjective(),
        records("train").training_batches(SEED),
        steps_per_epoch=NEVER,
        callbacks=[turns(measure)],
        steps_per_call=STEPS_PER_CALL,
        parts=parts,
    )


def run_keras_hub():
    """`fit`, with what its users can choose for speed: precision, XLA, several steps a call."""
    import keras
    import keras_hub

    from kbert.training import dtype_policy

    keras.utils.set_random_seed(SEED)
    sizes, dtype = config(), dtype_policy(FLAGS.precision)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=sizes.vocab_size,
        num_layers=sizes.num_layers,
        num_heads=sizes.num_heads,
        hidden_dim=sizes.hidden_dim,
        intermediate_dim=sizes.intermediate_dim,
        dropout=sizes.dropout,
        max_sequence_length=sizes.max_length,
        dtype=dtype,
    )
    model = keras_hub.models.BertMaskedLM(backbone, dtype=dtype)
    optimizer = keras.optimizers.AdamW(schedule(), weight_decay=0.01, global_clipnorm=1.0, epsilon=1e-6)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[],
        steps_per_execution=STEPS_PER_CALL,
        jit_compile=dtype == "float32",
    )
    names = [value.name for value in model.inputs]
    measure = held_out_loss(lambda inputs: model({n: inputs[n] for n in names}, training=False))
    model.fit(keras_hub_batches(), steps_per_epoch=NEVER, callbacks=[turns(measure)], verbose=0)


def keras_hub_batches():
    """The same records, padded to 128 and masked by Keras Hub."""
    import keras_hub
    import tensorflow as tf

    from kbert.text import Vocab

    vocab = Vocab.read(vocab_path())
    mask = keras_hub.layers.MaskedLMMaskGenerator(
        vocabulary_size=len(vocab),
        mask_selection_rate=MASK_RATE,
        mask_token_id=vocab.mask_id,
        mask_selection_length=-(-LENGTH * 15 // 100),
        unselectable_token_ids=[vocab.pad_id, vocab.cls_id, vocab.sep_id],
    )

    def masked(rows):
        made = mask(rows)
        inputs = {
            "token_ids": made["token_ids"],
            "segment_ids": tf.zeros_like(rows),
            "padding_mask": tf.cast(rows != vocab.pad_id, tf.int32),
            "mask_positions": made["mask_positions"],
        }
        return inputs, made["mask_ids"], made["mask_weights"]

    rows = token_ids("train").cache().shuffle(10_000, seed=SEED).repeat()
    rows = rows.padded_batch(FLAGS.batch_size, [LENGTH])
    return rows.map(masked, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def run_peak():
    """FLOP per second of a 2048³ product in that precision with all cores: P of the limit model."""
    import tensorflow as tf

    from kbert.training import dtype_policy

    kind = tf.float32 if dtype_policy(FLAGS.precision) == "float32" else tf.bfloat16
    sides = [tf.cast(tf.random.stateless_normal([2048] * 2, [1, n]), kind) for n in range(2)]
    rates = []
    for _ in range(12):
        began = time.perf_counter()
        tf.matmul(*sides)[0, 0].numpy()
        rates.append(2 * 2048**3 / (time.perf_counter() - began))
    print(statistics.median(rates[2:]))


def flop_of_token(lengths):
    """G of the limit model: of training, for a real token of records of these lengths.

    3·(2N + 4·L·d·s + 2·m·d·(V + d)), N = 12·L·d² weights of the blocks, s the length-weighted mean length.
    """
    sizes = config()
    layers, width, vocab = sizes.num_layers, sizes.hidden_dim, sizes.vocab_size
    mean = sum(length * length for length in lengths) / sum(lengths)
    return 3 * (
        2 * 12 * layers * width**2 + 4 * layers * width * mean + 2 * MASK_RATE * width * (vocab + width)
    )


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


def start(role):
    """A part in a process of its own."""
    command = [sys.executable, str(SCRIPT), *sys.argv[1:], f"--role={role}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def answer_of(process):
    """Its next line."""
    line = process.stdout.readline()
    if not line:
        raise InputError(f"a part ended with code {process.wait()}; its messages are above")
    return json.loads(line)


def train_in_turn():
    """Name -> curve. The last one to start waits for the first, so that both start on an idle machine."""
    names, processes, curves = ("kbert", "keras_hub"), {}, {}
    try:
        for name in names:
            processes[name] = start(name)
            curves[name] = [answer_of(processes[name])]
        while min(curve[-1]["seconds"] for curve in curves.values()) < FLAGS.seconds:
            for name, process in processes.items():
                process.stdin.write("go\n")
                process.stdin.flush()
                curves[name].append(answer_of(process))
                logging.info("%s: %s", name, curves[name][-1])
    finally:
        for process in processes.values():
            process.stdin.close()
            process.wait()
    return curves


def draw(curves):
    """curves.png, where matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logging.info("no curves.png: matplotlib is missing; pip install 'kbert[plots]'")
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
        {"kbert": run_kbert, "keras_hub": run_keras_hub, "peak": run_peak}[FLAGS.role]()
        return
    if importlib.util.find_spec("keras_hub") is None:
        raise InputError("keras_hub is missing, with which kbert is compared; pip install keras-hub")
    write_corpora()
    lengths = [len(row) for row in token_ids("train").as_numpy_iterator()]
    curves, peak = train_in_turn(), answer_of(start("peak"))
    row_tokens = statistics.mean(lengths)
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
            "share_of_peak": rate * flop_of_token(lengths) / peak,
        }
    pathlib.Path(f"{FLAGS.output}/curves.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
    draw(curves)
    print(json.dumps(results))


if __name__ == "__main__":
    entry.run(main)
