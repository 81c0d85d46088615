"""What a pretraining run is made of: its batches, its phases, and its held-out measure."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kbert import data, features, training
from kbert.config import BertConfig
from kbert.errors import InputError
from kbert.models import BertPretrainer, PretrainingObjective
from kbert.text import Vocab
from kbert.text.masking import TokenMasker, max_predictions

#: Of the masks of held-out records: the same in all runs, so that their figures can be compared.
_HELD_OUT_SEED = 20181011
_HELD_OUT_MOST = 4096
#: Records of a packed row; more fill rows of many short ones better.
_MOST_PARTS = 16


class Records:
    """A folder of pretraining records, and the batches that are made of it.

    Args:
        folder: Made by `tf_scripts/build_pretraining_data.py`.
        vocab: Of the records.
        batch_size: Rows of a global batch.
        layout: `"pools"`: a row is a record, and rows of like length stand together. `"padded"`: a row is a
            record, in random order. `"packed"`: a row holds as many records as fit, each to itself.
        row_length: Pieces of a packed row; None for those of the longest record.
        mask_rate: Share of tokens to predict. Whole words are hidden where the records say where they begin.
        max_span: Most words that are hidden together.

    Attributes:
        description: What the folder says of itself.

    Raises:
        InputError: The folder holds no records, or damaged ones.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        vocab: Vocab,
        batch_size: int,
        *,
        layout: str = "pools",
        row_length: int | None = None,
        mask_rate: float = 0.15,
        max_span: int = 1,
    ):
        self.folder = folder
        self.description = data.RecordsDescription.read(folder)
        self.batch_size = batch_size
        self.layout = layout
        self.row_length = row_length or self.description.max_length
        self._masker = None
        if self.description.masks is None:
            self._masker = TokenMasker(
                vocab_size=len(vocab),
                mask_id=vocab.mask_id,
                special_ids=(vocab.pad_id, vocab.cls_id, vocab.sep_id),
                slots=max_predictions(self.description.max_length, mask_rate),
                rate=mask_rate,
                max_span=max_span,
            )

    def check(self, vocab_path: str | os.PathLike, config: BertConfig) -> None:
        """Refuses records of another vocabulary, longer than the model's positions, or of more segments.

        Raises:
            InputError: With the remedy.
        """
        longest = self.description.max_length
        if self.description.vocab_sha256 != hashlib.sha256(Path(vocab_path).read_bytes()).hexdigest():
            raise InputError(
                f"{self.folder}: the records were made with another vocabulary than {vocab_path}; build them "
                f"again, or name theirs"
            )
        if longest > config.longest_sequence:
            raise InputError(
                f"{self.folder}: records of up to {longest} pieces, but the model has "
                f"{config.longest_sequence} positions; build them with --max_length={config.longest_sequence}"
            )
        task = self.description.next_sentence
        if task != "none" and config.num_segments < 2:
            raise InputError(
                f"{self.folder}: records of two segments ({task}), but the model has num_segments="
                f"{config.num_segments} (type_vocab_size); build them with --next_sentence=none"
            )

    def training_batches(self, seed: int) -> Callable[[int], tf.data.Dataset]:
        """An endless stream, as `kbert.training.fit` takes it: from any batch on.

        Args:
            seed: Of order and masks.

        Returns:
            Function from the number of batches to leave out to a `tf.data.Dataset` of (inputs, targets).
        """

        def batches(first: int) -> tf.data.Dataset:
            if self.layout == "padded":
                return data.pretraining_batches(
                    self.folder, self._masker, self.batch_size, seed, first_batch=first
                )
            # A row depends on the records of its pool, so the stream is read from its start.
            records = data.masked_records(self.folder, self._masker, seed)
            rows = self._packed(records) if self.layout == "packed" else self._pooled(records)
            return data.masked_batches(rows, self.batch_size).skip(first)

        return batches

    def held_out_batches(self) -> tf.data.Dataset:
        """Each record once (4,096 at most, from all over the files), always under the same masks."""
        total = self.description.num_records
        count = min(_HELD_OUT_MOST, total)
        # By number: TensorFlow's own orders also depend on the seed of the run.
        is_chosen = np.zeros(total, bool)
        is_chosen[np.arange(count) * total // count] = True
        chosen = data.masked_records(self.folder, self._masker, _HELD_OUT_SEED, shuffle_buffer=1).filter(
            lambda record: tf.gather(is_chosen, record[features.RECORD_NUMBER])
        )
        return data.masked_batches(self._pooled(chosen.take(count).cache()), self.batch_size)

    def _pooled(self, records):
        return data.pools_by_length(records, self.batch_size)

    def _packed(self, records):
        each = records.element_spec[features.MASK_WEIGHTS].shape[0]
        # As many in proportion, and room for what half of the records round up.
        slots = max(each, each * self.row_length // self.description.max_length + _MOST_PARTS // 2)
        return data.pack_rows(records, max_length=self.row_length, slots=slots, max_parts=_MOST_PARTS)


def pretrain(
    model: BertPretrainer,
    optimizer: training.AdamW,
    phases: Sequence[tuple[Records, int]],
    *,
    model_dir: str | os.PathLike,
    seed: int,
    held_out: Records | None = None,
    eval_every: int | None = None,
    patience: int | None = None,
    accumulate: int = 1,
    parts: int = 1,
    checkpoints: training.Checkpoints | None = None,
) -> list[dict[str, float]]:
    """Trains through all phases; call it in the scope of the strategy.

    In the end the model has the weights of the best measurement; without `held_out` the last ones; and
    where the optimizer keeps averages, those.

    Args:
        model: Of `kbert.pretraining_start`.
        optimizer: One of `kbert.training`.
        phases: Records and optimizer steps, such as those of 128 pieces and then those of 512.
        model_dir: Gets `metrics.jsonl`, `curves.png` and TensorBoard's logs.
        seed: Of order and masks.
        held_out: Records to measure on; None: the run is not measured.
        eval_every: Steps between two measurements, by which the steps can be divided; None: ten in all.
        patience: Measurements without a better one after which the run ends.
        accumulate: Batches of a step.
        parts: Of `kbert.training.share_cores`.
        checkpoints: Where the run is saved and goes on from, if its records are these.

    Returns:
        The logs of each round, that is of the steps from one measurement to the next.

    Raises:
        InputError: The records have different `next_sentence` tasks, or are others than those of the
            checkpoint; `eval_every` does not divide the steps; `patience` has nothing to look at; a record
            is damaged.
    """
    used = [*(found for found, _ in phases), *([held_out] if held_out else [])]
    _check_same_task(used)
    steps = sum(count for _, count in phases)
    round_steps = _round_steps(steps, eval_every, held_out is not None)
    if patience is not None and (held_out is None or optimizer.average_decay is not None):
        raise InputError("patience needs held-out records, and weights that are not averaged")
    pairs = phases[0][0].description.next_sentence != "none"
    # Without pairs nothing is asked of the first token's output, and these weights get no gradient.
    of_pairs: tuple[Any, Any] = (model.bert.pooler, model.nsp)
    for layer in of_pairs:
        layer.trainable = pairs
    objective = PretrainingObjective(pairs)
    metrics = Path(model_dir) / "metrics.jsonl"
    callbacks: list[keras.callbacks.Callback] = [
        training.ProgressLog(),
        training.SummaryLog(f"{model_dir}/logs", optimizer),
        training.MetricsFile(metrics),
        training.CurvesImage(metrics, Path(model_dir) / "curves.png"),
    ]
    best = None
    if held_out is not None and optimizer.average_decay is None:
        best = training.BestWeights(Path(model_dir) / "best.npz", "val_mlm_loss", patience=patience)
        callbacks.append(best)
    if checkpoints is not None:
        # Folders may have moved when a run goes on, but what they hold must be the same.
        held = {"held-out records": held_out.description.identity if held_out else None}
        of_phases = {f"records of phase {n}": p[0].description.identity for n, p in enumerate(phases, 1)}
        checkpoints.settings |= held | of_phases
    with data.damage_named([file for found in used for file in found.description.files(found.folder)]):
        history = training.fit(
            model,
            optimizer,
            objective,
            training.in_phases(*((found.training_batches(seed), accumulate * n) for found, n in phases)),
            steps_per_epoch=round_steps,
            epochs=steps // round_steps,
            callbacks=callbacks,
            evaluate=held_out and _measure(model, optimizer, objective, held_out),
            accumulate=accumulate,
            parts=parts,
            counts={"tokens": lambda inputs: tf.reduce_sum(inputs[features.PADDING_MASK])},
            checkpoints=checkpoints,
        )
    if best is not None:
        best.restore(model)
    elif optimizer.average_decay is not None:
        for variable, average in optimizer.averages():
            variable.assign(average.value)
    return history


def _check_same_task(used: Sequence[Records]) -> None:
    """All records ask what those of the first phase ask, since one model has one meaning of its answer."""
    first, *others = used
    task = first.description.next_sentence
    for other in others:
        if other.description.next_sentence != task:
            raise InputError(
                f"{other.folder}: records with --next_sentence={other.description.next_sentence}, but those "
                f"of {first.folder} have {task}; build them again with --next_sentence={task}"
            )


def _round_steps(steps: int, eval_every: int | None, measured: bool) -> int:
    if eval_every is None:
        return steps // 10 if measured and steps % 10 == 0 else steps
    if steps % eval_every:
        raise InputError(
            f"{steps} steps cannot be measured every {eval_every}; choose a divisor, or "
            f"{-(-steps // eval_every) * eval_every} steps"
        )
    return eval_every


def _measure(model, optimizer, objective, held_out: Records) -> Callable[[], dict[str, float]]:
    """A function that gives the means of all terms over the held-out records."""
    batches = held_out.held_out_batches()

    @tf.function(reduce_retracing=True)
    def step(inputs, targets):
        return objective(model(inputs, training=False, **objective.call_options), targets)

    def measure() -> dict[str, float]:
        averaged = optimizer.average_decay is not None
        with training.averaged_weights(model, optimizer) if averaged else contextlib.nullcontext():
            sums: dict[str, np.ndarray] = {}
            for inputs, targets in batches:
                for name, term in step(inputs, targets).items():
                    sums[name] = sums.get(name, 0) + np.array([float(value) for value in term])
        return {name: float(total / weight) for name, (total, weight) in sums.items() if weight}

    return measure
