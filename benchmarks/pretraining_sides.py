"""The two that pretraining.py compares, each in a process of its own, and the peak of the machine."""

import json
import os
import statistics
import sys
import time

from absl import flags
from pretraining_data import (  # beside this script
    LENGTH,
    MASK_RATE,
    SEED,
    held_out_loss,
    records,
    records_folder,
    token_ids,
    vocab_path,
)

FLAGS = flags.FLAGS
WARMUP_STEPS, STEPS_PER_CALL, NEVER = 100, 5, 10**8


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
