"""Keras Hub's side of the training cases: `compile` and `fit`, as its users run it, rows of one length."""

import numpy as np

from speed import cases


def train(case, init, rows, turns, *, bfloat16, xla):
    """Trains in turns, of one epoch each, until the process is ended; see `train_kbert.train`.

    Args:
        case: `TrainingCase`.
        init: Folder of the encoder.
        rows: Ids of each row.
        turns: `Turns`.
        bfloat16: Whether the policy is `mixed_bfloat16`.
        xla: `jit_compile` of `compile`.
    """
    import keras
    import keras_hub
    import tensorflow as tf

    from kbert.training import LinearWarmup

    keras.utils.set_random_seed(1)
    dtype = "mixed_bfloat16" if bfloat16 else "float32"
    encoder = keras_hub.models.BertBackbone.from_preset(init, dtype=dtype)
    values = _values(case, rows)
    first = cases.padded(rows[: case.batch_size])
    inputs = {"token_ids": first, "segment_ids": np.zeros_like(first), "padding_mask": first > 0}
    hidden = encoder({name: tf.cast(value, tf.int32) for name, value in inputs.items()})["sequence_output"]
    if case.objective == "mlm":
        model = keras_hub.models.BertMaskedLM(encoder, dtype=dtype)
    else:
        model = keras_hub.models.BertTextClassifier(encoder, 2, dtype=dtype)
    optimizer = keras.optimizers.AdamW(
        LinearWarmup(5e-5, 10**6, 100), weight_decay=0.01, global_clipnorm=1.0, epsilon=1e-6
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    steps = -(-len(rows) // case.batch_size)
    model.compile(optimizer, loss, weighted_metrics=[], steps_per_execution=min(steps, 20), jit_compile=xla)
    dataset = tf.data.Dataset.from_tensor_slices(values).batch(case.batch_size).cache().repeat().prefetch(4)
    turns.introduce(compared=cases.digest(hidden, first), padded_tokens=values[0]["token_ids"].size)

    class Epochs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            turns.end(loss=float(logs["loss"]))

    model.fit(dataset, steps_per_epoch=steps, epochs=10**6, callbacks=[Epochs()], verbose=0)


def _values(case, rows):
    if case.objective == "mlm":
        values = cases.masked(rows)
        targets = values.pop("mask_ids"), values.pop("mask_weights")
    else:
        values = {"token_ids": cases.padded(rows, case.max_length)}
        targets = (cases.labels_of(rows),)
    values["segment_ids"] = np.zeros_like(values["token_ids"])
    values["padding_mask"] = (values["token_ids"] > 0).astype(np.int32)
    return values, *targets
