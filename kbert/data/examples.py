"""`Example`: one labelled row of a user's file."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """One text or pair of texts, with its label as the file spells it.

    Args:
        text: The first or only text.
        pair: The second text, or None.
        label: As written in the file; None where the file has no labels.
        source: File and line, such as `train.tsv:7`, for messages.
    """

    text: str
    pair: str | None
    label: str | None
    source: str
