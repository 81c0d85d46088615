"""`Tagging`: a tag for each word: names of things, parts of speech, where words end."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from kbert import data, features
from kbert.data import TaggedText
from kbert.data.tagging_readers import split_words
from kbert.errors import InputError
from kbert.evaluation import (
    Mark,
    MarkedText,
    WrongAnswer,
    conll_columns,
    decode_entities,
    entity_measures,
    entity_scores,
)
from kbert.layers import allowed_transitions
from kbert.models import BertTagger, TaggingObjective
from kbert.tag_schemes import Entity, entities_of, scheme_of_set, split_tag, tags_of
from kbert.tasks.tagging_answers import answer_of, stitch
from kbert.tasks.tagging_encoding import encode_words
from kbert.tasks.task import Columns, Task, refuse_data_set
from kbert.tasks.texts import check_texts, check_windows_wanted

#: Of `--scheme`: how entities are written for the model, whatever the file has.
_SCHEMES = ("BIO", "BIOES", "none")
_LONG_TEXT = ("windows", "truncate")


class Tagging(Task):
    """Every word is answered: named entities, word segmentation, parts of speech.

    Where tags are written as `kbert.tag_schemes` reads them, they stand for entities: they are converted to
    one scheme for the model, and it is entities that are answered and scored. Other tags, such as parts
    of speech, are taken as they are (`scheme` in `spec` is None).

    A text that is longer than `max_length` is read in windows, each word being answered by the one that
    shows most of its context; with `long_text="truncate"` the words at its end have no answer. `stride` is
    the pieces from the beginning of one window to that of the next, None being half of what one holds.
    """

    name = "tagging"
    best_score = "f1"
    options = {"scheme": "BIO", "crf": False, "long_text": "windows", "stride": None}
    kept_of_columns = ("word_column", "tag_column", "joined")

    def __init__(self, spec, tokenizer):
        if "scheme" not in spec:
            # A model from Hugging Face does not say it. One odd tag, and no text with it could be answered.
            scheme = scheme_of_set(spec["tags"])
            spec = {"scheme": scheme, **({"best_score": "accuracy"} if scheme is None else {}), **spec}
        super().__init__(spec, tokenizer)
        if self.spec["long_text"] not in _LONG_TEXT:
            raise InputError(f"long_text={self.spec['long_text']!r}; expected {' or '.join(_LONG_TEXT)}")

    @classmethod
    def learn(cls, rows, tokenizer, max_length, best_score=None, **options):
        scheme = options.get("scheme", cls.options["scheme"])
        if scheme not in _SCHEMES:
            raise InputError(f"scheme={scheme!r}; expected one of {', '.join(_SCHEMES)}")
        if scheme == "none" or not _are_entities(rows):
            scheme, best_score = None, best_score or "accuracy"
        tags = _plain_tags(rows) if scheme is None else _entity_tags(rows, scheme)
        settled = {**options, "scheme": scheme, "tags": tags}
        task = super().learn(rows, tokenizer, max_length, best_score, **settled)
        check_windows_wanted(task.spec["long_text"], options)
        return task

    @classmethod
    def read(cls, source, columns, labelled=True):
        refuse_data_set(source, cls.name)
        columns.refuse_others(cls.name, ("text", "label", "names"))
        if _is_json(source):
            if columns.names:
                raise InputError(f"{source}: --columns is for files of columns; JSON names its own")
            return data.read_entities(
                source, text_column=columns.text, entities_column=columns.label, labelled=labelled
            )
        word_column, tag_column = _column_numbers(columns)
        return data.read_conll(
            source,
            word_column=word_column,
            tag_column=tag_column if labelled else None,
            num_columns=len(columns.names) if columns.names else None,
            joined=columns.joined,
        )

    @classmethod
    def columns_to_keep(cls, source, columns, rows):
        if _is_json(source):
            return {}  # Its columns have names, which say nothing of the numbers in other files.
        kept = (*_column_numbers(columns), _are_joined(rows))
        return dict(zip(cls.kept_of_columns, kept, strict=True))

    @classmethod
    def faults(cls, train, dev):
        return data.tagging_faults(train, dev)

    @property
    def tags(self) -> list[str]:
        """The tags; the place in the list is the id."""
        return self.spec["tags"]

    @property
    def scheme(self) -> str | None:
        """How the tags write entities; None if they do not."""
        return self.spec["scheme"]

    @property
    def comparable_scores(self):
        return ("accuracy",) if self.scheme is None else ("f1", "macro_f1", "accuracy")

    def rows_of(self, texts):
        check_texts(texts)
        return [TaggedText(text, tuple(split_words(text)), (), "texts") for text in texts]

    def encode(self, rows, labelled=True):
        max_length, stride = self.spec["max_length"], None
        if self.spec["long_text"] == "windows":
            stride = self.spec["stride"]
            stride = max(1, (max_length - 2) // 2) if stride is None else stride
        tag_ids = {tag: number for number, tag in enumerate(self.tags)} if labelled else None
        if tag_ids is not None:
            rows = self._in_scheme(rows)
            _check_tags(rows, tag_ids)
        return encode_words(
            rows,
            self.tokenizer,
            max_length=max_length,
            stride=stride,
            tag_ids=tag_ids,
            scheme=self.scheme if self.spec["crf"] else None,
        )

    def blank_model(self, config, dtype=None, **kwargs):
        crf = self.spec["crf"]
        constraints = allowed_transitions(self.tags, self.scheme) if crf and self.scheme else None
        return BertTagger(config, len(self.tags), crf, constraints, dtype=dtype, **kwargs)

    def objective(self, model):
        return TaggingObjective(model)

    def predictions(self, model, inputs):
        """`tag_ids` int32 and `score` float32, (B, W): the tags, and how probable each is in its place."""
        outputs = model(inputs, training=False)
        tag_ids = model.decode(outputs)
        if model.crf is None:
            probabilities = tf.nn.softmax(outputs[features.LOGITS])
        else:
            probabilities = model.crf.marginals(outputs[features.LOGITS], outputs[features.WORD_MASK])
        score = tf.gather(probabilities, tag_ids, axis=2, batch_dims=2)
        return {features.TAG_IDS: tag_ids, features.SCORE: score}

    def answers(self, rows, encoded, outputs):
        said = stitch(encoded, outputs, self.tags, len(rows))
        return [answer_of(row, of_row, self.scheme) for row, of_row in zip(rows, said, strict=True)]

    def scores(self, rows: Sequence[TaggedText], answers):
        """As conlleval and seqeval count; of tags that are no entities the `accuracy` alone."""
        gold = [row.tags for row in self._in_scheme(rows)]
        predicted = [answer["tags"] for answer in answers]
        if self.scheme is not None:
            return entity_scores(gold, predicted)
        hits = sum(sum(map(str.__eq__, *pair)) for pair in zip(gold, predicted, strict=True))
        return {"accuracy": hits / max(1, sum(map(len, gold)))}

    def prediction_row(self, row: TaggedText, answer: dict):
        # In the scheme of the answer's own tags, so that the two can be compared. No words have no tags.
        is_labelled = len(row.tags) == len(row.words)
        gold = {"gold": list(self._in_scheme([row])[0].tags)} if is_labelled else {}
        return {"source": row.source, "text": row.text, **gold, **answer}

    def report_parts(self, rows: Sequence[TaggedText], answers):
        if self.scheme is None:
            return _parts_of_plain_tags(rows, answers)
        gold = [row.tags for row in self._in_scheme(rows)]
        predicted = [answer["tags"] for answer in answers]
        return {
            "measures": entity_measures(gold, predicted),
            "per_label": entity_scores(gold, predicted)["per_type"],
            "errors": [
                WrongAnswer(
                    row.source, [MarkedText(row.text, marks=_marks(row, tags, answer))], "", "", doubt
                )
                for row, tags, answer in zip(rows, gold, answers, strict=True)
                if (doubt := _wrong_confidence(row, tags, answer)) is not None
            ],
        }

    def submission(self, rows: Sequence[TaggedText], answers: Sequence[Mapping]):
        """Word, tag of the file and predicted tag a line, for `conlleval.pl`; entities are written in BIO."""
        sentences = []
        for row, answer in zip(rows, answers, strict=True):
            tags = [*([row.tags] if row.tags else []), answer["tags"]]
            if self.scheme is not None:
                tags = [tags_of(entities_of(of_words), len(of_words)) for of_words in tags]
            sentences.append([answer["words"], *tags])
        return {"predictions.conll": conll_columns(sentences)}

    def _in_scheme(self, rows: Sequence[TaggedText]) -> Sequence[TaggedText]:
        return rows if self.scheme is None else data.convert_tags(rows, self.scheme)


def _is_json(source: str) -> bool:
    return Path(source).suffix.lower() in (".jsonl", ".json")


def _column_numbers(columns: Columns) -> tuple[int, int]:
    """Of words and of tags, in a file of columns."""
    return (
        _column_number("text", columns.text, columns.names, columns.word_column),
        _column_number("label", columns.label, columns.names, columns.tag_column),
    )


def _column_number(role: str, asked: str | None, names: Sequence[str] | None, customary: int) -> int:
    if asked is None:
        return customary
    if names and asked in names:
        return names.index(asked)
    if not asked.removeprefix("-").isdecimal():
        raise InputError(
            f"--{role}_column={asked}; expected a number, from 0 for the first column or -1 for the last, or "
            f"one of the names in --columns"
        )
    return int(asked)


def _are_joined(rows: Sequence[TaggedText]) -> bool | None:
    """Whether no space stands between the words of a file; None where no text has two of them."""
    return next((row.words[0][1] == row.words[1][0] for row in rows if len(row.words) > 1), None)


def _are_entities(rows: Sequence[TaggedText]) -> bool:
    """Whether most tags are written by the rules; a single odd one is then a fault to be told."""
    fitting = total = 0
    for row in rows:
        total += len(row.tags)
        fitting += sum(map(_is_entity_tag, row.tags))
    return 2 * fitting > total


def _is_entity_tag(tag: str) -> bool:
    try:
        split_tag(tag)
    except InputError:
        return False
    return True


def _entity_tags(rows: Sequence[TaggedText], scheme: str) -> list[str]:
    """All tags that the types need in the scheme, also those that happen not to occur in the rows."""
    rows = data.convert_tags(rows)
    types = sorted({entity.type for row in rows for entity in entities_of(row.tags)})
    if not types:
        raise InputError(f"{rows[0].source}: all {len(rows)} texts are without an entity; expected some")
    every_letter = [tags_of([Entity(type_, 0, 1), Entity(type_, 1, 4)], 4, scheme) for type_ in types]
    return list(dict.fromkeys(["O", *(tag for tags in every_letter for tag in tags)]))


def _plain_tags(rows: Sequence[TaggedText]) -> list[str]:
    tags = sorted({tag for row in rows for tag in row.tags})
    if len(tags) < 2:
        raise InputError(f"{rows[0].source}: all words have the tag {tags[0]!r}; expected at least 2 tags")
    return tags


def _check_tags(rows: Sequence[TaggedText], tag_ids: Mapping[str, int]) -> None:
    """Warns of tags that the model does not know, as a test file may have them: they cannot be right.

    Raises:
        InputError: Most words have such a tag: it is another file's, or another column.
    """
    unseen = [(tag, row.source) for row in rows for tag in row.tags if tag not in tag_ids]
    if 2 * len(unseen) > sum(len(row.tags) for row in rows):
        tag, source = unseen[0]
        raise InputError(
            f"{source}: tag {tag!r} was not seen in training, nor those of most words; expected one of "
            f"{data.listed(tag_ids)}; is it the right file, and the right --label_column?"
        )
    if unseen:
        logging.warning(
            "%d words have a tag that was not seen in training, such as %r (%s); they cannot be right",
            len(unseen),
            *unseen[0],
        )


def _marks(row: TaggedText, gold: Sequence[str], answer: Mapping) -> list[Mark]:
    right = [
        Mark(e["start"], e["end"], e["type"], "gold") for e in decode_entities(row.text, row.words, gold)
    ]
    return right + [Mark(e["start"], e["end"], e["type"], "predicted") for e in answer["entities"]]


def _parts_of_plain_tags(rows: Sequence[TaggedText], answers: Sequence[Mapping]) -> dict:
    """`report_parts` of tags that are no entities: the share of right words, and where others stand."""
    wrong = [
        [place for place, pair in enumerate(zip(row.tags, answer["tags"], strict=True)) if len(set(pair)) > 1]
        for row, answer in zip(rows, answers, strict=True)
    ]
    misses, words = np.array([len(places) for places in wrong]), np.array([len(row.tags) for row in rows])
    errors = []
    for row, answer, places in zip(rows, answers, wrong, strict=True):
        if places:
            said = [(row.tags, "gold"), (answer["tags"], "predicted")]
            marks = [Mark(*row.words[i], tags[i], role) for tags, role in said for i in places]
            doubt = max(answer["scores"][i] for i in places)
            errors.append(WrongAnswer(row.source, [MarkedText(row.text, marks=marks)], "", "", doubt))
    return {
        "measures": lambda chosen: {
            "accuracy": float(1 - misses[chosen].sum() / max(1, words[chosen].sum()))
        },
        "errors": errors,
    }


def _wrong_confidence(row: TaggedText, gold: Sequence[str], answer: Mapping) -> float | None:
    """How sure the model was of its surest wrong entity, 0 if it only missed some; None if all is right."""
    right = {(e["start"], e["end"], e["type"]) for e in decode_entities(row.text, row.words, gold)}
    said = {(e["start"], e["end"], e["type"]): e["score"] for e in answer["entities"]}
    if right == set(said):
        return None
    return max((score for entity, score in said.items() if entity not in right), default=0.0)
