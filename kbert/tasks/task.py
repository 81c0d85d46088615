"""`Task`: what is to be learned, from the rows of a file to answers and scores."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from kbert.config import BertConfig
from kbert.data import DataFault, EncodedRows
from kbert.errors import InputError
from kbert.models import HeadModel
from kbert.text import WordPieceTokenizer

#: Fields of `Columns` that a user gives, and the flag of each.
_FLAGS = {
    "text": "text_column",
    "pair": "pair_column",
    "label": "label_column",
    "names": "columns",
    "separator": "separator",
    "no_label": "no_label",
}


@dataclass(frozen=True)
class Columns:
    """Where a file has what; each task looks at what concerns it. None: a customary name.

    Args:
        text: The column of the text.
        pair: That of the second text; `""` reads single texts.
        label: That of the label, labels, score or tag.
        names: Of all columns, for a TSV or CSV file without a header line.
        separator: Between several labels of one row.
        no_label: What stands for a label that people did not agree on; `""`: nothing does.
        split: Of a `tfds:` dataset.
        word_column: Number of the column of words in a file of columns, where `text` names none.
        tag_column: That of the tags, where `label` names none.
        joined: Whether no space stands between the words of a file of columns; None: as they look.
        context_column: The column of the passages, where `text` names none.
    """

    text: str | None = None
    pair: str | None = None
    label: str | None = None
    names: tuple[str, ...] | None = None
    separator: str = ","
    no_label: str = "-"
    split: str = "train"
    word_column: int = 0
    tag_column: int = -1
    joined: bool | None = None
    context_column: str | None = None

    def refuse_others(self, task: str, known: Sequence[str]) -> None:
        """Refuses what a task does not look at: whoever gave it expects that it does.

        Args:
            task: Its name.
            known: The fields that it looks at.

        Raises:
            InputError: Another one is given.
        """
        for name, flag in _FLAGS.items():
            value = getattr(self, name)
            if name not in known and value and value != getattr(Columns, name):
                raise InputError(f"--{flag} says nothing to --task={task}; leave it out")


def refuse_data_set(source: str, task: str) -> None:
    """Refuses a data set of `tensorflow_datasets` where a task reads files alone.

    Args:
        source: Of the rows.
        task: Its name.

    Raises:
        InputError: It is one.
    """
    if source.startswith("tfds:"):
        raise InputError(f"{source}: --task={task} reads no tfds: data set; write its rows to a file")


class Task(abc.ABC):
    """One kind of answer that a fine-tuned BERT gives: how rows are read, encoded, answered and scored.

    A task is made once, of the training rows (`learn`), and again from what the model folder says of it
    (`Task(spec, tokenizer)`): everything that it must know later stands in `spec`.

    Args:
        spec: Plain JSON values: `name`, `max_length`, `lowercase`, and what the task itself puts there, such
            as `labels` in order.
        tokenizer: Of the model's vocabulary.
    """

    #: As `--task` and `kbert.json` say it.
    name: ClassVar[str]
    #: The score by which runs are compared, larger being better; `spec` may name another one.
    best_score: str
    #: Options of its own with their defaults: names of flags, keys of `spec`.
    options: ClassVar[Mapping[str, Any]] = {}
    #: Fields of `Columns` that `spec` keeps, as later files are to be read the same way.
    kept_of_columns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, spec: Mapping[str, Any], tokenizer: WordPieceTokenizer):
        self.spec = {**self.options, **spec}
        self.tokenizer = tokenizer
        if "best_score" in spec:
            self.best_score = self._checked_score(spec["best_score"])

    @classmethod
    def learn(
        cls,
        rows: Sequence,
        tokenizer: WordPieceTokenizer,
        max_length: int,
        best_score: str | None = None,
        **options,
    ) -> "Task":
        """The task that these training rows set.

        Args:
            rows: Of `read`.
            tokenizer: Of the model's vocabulary.
            max_length: Most pieces of a sequence, special tokens included.
            best_score: One of `comparable_scores`; None is the task's customary one.
            **options: Some of those in `options`.

        Raises:
            InputError: The rows cannot be learned from, as where all have the same label; or there is no such
                score.
        """
        spec = {"name": cls.name, "max_length": max_length, "lowercase": tokenizer.lowercase}
        chosen = {} if best_score is None else {"best_score": best_score}
        return cls({**spec, **options, **cls.learned(rows), **chosen}, tokenizer)

    @classmethod
    def columns_to_keep(cls, source: str, columns: Columns, rows: Sequence) -> dict[str, Any]:
        """What `spec` takes of the columns of the training file: the fields in `kept_of_columns`.

        Args:
            source: The file.
            columns: As it was read.
            rows: What was read.
        """
        return {name: getattr(columns, name) for name in cls.kept_of_columns}

    @property
    def kept_columns(self) -> dict[str, Any]:
        """Fields of `Columns` by name, as the training file had them, for reading further files."""
        return {name: self.spec[name] for name in self.kept_of_columns if name in self.spec}

    @property
    def comparable_scores(self) -> tuple[str, ...]:
        """Those of `scores` by which runs may be compared, larger being better."""
        return (type(self).best_score,)

    @property
    def num_segments(self) -> int:
        """Segments of its sequences: 2 where two texts are read as one sequence."""
        return 1

    def check_config(self, config: BertConfig) -> None:
        """Makes sure that a model of this config tells the texts of a sequence apart.

        Raises:
            InputError: It has fewer segment embeddings than the task has segments.
        """
        if config.num_segments < self.num_segments:
            raise InputError(
                f"the model has num_segments={config.num_segments} (type_vocab_size), but {self.name} reads "
                f"{self.num_segments} texts as one sequence, each a segment; choose a checkpoint that has "
                f"{self.num_segments}"
            )

    def check_best_score(self, rows: Sequence) -> None:  # noqa: B027 (most tasks measure all rows alike)
        """Makes sure that `best_score` is among the scores of such rows, before a model is trained by it.

        Raises:
            InputError: With the flag to set.
        """

    @classmethod
    @abc.abstractmethod
    def read(cls, source: str, columns: Columns, labelled: bool = True) -> list:
        """The rows of a file; `labelled` says whether each must have its answer.

        Raises:
            InputError: The file is missing, empty or malformed.
        """

    @classmethod
    def learned(cls, rows: Sequence) -> dict[str, Any]:
        """What `spec` takes from the training rows, such as the labels."""
        return {}

    @classmethod
    def faults(cls, train: Sequence, dev: Sequence) -> list[DataFault]:
        """What is wrong with the rows, to be told before training."""
        return []

    @abc.abstractmethod
    def rows_of(self, *texts) -> list:
        """Rows without labels, of what a user of `kbert.pipeline` gives.

        Raises:
            InputError: It is not what this task takes.
        """

    @abc.abstractmethod
    def encode(self, rows: Sequence, labelled: bool = True) -> EncodedRows:
        """The rows as the model reads them, with targets if `labelled`.

        Raises:
            InputError: A label was not seen in training, or rows are of another form than those.
        """

    @abc.abstractmethod
    def blank_model(self, config: BertConfig, dtype: str | None = None, **kwargs) -> HeadModel:
        """The model with its head, not built."""

    @abc.abstractmethod
    def objective(self, model: HeadModel):
        """What turns its outputs and the targets into a loss, for `kbert.training.fit`."""

    def predictions(self, model: HeadModel, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What `answers` needs of the model for a batch; runs in a graph."""
        return model(inputs, training=False)

    @abc.abstractmethod
    def answers(self, rows: Sequence, encoded: EncodedRows, outputs: Mapping[str, list]) -> list[dict]:
        """One answer for each row of the file; `kbert.evaluation.plain_answer` has it in plain Python alone.

        Args:
            rows: The rows.
            encoded: Made of them.
            outputs: Name -> an array for each row of `encoded`, as `kbert.inference.Predictor` gives them.
        """

    @abc.abstractmethod
    def scores(self, rows: Sequence, answers: Sequence[dict]) -> dict[str, Any]:
        """The official measures of the answers against the rows' own."""

    def chosen_on_dev(
        self, rows: Sequence, encoded: EncodedRows, outputs: Mapping[str, list]
    ) -> dict[str, Any]:
        """What `spec` takes from the dev rows after training, such as a threshold."""
        return {}

    def _checked_score(self, name: str) -> str:
        if name not in self.comparable_scores:
            raise InputError(
                f"best_score={name!r}; the task {self.name} of this data compares runs by "
                f"{' or '.join(self.comparable_scores)}"
            )
        return name

    def report_parts(self, rows: Sequence, answers: Sequence[dict]) -> dict[str, Any]:
        """Fields of `kbert.evaluation.Report` that only this task can fill.

        Besides them `measures`, for confidence intervals: what `kbert.evaluation.measured` calls.
        """
        return {}

    def submission(self, rows: Sequence, answers: Sequence[dict]) -> dict[str, str]:
        """The predictions in the benchmark's own form: name of the file -> its text; none by default."""
        return {}

    def prediction_row(self, row, answer: dict) -> dict[str, Any]:
        """What `predictions.jsonl` says of a row."""
        return {"source": row.source, **answer}


def owners(count: int) -> np.ndarray:
    """`EncodedRows.owner` where each row of the file is one row."""
    return np.arange(count)
