"""What the clients' typed methods return: one small class for each task."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Classification:
    """The one label of a text.

    Args:
        label: The likeliest.
        label_id: Its place in the model's order of labels, from 0.
        score: Its probability.
        probabilities: Of every label, in the model's order, which `Client.labels` tells.
        truncated: Whether something of the text was not read.
    """

    label: str
    label_id: int
    score: float
    probabilities: tuple[float, ...]
    truncated: bool = False


@dataclass(frozen=True)
class MultiLabel:
    """All labels of a text, none to many.

    Args:
        labels: Those that reach the model's threshold, in the model's order.
        probabilities: Of every label by its name, in the model's order. If the server does not tell the
            names, as exports of kbert do, numbers ("0") stand for them.
        truncated: Whether something of the text was not read.
    """

    labels: tuple[str, ...]
    probabilities: Mapping[str, float]
    truncated: bool = False


@dataclass(frozen=True)
class Score:
    """The number that a regression model gives a text or a pair.

    Args:
        value: In the units of its training file.
        truncated: Whether something of the text was not read.
    """

    value: float
    truncated: bool = False


@dataclass(frozen=True)
class Word:
    """A word and its tag.

    Args:
        text: As it stands in the text.
        tag: Such as `B-PER` or `NN`.
        start: Number of its first character (code point) in the text.
        end: Number of the character after its last one.
        score: The tag's probability; 0 for a word that was not read.
    """

    text: str
    tag: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Entity:
    """A run of words that is one thing, such as a person's name.

    Args:
        label: Its type, such as `PER`; empty where tags have none, as in word segmentation.
        text: `original[start:end]`.
        start: Number of its first character (code point) in the text.
        end: Number of the character after its last one.
        score: The mean of its words' scores.
    """

    label: str
    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Tagging:
    """A text, word by word.

    Args:
        words: In order, without padding.
        entities: In order; None if the tags are of another kind, such as parts of speech.
        truncated: Whether something of the text was not read.
    """

    words: tuple[Word, ...]
    entities: tuple[Entity, ...] | None
    truncated: bool = False


@dataclass(frozen=True)
class Answer:
    """The part of a passage that answers a question.

    Args:
        text: It, as it stands there.
        start: Number of its first character (code point) in the passage.
        end: Number of the character after its last one.
        score: The sum of two logits; compares the answers to one question.
        probability: Among the best answers to the question; None if the model does not say.
        truncated: Whether something of question or passage was not read; None if the model does not say.
    """

    text: str
    start: int
    end: int
    score: float
    probability: float | None = None
    truncated: bool | None = None


@dataclass(frozen=True)
class Choice:
    """The choice that fits.

    Args:
        text: It.
        index: Its place among the choices, from 0.
        score: Its probability.
        probabilities: Of all choices, in their order.
        truncated: Whether something was not read.
    """

    text: str
    index: int
    score: float
    probabilities: tuple[float, ...]
    truncated: bool = False


@dataclass(frozen=True)
class Candidate:
    """A token that fits in a blank.

    Args:
        token: A piece of the vocabulary; one that goes on a word begins with `##`.
        token_id: Its row there.
        score: Its probability.
    """

    token: str
    token_id: int
    score: float


@dataclass(frozen=True)
class FilledMasks:
    """What fits in the blanks of a text.

    Args:
        masks: For each [MASK], in order, its candidates, the likeliest first.
        truncated: Whether a part of the text, or a [MASK], was not read.
    """

    masks: tuple[tuple[Candidate, ...], ...]
    truncated: bool = False


@dataclass(frozen=True)
class Embedding:
    """A text as a point in space.

    Args:
        vector: float, H of them.
        truncated: Whether something of the text was not read.
    """

    vector: tuple[float, ...]
    truncated: bool = False
