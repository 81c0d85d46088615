"""From Python: a model folder answers."""

import collections
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from kbert.checkpoints import find_vocab, load, read_spec
from kbert.data import EncodedRows, evaluation_batches
from kbert.errors import InputError
from kbert.evaluation import plain_answer
from kbert.tasks import Task, task_class
from kbert.text import WordPieceTokenizer


class Predictor:
    """What a model says of encoded rows, in their order.

    Args:
        task: Says which outputs matter.
        model: Of that task.
        batch_size: Rows at a time; rows of like length go together.
        workers: Batches at a time: of `kbert.training.share_cores`, where that was called, for then one batch
            keeps to one core.

    Call arguments:
        encoded: Of the task's `encode`.

    Returns:
        Name -> an array for each row, without the batch axis. Axes that go along pieces or words are as long
        as in the row's batch: what lies behind the row's own end is padding.
    """

    def __init__(self, task: Task, model: keras.Model, batch_size: int = 32, workers: int = 1):
        self.task, self.model = task, model
        self.batch_size, self.workers = batch_size, workers
        # Traced once, for batches of any size and length, however often the weights change.
        self._step = tf.function(lambda inputs: task.predictions(model, inputs), autograph=False)

    def __reduce__(self):
        # For copies and other processes; a graph cannot be copied, and is soon traced again.
        return type(self), (self.task, self.model, self.batch_size, self.workers)

    def __call__(self, encoded: EncodedRows) -> dict[str, list[np.ndarray]]:
        """The outputs; see the class."""
        batches = evaluation_batches(encoded, self.batch_size)
        _, inputs_spec, _ = cast(tuple, batches.element_spec)
        step = self._step.get_concrete_function(inputs_spec)
        found: dict[str, list] = {}
        for rows, outputs in _ahead(lambda batch: (batch[0], step(batch[1])), batches, self.workers):
            for name, values in outputs.items():
                of_rows = found.setdefault(name, [None] * len(encoded))
                for row, value in zip(rows.numpy(), values.numpy(), strict=True):
                    of_rows[row] = value
        return found


def _ahead(function: Callable, items: Iterable, workers: int) -> Iterator:
    """`function` of each item, in their order, computed by threads: at most `workers` before their turn."""
    if workers == 1:  # Here, in the scope of the caller's strategy, which threads of a pool do not have.
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        begun: collections.deque = collections.deque()
        for item in items:
            begun.append(pool.submit(function, item))
            if len(begun) > workers:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def read_task(model_dir: str | os.PathLike) -> Task:
    """What a model folder was fine-tuned for.

    Raises:
        InputError: It holds no fine-tuned model, or no vocabulary.
    """
    spec, tokenizer = read_spec_and_tokenizer(model_dir)
    if spec["name"] == "pretraining":
        raise InputError(f"{model_dir}: holds no fine-tuned model; make one with tf_scripts/finetune.py")
    return task_class(spec["name"])(spec, tokenizer)


def read_spec_and_tokenizer(model_dir: str | os.PathLike) -> tuple[dict, WordPieceTokenizer]:
    """What a model folder says of its task, and the tokenizer that it was trained with.

    Raises:
        InputError: It says nothing, or there is no vocabulary.
    """
    spec = read_spec(model_dir).get("task")
    if not spec:
        raise InputError(
            f"{model_dir}: holds no fine-tuned model, as its kbert.json names no task; make one with "
            "tf_scripts/finetune.py (docs/checkpoints.md says which models of other forms have a task)"
        )
    vocab_path = find_vocab(model_dir)
    if vocab_path is None:
        raise InputError(f"{model_dir}: vocab.txt is missing; copy the one the model was trained with there")
    return spec, WordPieceTokenizer(vocab_path, lowercase=spec["lowercase"])


class Pipeline:
    """Answers what its task takes: texts, pairs, questions on passages.

    Args:
        model_dir: Made by `tf_scripts/finetune.py`.
        batch_size: Rows at a time.

    Call arguments:
        *texts: As the task's `rows_of` takes them: one sequence of strings (or a generator of some), or
            several of the same length, such as first texts and second texts. Or as many single strings.

    Returns:
        One dict of plain Python values a row, in a list; for single strings, the dict alone.

    Raises:
        InputError: The folder holds no fine-tuned model; the texts are not what its task takes; or the batch
            size is below 1.

    Example:
        `kbert.pipeline("runs/mine")("a film to remember")` gives
        `{"label": "positive", "label_id": 1, "score": 0.98, "probabilities": {...}}`.
    """

    def __init__(self, model_dir: str | os.PathLike, batch_size: int = 32):
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}; expected at least 1")
        self.task = read_task(model_dir)
        self.model = load(model_dir)
        self.task.check_config(self.model.config)
        self._predict = Predictor(self.task, self.model, batch_size)

    def __call__(self, *texts: str | Sequence) -> Any:
        """Answers the texts; see the class."""
        if texts and isinstance(texts[0], str):
            return self(*([text] for text in texts))[0]
        rows = self.task.rows_of(*map(_more_than_once, texts))
        answers = self.answers(rows, self.task.encode(rows, labelled=False)) if rows else []
        return [plain_answer(answer) for answer in answers]

    def answers(self, rows: Sequence, encoded: EncodedRows) -> list[dict]:
        """The answers to rows of the task's `read`, encoded by it, as its `answers` gives them."""
        return self.task.answers(rows, encoded, self._predict(encoded))


def _more_than_once(texts: Any) -> Any:
    """Texts that can be looked at before they are read, which a generator's cannot."""
    if isinstance(texts, Mapping) or hasattr(texts, "columns"):  # Its names would be taken for the texts.
        kind, names = type(texts).__name__, ", ".join(map(str, texts))
        raise InputError(f"a {kind} of {names} came; expected texts, and not by name")
    return list(texts) if isinstance(texts, Iterator) else texts


def pipeline(model_dir: str | os.PathLike, batch_size: int = 32) -> Pipeline:
    """The callable that answers as a model folder was fine-tuned to: `kbert.pipeline(model_dir)(texts)`.

    Raises:
        InputError: The folder holds no fine-tuned model.
    """
    return Pipeline(model_dir, batch_size)
