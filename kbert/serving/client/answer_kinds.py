"""What a served model is, told by its signature: one table from the names of outputs to typed results."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kbert.errors import InputError
from kbert.features import TEXT, TEXT_PAIR
from kbert.serving.client.entities import join_entities
from kbert.serving.client.results import (
    Answer,
    Candidate,
    Choice,
    Classification,
    Embedding,
    FilledMasks,
    MultiLabel,
    Score,
    Tagging,
    Word,
)
from kbert.serving.client.retries import ServerError
from kbert.serving.client.rows import CHOICES, CONTEXT, QUESTION
from kbert.serving.client.transport import Row, Signature

#: The signature that gives several answers to a question.
N_BEST_SIGNATURE = "nbest"

#: The signature that tells the names of labels, and what it is asked: a serialized `tf.train.Example` with an
#: empty `text`. Written out, as the client goes without TensorFlow.
LABELS_SIGNATURE = "classify"
EMPTY_EXAMPLE = b"\n\x0e\n\x0c\n\x04text\x12\x04\n\x02\n\x00"


@dataclass(frozen=True)
class AnswerKind:
    """One row of the table.

    Args:
        task: What the model is trained for.
        method: Of the clients, that asks such a model.
        inputs: A model of the kind takes some of these and no others.
        outputs: What tells it from all kinds that stand below it in the table.
        read: From the inputs and outputs of a row, and the names of labels, to the result.
        needs_labels: Whether `read` cannot do without these names.
    """

    task: str
    method: str
    inputs: frozenset[str]
    outputs: frozenset[str]
    read: Callable[[Row, Mapping[str, Any], Sequence[str] | None], Any]
    needs_labels: bool = False


def find_kind(
    signatures: Mapping[str, Signature], name: str, method: str | None, inputs: Iterable[str], where: str
) -> AnswerKind:
    """What the signature of a model answers.

    Args:
        signatures: All of the model's.
        name: Of the one to be asked.
        method: How it is to be asked; None for any way.
        inputs: Names of what it is to be asked with.
        where: The model, for messages.

    Raises:
        InputError: There is no such signature, or it is for another method, or none of kbert's.
    """
    if name not in signatures:
        raise InputError(f"{where}: has no signature {name}; it has {show_signatures(signatures)}")
    signature = signatures[name]
    fitting = [k for k in KINDS if k.outputs <= signature.outputs and signature.inputs <= k.inputs]
    takes = f"signature {name} takes {_listed(signature.inputs)}"
    gives = f"and gives {_listed(signature.outputs)}"
    if not fitting:
        raise InputError(f"{where}: {takes} {gives}, which is no task of kbert; use predict_rows()")
    kind = fitting[0]
    if method not in (None, kind.method):
        raise InputError(f"{where}: no model for {method}(): {takes} {gives}; use {kind.method}()")
    if signature.inputs != set(inputs):
        raise InputError(f"{where}: {takes}, but {_listed(inputs)} came; give just these")
    return kind


def show_signatures(signatures: Iterable[str]) -> str:
    """The names that a user may ask for, as a list in a message."""
    return _listed(name for name in signatures if not name.startswith("__"))


def labels_change(where: str) -> ServerError:
    """The error of a model whose labels were others after the rows than before them, twice."""
    return ServerError(
        f"{where}: the labels change from request to request, as servers load another version; "
        "ask again, or give a version"
    )


def read_rows(kind: AnswerKind, rows: Sequence[Row], outputs: Sequence[Mapping], labels, where: str) -> list:
    """The results of rows.

    Args:
        kind: What the model is.
        rows: What was asked.
        outputs: What was answered.
        labels: Their names, or None.
        where: The model, for messages.

    Raises:
        InputError: The answers are not what the signature promised.
    """
    try:
        return [kind.read(row, output, labels) for row, output in zip(rows, outputs, strict=True)]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{where}: the answer is not that of {kind.task} ({problem}); was the model exchanged?"
        ) from error


def _classification(row: Row, outputs: Mapping, labels) -> Classification:
    return Classification(
        outputs["label"],
        outputs["label_id"],
        outputs["score"],
        tuple(outputs["probabilities"]),
        _truncated(outputs),
    )


def _multi_label(row: Row, outputs: Mapping, labels: Sequence[str] | None) -> MultiLabel:
    values = outputs["probabilities"]
    names = [str(number) for number in range(len(values))] if labels is None else labels
    chosen = zip(names, outputs["predicted"], strict=True)
    return MultiLabel(
        tuple(name for name, is_chosen in chosen if is_chosen),
        dict(zip(names, values, strict=True)),
        _truncated(outputs),
    )


def _score(row: Row, outputs: Mapping, labels) -> Score:
    return Score(outputs["score"], _truncated(outputs))


def _tagging(row: Row, outputs: Mapping, labels) -> Tagging:
    # Rows are as long as the longest of their batch, which need not be of this request.
    names = ("words", "tags", "starts", "ends", "scores")
    columns = [outputs[name][: outputs["num_words"]] for name in names]
    words = tuple(Word(*values) for values in zip(*columns, strict=True))
    return Tagging(words, join_entities(row[TEXT], words), _truncated(outputs))


def _answer(row: Row, outputs: Mapping, labels) -> Answer | None:
    if outputs["start"] < 0:
        return None
    return Answer(
        outputs["answer"],
        outputs["start"],
        outputs["end"],
        outputs["score"],
        outputs.get("probability"),
        outputs.get("truncated"),
    )


def _answers(row: Row, outputs: Mapping, labels) -> list[Answer | None]:
    count = outputs["num_answers"]
    names = ("answers", "starts", "ends", "scores", "probabilities")
    found = zip(*(outputs[name][:count] for name in names), strict=True)
    return [None if start < 0 else Answer(text, start, *rest) for text, start, *rest in found]


def _choice(row: Row, outputs: Mapping, labels) -> Choice:
    # Choices were filled up to the longest row of the batch.
    probabilities = tuple(outputs["probabilities"][: len(row[CHOICES])])
    return Choice(
        outputs["choice"], outputs["choice_id"], outputs["score"], probabilities, _truncated(outputs)
    )


def _filled_masks(row: Row, outputs: Mapping, labels) -> FilledMasks:
    columns = [outputs[name][: outputs["num_masks"]] for name in ("tokens", "token_ids", "scores")]
    masks = tuple(
        tuple(Candidate(*values) for values in zip(*of_mask, strict=True))
        for of_mask in zip(*columns, strict=True)
    )
    return FilledMasks(masks, _truncated(outputs))


def _embedding(row: Row, outputs: Mapping, labels) -> Embedding:
    return Embedding(tuple(outputs["embedding"]), _truncated(outputs))


def _truncated(outputs: Mapping) -> bool:
    return outputs.get("truncated", False)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _kind(task: str, method: str, inputs: tuple[str, ...], outputs: str, read, **options) -> AnswerKind:
    return AnswerKind(task, method, frozenset(inputs), frozenset(outputs.split()), read, **options)


_TEXTS = (TEXT, TEXT_PAIR)
_PASSAGE = (QUESTION, CONTEXT)
_CHOICES = (TEXT, QUESTION, CHOICES)

#: The first that fits counts: what gives more stands above what gives less.
KINDS = (
    _kind("classification", "classify", _TEXTS, "label label_id score probabilities", _classification),
    _kind("multi_label", "classify", _TEXTS, "probabilities predicted", _multi_label, needs_labels=True),
    _kind("tagging", "tag", (TEXT,), "words tags scores starts ends num_words", _tagging),
    _kind("question_answering", "answer", _PASSAGE, "answer score null_score start end", _answer),
    _kind("question_answering", "answer", _PASSAGE, "answers scores starts ends num_answers", _answers),
    _kind("multiple_choice", "choose", _CHOICES, "choice choice_id score probabilities", _choice),
    _kind("fill_mask", "fill_mask", (TEXT,), "tokens token_ids scores num_masks", _filled_masks),
    _kind("embedding", "embed", _TEXTS, "embedding", _embedding),
    _kind("regression", "score", _TEXTS, "score", _score),
)
