import random

import pytest

from kbert.data import TaggedText
from kbert.errors import InputError
from kbert.evaluation.entity_decoding import decode_entities
from kbert.serving.client.answer_kinds import EMPTY_EXAMPLE, KINDS, find_kind, read_rows
from kbert.serving.client.entities import entities_of, join_entities
from kbert.serving.client.results import Answer, Candidate, Choice, Entity, MultiLabel, Score, Tagging, Word
from kbert.serving.client.transport import Signature
from kbert.tasks.tagging_answers import WordTag, answer_of

KIND = {(kind.task, "nbest" if "answers" in kind.outputs else ""): kind for kind in KINDS}


def words_of(text, tags, scores=None):
    """Words between spaces, with their places in characters."""
    words, start = [], 0
    for number, (word, tag) in enumerate(zip(text.split(), tags, strict=True)):
        start = text.index(word, start)
        words.append(Word(word, tag, start, start + len(word), scores[number] if scores else 1.0))
        start += len(word)
    return words


def found(text, tags):
    return [(entity.label, entity.text) for entity in join_entities(text, words_of(text, tags))]


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("O O O O", []),
        ("B-PER I-PER O B-LOC", [("PER", "a b"), ("LOC", "d")]),
        ("I-PER I-PER O O", [("PER", "a b")]),
        ("O I-PER O I-PER", [("PER", "b"), ("PER", "d")]),
        ("B-PER B-PER I-PER O", [("PER", "a"), ("PER", "b c")]),
        ("B-PER I-LOC O O", [("PER", "a"), ("LOC", "b")]),
        ("O O B-PER I-PER", [("PER", "c d")]),
        ("B-PER O I-PER O", [("PER", "a"), ("PER", "c")]),
        ("B-LOC-CITY I-LOC-CITY O O", [("LOC-CITY", "a b")]),
        ("S-PER B-PER M-PER E-PER", [("PER", "a"), ("PER", "b c d")]),
        ("B M E S", [("", "a b c"), ("", "d")]),
    ],
)
def test_tags_are_joined_to_entities(tags, entities):
    assert found("a b c d", tags.split()) == entities


def test_entities_are_those_of_the_pipeline():
    draw, tags = random.Random(3), ["O", *(f"{letter}-{type_}" for letter in "BIMES" for type_ in ("X", "Y"))]
    for _ in range(500):
        chosen = draw.choices(tags, k=6)
        text = "a bb  c dd e f"
        words = words_of(text, chosen)
        expected = decode_entities(text, [(word.start, word.end) for word in words], chosen)
        assert [
            {"type": e.label, "start": e.start, "end": e.end, "text": e.text}
            for e in join_entities(text, words)
        ] == expected


def test_an_entity_has_the_mean_of_its_words_scores():
    (entity,) = join_entities("New  York", words_of("New  York", ["B-LOC", "I-LOC"], [0.9, 0.6]))
    assert entity == Entity("LOC", "New  York", 0, 9, pytest.approx(0.75))


def test_scores_of_entities_are_those_of_the_pipeline():
    """One position may answer for several words, and a word of which no piece is left has score 0."""
    text, words = (
        "buy Xperia™ \u200b Z in New York",
        [(0, 3), (4, 10), (10, 11), (12, 13), (14, 15), (16, 18)],
    )
    row = TaggedText(text, (*words, (19, 22), (23, 27)), (), "f:1")
    said = [
        WordTag(0, 1, "O", 0.9), WordTag(1, 3, "B-MISC", 0.4), WordTag(4, 5, "I-MISC", 0.7),
        WordTag(5, 6, "O", 0.8), WordTag(6, 7, "B-LOC", 0.9), WordTag(7, 8, "I-LOC", 0.6),
    ]  # fmt: skip
    answer = answer_of(row, said, "BIO")
    names = ("words", "tags", "starts", "ends", "scores")
    joined = join_entities(text, list(map(Word, *(answer[name] for name in names))))
    assert [(e.text, e.score) for e in joined] == [(e["text"], e["score"]) for e in answer["entities"]]
    assert [e.text for e in joined] == ["Xperia™ \u200b Z", "New York"]
    assert [e.score for e in joined] == pytest.approx([(0.4 + 0.4 + 0.7) / 3, 0.75])


def test_parts_of_speech_are_no_entities():
    assert join_entities("a b", words_of("a b", ["NN", "O"])) is None
    with pytest.raises(InputError, match=r"m: its tags \(NN, O\) are no entities; use tag\(\)"):
        entities_of(Tagging(tuple(words_of("a b", ["NN", "O"])), None), "m")


def test_rows_of_tags_end_where_their_words_end():
    """Rows are filled up to the longest of the batch; offsets count code points, emoji as one."""
    text = "😀王小明 在北京"
    outputs = {
        "words": ["😀", "王", "小", "明", "在", "北", "京", "", ""],
        "tags": ["O", "B-PER", "I-PER", "I-PER", "O", "B-LOC", "I-LOC", "", ""],
        "scores": [0.9] * 7 + [0.0] * 2,
        "starts": [0, 1, 2, 3, 5, 6, 7, -1, -1],
        "ends": [1, 2, 3, 4, 6, 7, 8, -1, -1],
        "num_words": 7,
        "truncated": True,
    }
    (tagging,) = read_rows(KIND["tagging", ""], [{"text": text}], [outputs], None, "m")
    assert [word.text for word in tagging.words] == list(text.replace(" ", ""))
    assert [(e.label, e.text, text[e.start : e.end]) for e in tagging.entities] == [
        ("PER", "王小明", "王小明"),
        ("LOC", "北京", "北京"),
    ]
    assert tagging.truncated is True
    nothing = {name: [] for name in ("words", "tags", "scores", "starts", "ends")} | {"num_words": 0}
    (tagging,) = read_rows(KIND["tagging", ""], [{"text": ""}], [nothing], None, "m")
    assert tagging == Tagging((), ())


