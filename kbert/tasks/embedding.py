"""`Embedding`: a vector for a text, so that what belongs together lies close together."""

from collections.abc import Sequence

import numpy as np
from absl import logging

from kbert import data, features
from kbert.data import DataFault, EncodedRows, Example, ScoredExample, Triple
from kbert.errors import InputError
from kbert.evaluation import (
    MarkedText,
    WrongAnswer,
    number_pairs,
    plain_answer,
    recalls,
    regression_scores,
    right_ranks,
    tied_ranks,
    unit_vectors,
)
from kbert.models import BertEmbedder, CosineRegressionObjective, InBatchNegativesObjective
from kbert.tasks.task import Task, owners
from kbert.tasks.texts import check_texts

#: What is measured, the most telling first: of pairs with a score, and of texts that belong together.
_SCORES = {"scored": ("spearman", "pearson"), "found": ("recall@1", "recall@5", "recall@10")}
#: From so many on, to look for each text among all of them takes minutes, after each epoch anew.
_MANY_ROWS = 100_000


class Embedding(Task):
    """Search, grouping, finding duplicates: texts are compared by the cosine of their vectors.

    What the columns of the training file hold decides what is learned (`form` in `spec`): of `scored` pairs
    the cosine follows the score; of `pairs` that belong together, and `triples` with a third text that does
    not, each first text learns to find its second one among those of the batch. A model that was trained on
    one of them may be measured on another.
    """

    name = "embedding"
    options = {"pooling": "mean", "normalize": True}
    best_score = "spearman"

    @classmethod
    def read(cls, source, columns, labelled=True):
        columns.refuse_others(cls.name, ("text", "pair", "label", "names"))
        texts = {"text_column": columns.text, "columns": columns.names, "split": columns.split}
        if not labelled:
            return data.read_anchors(source, **texts)
        return data.read_similar_texts(source, pair_column=columns.pair, score_column=columns.label, **texts)

    @classmethod
    def learned(cls, rows):
        form = _form(rows)
        if form != "scored":
            return {"pair": True, "form": form, "best_score": "recall@1"}
        scores = data.varied_scores(rows)
        return {
            "pair": True, "form": form, "lowest": float(scores.min()), "highest": float(scores.max())
        }  # fmt: skip

    @classmethod
    def faults(cls, train, dev):
        if dev and isinstance(train[0], Triple) != isinstance(dev[0], Triple):
            return [*_faults(train), *_faults(dev)]
        return _faults(train, dev)

    @property
    def comparable_scores(self):
        return ("spearman", "pearson", "recall@1", "recall@5", "recall@10")

    def check_best_score(self, rows):
        names = _SCORES["scored" if _form(rows) == "scored" else "found"]
        if self.best_score not in names:
            raise InputError(
                f"{rows[0].source}: rows of this form are measured by {', '.join(names)}, not by "
                f"{self.best_score}, by which runs are compared here; set --best_score={names[0]}"
            )

    def rows_of(self, texts):
        check_texts(texts)
        return [Example(text, None, None, "texts") for text in texts]

    def encode(self, rows, labelled=True):
        texts = [_texts_of(row) for row in rows]
        for row, own in zip(rows, texts, strict=True):
            if len(own) != len(texts[0]):
                raise InputError(
                    f"{row.source}: has {len(own)} texts, the first row {len(texts[0])}; "
                    f"expected as many in each"
                )
        inputs, truncated = data.encode_texts(
            [text for own in texts for text in own], None, self.tokenizer, self.spec["max_length"]
        )
        if _form(rows) != "single":
            counts = [len(own) for own in texts]
            inputs = {name: data.group_rows(ids, counts) for name, ids in inputs.items()}
        num_truncated = int(truncated.reshape(len(rows), -1).any(1).sum())
        targets = self._targets(rows, texts) if labelled else {}
        return EncodedRows(inputs, targets, owners(len(rows)), num_truncated, {})

    def blank_model(self, config, dtype=None, **kwargs):
        return BertEmbedder(config, self.spec["pooling"], self.spec["normalize"], dtype=dtype, **kwargs)

    def objective(self, model):
        return CosineRegressionObjective() if self.spec["form"] == "scored" else InBatchNegativesObjective()

    def answers(self, rows, encoded, outputs):
        vectors = np.stack(outputs[features.EMBEDDING])
        if _form(rows) == "single":
            return [{features.EMBEDDING: vector} for vector in vectors]
        cosines = (unit_vectors(vectors[:, 0]) * unit_vectors(vectors[:, 1])).sum(1).tolist()
        if _form(rows) == "scored":
            return [{"similarity": cosine} for cosine in cosines]
        # A second text that stands in several rows is in the pool once.
        first: dict[str, int] = {}
        for number, row in enumerate(rows):
            first.setdefault(row.positive, number)
        if len(rows) > _MANY_ROWS:
            logging.warning(
                "each of %d texts is looked for among %d, which takes long; a few thousand rows tell as much",
                len(rows),
                len(first),
            )
        places = {text: place for place, text in enumerate(first)}
        right = np.array([places[row.positive] for row in rows])
        ranks = right_ranks(vectors[:, 0], vectors[list(first.values()), 1], right).tolist()
        return [{"similarity": cosine, "rank": rank} for cosine, rank in zip(cosines, ranks, strict=True)]

    def scores(self, rows: Sequence, answers):
        """Of scored pairs the correlations of cosine and score; else how often the second text is found."""
        return _measures(rows, answers)(np.arange(len(rows)))

    def report_parts(self, rows: Sequence, answers):
        parts = {"measures": _measures(rows, answers)}
        return parts | (_of_scored if _form(rows) == "scored" else _of_found)(rows, answers)

    def prediction_row(self, row, answer):
        gold = {"gold": row.score} if isinstance(row, ScoredExample) else {}
        names = ("text", "text_pair", "negative")
        texts = dict(zip(names, _texts_of(row), strict=False))
        return {"source": row.source, **texts, **gold, **plain_answer(answer)}

    def _targets(self, rows, texts) -> dict[str, np.ndarray]:
        """What the form of the training rows asks for; nothing for rows of another form, only measured on."""
        if _form(rows) != self.spec["form"]:
            return {}
        if self.spec["form"] == "scored":
            scores = np.array([row.score for row in rows], np.float64) - self.spec["lowest"]
            return {
                features.SCORE: (scores / (self.spec["highest"] - self.spec["lowest"])).astype(np.float32)
            }
        numbers = {text: number for number, text in enumerate(dict.fromkeys(t for own in texts for t in own))}
        return {features.TEXT_NUMBERS: np.array([[numbers[text] for text in own] for own in texts], np.int32)}


