"""`TaskOptions`: what some tasks can be told. Standard library only, so that `--help` is quick."""

import dataclasses
from collections.abc import Collection
from typing import Any, Literal

from kbert.errors import InputError


@dataclasses.dataclass(frozen=True)
class TaskOptions:
    """Settings of tasks; each field is also a flag of `tf_scripts/finetune.py`, None is the task's default.

    Args:
        long_text: What becomes of texts over --max_length: their end is lost, or they are read in windows;
            default: truncate, of tagging windows.
        stride: Pieces from the beginning of a window to that of the next; default: half of what a window
            holds, of questions 128 at most.
        window_pooling: How the answers of a text's windows become one; default: mean.
        scheme: Of the tags that are learned, whatever the file's own is; default: BIO.
        crf: Whether tags are chosen together, by a linear-chain CRF; default: no.
        max_question_length: Most pieces of a question; default: 64, or half of what fits.
        max_answer_length: Most pieces of an answer; default: 30, or more where training answers are longer.
        n_best: How many answers to a question are listed; default: 20.
        measure: The official one that answers to questions are scored by; default: auto, which is what the
            training rows ask for.
        pooling: How the vectors of a text's pieces become one; default: as in --init, else mean.
        normalize: Whether the vector of a text has length 1; default: yes.
    """

    long_text: Literal["truncate", "windows"] | None = None
    stride: int | None = None
    window_pooling: Literal["mean", "max", "vote"] | None = None
    scheme: Literal["BIO", "BIOES", "none"] | None = None
    crf: bool | None = None
    max_question_length: int | None = None
    max_answer_length: int | None = None
    n_best: int | None = None
    measure: Literal["auto", "squad", "squad_v2", "cmrc"] | None = None
    pooling: Literal["mean", "first", "max"] | None = None
    normalize: bool | None = None

    def given(self, task: str, known: Collection[str]) -> dict[str, Any]:
        """Those that were set, for a task that knows the options `known`.

        Raises:
            InputError: One was set that the task does not know.

        Example:
            >>> TaskOptions(crf=True).given("tagging", ["scheme", "crf"])
            {'crf': True}
        """
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        for name in given:
            if name not in known:
                raise InputError(
                    f"--{name} says nothing to --task={task}; its options are: {', '.join(known) or 'none'}"
                )
        return given