def test_no_answer_is_none():
    kind = KIND["question_answering", ""]
    answer = {"answer": "中国", "score": 3.5, "probability": 0.8, "null_score": 1.0, "start": 2, "end": 4}
    none = {"answer": "", "score": 4.0, "probability": 0.9, "null_score": 4.0, "start": -1, "end": -1}
    read = read_rows(kind, [{}, {}], [answer | {"truncated": False}, none], None, "m")
    assert read == [Answer("中国", 2, 4, 3.5, 0.8, False), None]


def test_the_best_answers():
    outputs = {
        "answers": ["b", "", "a", ""],
        "scores": [3.0, 2.0, 1.0, 0.0],
        "probabilities": [0.6, 0.3, 0.1, 0.0],
        "starts": [5, -1, 0, -1],
        "ends": [6, -1, 1, -1],
        "num_answers": 3,
    }
    (answers,) = read_rows(KIND["question_answering", "nbest"], [{}], [outputs], None, "m")
    assert answers == [Answer("b", 5, 6, 3.0, 0.6), None, Answer("a", 0, 1, 1.0, 0.1)]


def test_the_labels_of_a_text():
    kind, outputs = (
        KIND["multi_label", ""],
        {"probabilities": [0.9, 0.2, 0.6], "predicted": [True, False, True]},
    )
    (named,) = read_rows(kind, [{}], [outputs], ["food", "sport", "money"], "m")
    assert named == MultiLabel(("food", "money"), {"food": 0.9, "sport": 0.2, "money": 0.6})
    (numbered,) = read_rows(kind, [{}], [outputs], None, "m")
    assert numbered.labels == ("0", "2")
    with pytest.raises(
        InputError, match="m: the answer is not that of multi_label .*; was the model exchanged"
    ):
        read_rows(kind, [{}], [outputs], ["food", "sport"], "m")


def test_other_results():
    blanks = {
        "tokens": [["a", "b"], ["c", "d"], ["", ""]],
        "token_ids": [[1, 2], [3, 4], [-1, -1]],
        "scores": [[0.7, 0.1], [0.6, 0.2], [0.0, 0.0]],
        "num_masks": 2,
    }
    (filled,) = read_rows(KIND["fill_mask", ""], [{}], [blanks], None, "m")
    assert filled.masks == (
        (Candidate("a", 1, 0.7), Candidate("b", 2, 0.1)),
        (Candidate("c", 3, 0.6), Candidate("d", 4, 0.2)),
    )
    chosen = {
        "choice": "no",
        "choice_id": 1,
        "score": 0.7,
        "probabilities": [0.3, 0.7, 0.0],
        "truncated": False,
    }
    (choice,) = read_rows(KIND["multiple_choice", ""], [{"choices": ["yes", "no"]}], [chosen], None, "m")
    assert choice == Choice("no", 1, 0.7, (0.3, 0.7))
    assert read_rows(KIND["regression", ""], [{}], [{"score": 2.5}], None, "m") == [Score(2.5)]


# The outputs that docs/serving.md lists.
SERVED = {
    "classification": ("text", "label label_id score probabilities num_tokens truncated"),
    "multi_label": ("text text_pair", "probabilities predicted num_tokens truncated"),
    "regression": ("text text_pair", "score num_tokens truncated"),
    "tagging": ("text", "words tags scores starts ends num_words truncated"),
    "question_answering": (
        "question context",
        "answer score probability null_score start end num_windows truncated",
    ),
    "embedding": ("text", "embedding num_tokens truncated"),
    "multiple_choice": (
        "text question choices",
        "choice choice_id score probabilities num_tokens truncated",
    ),
    "fill_mask": ("text", "tokens token_ids scores num_masks num_tokens truncated"),
}


def signature(inputs, outputs):
    return Signature(frozenset(inputs.split()), frozenset(outputs.split()))


@pytest.mark.parametrize("task", SERVED)
def test_a_signature_says_what_the_model_is(task):
    inputs, outputs = SERVED[task]
    signatures = {"serving_default": signature(inputs, outputs)}
    assert find_kind(signatures, "serving_default", None, inputs.split(), "m").task == task


def test_the_message_names_what_the_model_offers():
    signatures = {
        "serving_default": signature(*SERVED["classification"]),
        "tokenize": signature("text", "token_ids tokens num_tokens truncated"),
        "__saved_model_init_op": signature("", "__saved_model_init_op"),
    }

    def message(name, method, inputs):
        with pytest.raises(InputError) as caught:
            find_kind(signatures, name, method, inputs, "m")
        return str(caught.value)

    assert "no model for tag()" in message("serving_default", "tag", ["text"])
    assert message("serving_default", "tag", ["text"]).endswith("use classify()")
    assert message("nbest", None, ["text"]) == "m: has no signature nbest; it has serving_default, tokenize"
    assert "use predict_rows()" in message("tokenize", None, ["text"])
    said = message("serving_default", "classify", ["text", "text_pair"])
    assert said == "m: signature serving_default takes text, but text, text_pair came; give just these"


def test_the_example_that_asks_for_labels():
    import tensorflow as tf

    (name,) = (example := tf.train.Example.FromString(EMPTY_EXAMPLE)).features.feature
    assert (name, list(example.features.feature[name].bytes_list.value)) == ("text", [b""])