def _faults(train: Sequence, dev: Sequence = ()) -> list[DataFault]:
    return (data.similarity_faults if isinstance(train[0], Triple) else data.score_faults)(train, dev)


def _measures(rows: Sequence, answers):
    """The scores of chosen rows, by their numbers."""
    if _form(rows) != "scored":
        ranks = np.array([answer["rank"] for answer in answers])
        return lambda chosen: recalls(ranks[chosen])
    gold, cosines = _numbers(rows, answers)

    def correlations(chosen):
        scores = regression_scores(gold[chosen], cosines[chosen])
        return {name: scores[name] for name in ("spearman", "pearson")}

    return correlations


def _of_scored(rows: Sequence[ScoredExample], answers) -> dict:
    """For a report: cosines beside scores, and the pairs whose places in the two rankings differ most."""
    gold, cosines = _numbers(rows, answers)
    # Of ranks: cosine and score have no common scale, and it is ranks that Spearman compares.
    distances = np.abs(tied_ranks(gold) - tied_ranks(cosines))
    return {
        "number_pairs": number_pairs(gold, cosines),
        "numbers_are": "cosine",
        "errors_by": "distance of ranks",
        "errors": [
            WrongAnswer(row.source, _marked(row, "first", "second"), f"{right:g}", f"{said:.3g}", distance)
            for row, right, said, distance in zip(
                rows, gold.tolist(), cosines.tolist(), distances.tolist(), strict=True
            )
            if distance != 0
        ],
    }


def _of_found(rows: Sequence[Triple], answers) -> dict:
    """For a report: the texts whose own second text was not found first."""
    return {
        "errors_by": "rank",
        "errors": [
            WrongAnswer(
                row.source,
                _marked(row, "anchor", "positive", "negative"),
                "rank 1",
                f"rank {answer['rank']:,}",
                answer["rank"],
            )
            for row, answer in zip(rows, answers, strict=True)
            if answer["rank"] > 1
        ],
    }


def _numbers(rows: Sequence[ScoredExample], answers) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row.score for row in rows]), np.array([answer["similarity"] for answer in answers])


def _marked(row, *names: str) -> list[MarkedText]:
    return [MarkedText(text, name) for text, name in zip(_texts_of(row), names, strict=False)]


def _form(rows: Sequence) -> str:
    if isinstance(rows[0], Triple):
        return "pairs" if rows[0].negative is None else "triples"
    return "scored" if isinstance(rows[0], ScoredExample) else "single"


def _texts_of(row: Triple | ScoredExample | Example) -> tuple[str, ...]:
    if isinstance(row, Triple):
        texts = (row.anchor, row.positive, row.negative)
    else:
        texts = (row.text, row.pair)
    return tuple(text for text in texts if text is not None)
