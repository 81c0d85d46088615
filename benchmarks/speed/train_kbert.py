"""kbert's side of the training cases, by its public path: model, optimizer, loop."""

import numpy as np

from speed import cases

#: Each is an epoch in an order of its own, planned before the first.
_MOST_TURNS = 200


def train(case, init, rows, turns, *, bfloat16, fill_up=False, remat=False):
    """Trains in turns, of one epoch each, until the process is ended.

    Args:
        case: `TrainingCase`.
        init: Folder of the encoder.
        rows: Ids of each row.
        turns: `Turns`.
        bfloat16: Whether matrix products are in bfloat16.
        fill_up: Whether all rows are padded to the greatest length of the case.
        remat: As for `Bert`.
    """
    from kbert.training import AdamW, LinearWarmup, fit, share_cores

    parts = share_cores()
    import keras

    from kbert import checkpoints

    keras.utils.set_random_seed(1)
    model, objective = _model(case, checkpoints.read_config(init), bfloat16, remat, unpad=not fill_up)
    model.build()
    checkpoints.load_encoder_into(model, init)
    first = cases.padded(rows[: case.batch_size])
    mask = (first > 0).astype(np.int32)
    hidden = model.bert({"token_ids": first, "padding_mask": mask})["sequence_output"]
    steps = -(-len(rows) // case.batch_size)
    dataset = _batches(case, rows, fill_up)
    widths = [inputs["token_ids"].shape for inputs, _ in dataset.take(steps)]
    turns.introduce(compared=cases.digest(hidden, first), padded_tokens=int(sum(map(np.prod, widths))))

    class Epochs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            turns.end(loss=logs["loss"])

    fit(
        model, AdamW(LinearWarmup(5e-5, 10**6, 100), weight_decay_rate=0.01), objective, dataset,
        steps_per_epoch=steps, epochs=_MOST_TURNS, callbacks=[Epochs()], parts=parts,
    )  # fmt: skip


def _model(case, config, bfloat16, remat, unpad):
    from kbert import models

    dtype = "mixed_bfloat16" if bfloat16 else "float32"
    if case.objective == "mlm":
        return models.BertMaskedLM(config, dtype=dtype, remat=remat), models.MaskedLMObjective()
    model = models.BertClassifier(config, 2, dtype=dtype, remat=remat, unpad=unpad)
    return model, models.ClassificationObjective()


def _batches(case, rows, fill_up):
    """As users of kbert have them: in another random order in each epoch."""
    import tensorflow as tf

    from kbert import data

    if case.objective == "mlm":
        values = cases.masked(rows)
        targets = {name: values.pop(name) for name in ("mask_ids", "mask_weights")}
        values["padding_mask"] = np.ones_like(values["token_ids"])
        return tf.data.Dataset.from_tensor_slices((values, targets)).batch(case.batch_size).cache().repeat()
    lengths = np.array([len(row) for row in rows])
    ids = tf.RaggedTensor.from_row_lengths(np.concatenate(rows), lengths)
    encoded = data.EncodedRows(
        {"token_ids": ids, "segment_ids": tf.zeros_like(ids)},
        {"label": cases.labels_of(rows)}, np.arange(len(rows)), 0, {},
    )  # fmt: skip
    dataset = data.training_batches(encoded, case.batch_size, _MOST_TURNS, seed=1)
    if not fill_up:
        return dataset

    def filled(inputs, targets):
        def fill(value):
            return tf.pad(value, [[0, 0], [0, case.max_length - tf.shape(value)[1]]])

        return {name: fill(value) for name, value in inputs.items()}, targets

    return dataset.map(filled)
