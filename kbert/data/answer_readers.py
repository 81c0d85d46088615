"""Reads questions on passages: JSON files of SQuAD 1.1 and 2.0, CMRC 2018, DRCD, XQuAD."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbert.data.labelled_rows import check_plain
from kbert.errors import InputError


@dataclass(frozen=True)
class Answer:
    """One answer to a question.

    Args:
        text: As the file has it.
        start: The character of the passage where it begins, so that `context[start:start + len(text)]` is
            `text`, always; None where that cannot be said, and nothing can be trained on.
        start_in_file: What the file says; if it is another number, the file is wrong.
    """

    text: str
    start: int | None
    start_in_file: int


@dataclass(frozen=True)
class Question:
    """A question on a passage.

    Args:
        id: As the file has it; no two questions have the same.
        question: Its text.
        context: The passage.
        answers: All right answers, to be scored against; none for a question that has no answer.
        has_answer: False where the file says that the passage does not answer it.
        source: File and id.
    """

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]
    has_answer: bool
    source: str

    @property
    def answer(self) -> Answer | None:
        """The one to train on, the first whose place is known; None if there is none."""
        return next((answer for answer in self.answers if answer.start is not None), None)


def read_questions(path: str, *, labelled: bool = True) -> list[Question]:
    """All questions of a file in the form of SQuAD.

    An answer that does not stand where the file says is looked for: if its text occurs once in the passage
    it is there, and if several times at the place nearest to the one given. Where it does not occur, or
    several times and no place is given (-1), its `start` is None. `kbert.data.answer_faults` counts both.

    Args:
        path: JSON, UTF-8.
        labelled: Whether every question must have an answer, or `is_impossible`; if not, none is read.

    Raises:
        InputError: The file is missing or of another form, or two questions have the same id.
    """
    check_plain(path)
    try:
        articles = json.loads(Path(path).read_text(encoding="utf-8-sig"))["data"]
        questions = list(_questions(articles, path, labelled))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected a JSON file as SQuAD's") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 (byte {error.start}); convert it first") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: is no JSON ({error.msg})") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: is not in the form of SQuAD (at {error}): data, a list with paragraphs, each with "
            f"context and qas, each with id, question and answers, each with text and answer_start"
        ) from error
    if not questions:
        raise InputError(f"{path}: has no questions")
    seen = set()
    for question in questions:
        if question.id in seen:
            raise InputError(
                f"{question.source}: two questions have this id; predictions could not be told apart"
            )
        seen.add(question.id)
        if labelled and question.has_answer and not question.answers:
            raise InputError(f"{question.source}: has no answer, and is not marked is_impossible")
    return questions


def _questions(articles: Any, path: str, labelled: bool) -> Iterator[Question]:
    for article in articles:
        for paragraph in article["paragraphs"]:
            context = paragraph["context"]
            for row in paragraph["qas"]:
                impossible = row.get("is_impossible") if labelled else None
                if impossible not in (None, False, True):  # Or 0 and 1; a text such as "false" says neither.
                    raise InputError(
                        f"{path}: question {row['id']}: is_impossible is {impossible!r}; expected true or "
                        f"false, without quotation marks"
                    )
                answers = () if impossible or not labelled else row.get("answers", ())
                key = str(row["id"]).strip()
                yield Question(
                    id=key,
                    question=row["question"].strip(),
                    context=context,
                    answers=tuple(
                        Answer(
                            answer["text"],
                            find_answer(context, answer["text"], answer["answer_start"]),
                            answer["answer_start"],
                        )
                        for answer in answers
                    ),
                    has_answer=not impossible,
                    source=f"{path}: question {key}",
                )


def find_answer(context: str, text: str, start: int) -> int | None:
    """Where an answer stands that should stand at `start`, or None; see `read_questions`.

    Example:
        >>> find_answer("北京在中国北方", "北", 6), find_answer("北京", "京", -1)
        (5, 1)
    """
    if not text:
        return None
    if start >= 0 and context.startswith(text, start):
        return start
    places = [place for place in range(len(context)) if context.startswith(text, place)]
    if len(places) > 1 and start >= 0:
        return min(places, key=lambda place: abs(place - start))
    return places[0] if len(places) == 1 else None
