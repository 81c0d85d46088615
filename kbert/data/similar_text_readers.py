"""Reads texts to learn sentence vectors from: scored pairs, pairs that belong together, and triples."""

from collections.abc import Sequence
from dataclasses import dataclass

from kbert.data.examples import Example
from kbert.data.labelled_rows import Column, read_columns
from kbert.data.readers import PAIR_COLUMNS, SCORE_COLUMNS, TEXT_COLUMNS, ScoredExample, read_scored_examples
from kbert.errors import InputError

_ANCHOR_COLUMNS = ("anchor", "query", *TEXT_COLUMNS)


@dataclass(frozen=True)
class Triple:
    """Texts that belong together, and one that does not, to learn sentence vectors from.

    Args:
        anchor: A text.
        positive: One that belongs to it.
        negative: One that does not, or None where the file has none.
        source: File and line.
    """

    anchor: str
    positive: str
    negative: str | None
    source: str


def read_triples(
    source: str,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    columns: Sequence[str] | None = None,
    split: str = "train",
    data_dir: str | None = None,
) -> list[Triple]:
    """All rows of a file with texts that belong together.

    Args:
        source: As for `read_examples`. If it has triples, the column of the third texts is `negative`.
        text_column: The anchor; None looks for `anchor`, `query` or one of the customary names of a text.
        pair_column: The positive; None looks for `positive` or one of those of a second text.
        columns: As for `read_examples`.
        split: As for `read_examples`.
        data_dir: As for `read_examples`.

    Raises:
        InputError: As for `read_examples`; or a text is missing.
    """
    wanted = [
        Column("text", text_column, _ANCHOR_COLUMNS),
        Column("pair", pair_column, ("positive", *PAIR_COLUMNS)),
        Column("negative", None, ("negative",), required=False),
    ]
    rows = read_columns(source, wanted, names=columns, split=split, data_dir=data_dir)
    return [Triple(str(texts[0]), str(texts[1]), texts[2] and str(texts[2]), place) for place, texts in rows]


def read_anchors(
    source: str,
    *,
    text_column: str | None = None,
    columns: Sequence[str] | None = None,
    split: str = "train",
    data_dir: str | None = None,
) -> list[Example]:
    """The first or only texts of a file, whatever else it has: those that are to have a vector.

    Args:
        source: As for `read_examples`.
        text_column: As for `read_triples`.
        columns: As for `read_examples`.
        split: As for `read_examples`.
        data_dir: As for `read_examples`.

    Raises:
        InputError: As for `read_examples`.
    """
    wanted = [Column("text", text_column, _ANCHOR_COLUMNS)]
    rows = read_columns(source, wanted, names=columns, split=split, data_dir=data_dir)
    return [Example(str(text), None, None, place) for place, (text,) in rows]


def read_similar_texts(
    source: str,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    score_column: str | None = None,
    columns: Sequence[str] | None = None,
    split: str = "train",
    data_dir: str | None = None,
) -> list[ScoredExample] | list[Triple]:
    """All rows of a file to learn sentence vectors from: scored pairs, pairs or triples, as its columns say.

    Args:
        source: As for `read_examples`.
        text_column: As for `read_triples`.
        pair_column: As for `read_triples`.
        score_column: How similar the two texts of a pair are; None looks for a customary name, `""` reads
            pairs that belong together.
        columns: As for `read_examples`.
        split: As for `read_examples`.
        data_dir: As for `read_examples`.

    Raises:
        InputError: As for `read_scored_examples` and `read_triples`.
    """
    where = {"split": split, "data_dir": data_dir}
    texts = {"text_column": text_column, "pair_column": pair_column, "columns": columns, **where}
    score = Column("score", score_column, SCORE_COLUMNS, required=False, may_vary=True)
    has_score = {
        place: value is not None
        for place, (value,) in read_columns(source, [score], names=columns, told=False, **where)
    }
    if not any(has_score.values()):
        return read_triples(source, **texts)
    if not all(has_score.values()):
        with_one, without = (next(p for p in has_score if has_score[p] is said) for said in (True, False))
        raise InputError(
            f"{without}: has no score, {with_one} has one; expected one in each row, or --label_column= to "
            f"read pairs that belong together"
        )
    rows = read_scored_examples(source, score_column=score_column, no_label="", **texts)
    if rows[0].pair is None:
        raise InputError(f"{rows[0].source}: there is a score but no second text; set --pair_column")
    return rows
