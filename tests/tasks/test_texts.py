"""Long texts: read in windows, trained with the answer of the whole, and answered as one."""

import json

import numpy as np
import pytest

from kbert.data import Example, ScoredExample, TaggedText, labelled_rows
from kbert.errors import InputError
from kbert.evaluation import decode_labels
from kbert.tasks import (
    Classification,
    Columns,
    Embedding,
    MultiLabel,
    MultipleChoice,
    QuestionAnswering,
    Regression,
    Tagging,
)
from kbert.tasks.texts import prediction_of

WORDS = "the a is was not good bad film very play".split()


def rows(*triples):
    return [Example(text, pair, label, f"f:{line}") for line, (text, pair, label) in enumerate(triples, 2)]


LONG = rows((" ".join(WORDS), None, "x"), ("good film", None, "y"), ("", None, "x"))


def words_of(task, ids):
    return [[task.tokenizer.vocab.tokens[i] for i in row] for row in ids.to_list()]


@pytest.mark.parametrize(
    "stride, first_words", [(2, "the is not bad"), (None, "the is not bad"), (3, "the was bad")]
)
def test_windows_have_the_label_and_the_number_of_their_text(tokenizer, stride, first_words):
    task = Classification.learn(LONG, tokenizer, max_length=6, long_text="windows", stride=stride)
    encoded = task.encode(LONG)
    windows = words_of(task, encoded.inputs["token_ids"])
    count = len(first_words.split())
    assert [window[1] for window in windows[:count]] == first_words.split()
    assert windows[count:] == [["[CLS]", "good", "film", "[SEP]"], ["[CLS]", "[SEP]"]]
    assert windows[count - 1][-2] == "play" and max(map(len, windows)) == 6
    assert encoded.owner.tolist() == [0] * count + [1, 2]
    assert encoded.targets["label"].tolist() == [0] * count + [1, 0]
    assert encoded.num_truncated == 0


def test_the_default_cuts(tokenizer):
    task = Classification.learn(LONG, tokenizer, max_length=6)
    encoded = task.encode(LONG)
    assert words_of(task, encoded.inputs["token_ids"])[0] == ["[CLS]", "the", "a", "is", "was", "[SEP]"]
    assert encoded.num_truncated == 1 and len(encoded) == 3


@pytest.mark.parametrize(
    "pooling, label, score",
    [("mean", "y", 1.7 / 3), ("max", "y", 0.9 / 1.5), ("vote", "x", 0.6)],
)
def test_one_answer_a_text(tokenizer, pooling, label, score):
    """Three windows say x, x and y with 0.6, 0.6 and 0.9; the texts after it have one window each."""
    task = Classification.learn(
        LONG, tokenizer, max_length=6, long_text="windows", stride=3, window_pooling=pooling
    )
    of_windows = np.array([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.8, 0.2]])
    answers = task.answers(LONG, task.encode(LONG), {"logits": list(np.log(of_windows))})
    assert [answer["label"] for answer in answers] == [label, "y", "x"]
    assert [answer["score"] for answer in answers] == pytest.approx([score, 0.7, 0.8])


def test_of_many_labels_the_most_probable_are_written():
    probabilities = np.random.default_rng(1).permutation(101) / 101
    for count, kept in [(100, range(100)), (101, np.argsort(-probabilities)[:20])]:
        labels = [f"l{number}" for number in range(count)]
        (answer,) = decode_labels(probabilities[None, :count], labels)
        written = json.loads(json.dumps(prediction_of(LONG[1], {"gold": "y"}, answer)))
        assert written["label"] == answer["label"] and written["text"] == "good film"
        assert [*written["probabilities"].items()] == [(f"l{n}", probabilities[n]) for n in kept]


@pytest.mark.slow
def test_windows_learn_what_stands_behind_the_first(tokenizer, fine_tuned):
    """The words that tell the labels apart come after what fits into one window."""
    texts = [
        (" ".join([*"the film is was a".split()[: 5 - n % 2], word]), word)
        for n in range(8)
        for word in ("good", "bad")
    ]
    data = rows(*((text, None, label) for text, label in texts))
    task = Classification.learn(data, tokenizer, 6, long_text="windows", window_pooling="max")
    assert fine_tuned(task, data).scores["accuracy"] == 1.0
    cut = Classification.learn(data, tokenizer, 6)
    ids = cut.encode(data).inputs["token_ids"].to_list()
    assert ids[0] == ids[1]


def test_what_is_not_offered_is_refused(tokenizer):
    pairs = rows(("a", "b", "x"), ("a", "c", "y"))
    with pytest.raises(InputError, match="long_text='windows' is for single texts, but here are pairs"):
        Classification.learn(pairs, tokenizer, 16, long_text="windows")
    with pytest.raises(InputError, match="long_text='halves'; expected 'truncate' or 'windows'"):
        Classification.learn(LONG, tokenizer, 16, long_text="halves")
    with pytest.raises(InputError, match="window_pooling='best'; expected 'mean' or 'max' or 'vote'"):
        Classification.learn(LONG, tokenizer, 16, window_pooling="best")
    with pytest.raises(InputError, match="stride=15; .* 14 pieces .*expected 1 to 14"):
        Classification.learn(LONG, tokenizer, 16, long_text="windows", stride=15).encode(LONG)


@pytest.mark.parametrize("options", [{"stride": 3}, {"window_pooling": "max"}])
def test_settings_of_windows_are_refused_where_texts_are_cut(tokenizer, options):
    (name,) = options
    tagged = [TaggedText("good film", ((0, 4), (5, 9)), ("B-A", "O"), "f:1")]
    for kind, data, long_text in [
        (Classification, LONG, {}),
        (Classification, LONG, {"long_text": "truncate"}),
        *([(Tagging, tagged, {"long_text": "truncate"})] if name in Tagging.options else []),
    ]:
        refusal = f"^--{name} says nothing to --long_text=truncate; add --long_text=windows$"
        with pytest.raises(InputError, match=refusal):
            kind.learn(data, tokenizer, 16, **long_text, **options)
        kept = kind.learn(data, tokenizer, 16, long_text="windows", **options).spec
        assert kept[name] == options[name]
        # A model that was trained before this was told is read as ever.
        assert kind({**kept, "long_text": "truncate"}, tokenizer).spec[name] == options[name]


def test_from_python_pairs_come_where_they_belong(tokenizer):
    single = Classification.learn(LONG, tokenizer, 16)
    assert single.rows_of(["a", "b"]) == [
        Example("a", None, None, "texts"),
        Example("b", None, None, "texts"),
    ]
    with pytest.raises(InputError, match="fine-tuned on single texts; pairs came"):
        single.rows_of(["a"], ["b"])
    paired = Regression.learn(
        [ScoredExample("a", "b", 1.0, "f:2"), ScoredExample("a", "c", 2.0, "f:3")], tokenizer, 16
    )
    assert paired.rows_of(["a"], ["b"]) == [ScoredExample("a", "b", None, "texts")]
    with pytest.raises(InputError, match="fine-tuned on pairs of texts; no pairs came"):
        paired.rows_of(["a"])
    with pytest.raises(InputError, match="2 texts and 1 pairs came"):
        paired.rows_of(["a", "b"], ["c"])
    columns = [np.array(texts, object) for texts in (["a", "b"], ["c", "d"])]  # As tables have them.
    assert [(row.text, row.pair) for row in paired.rows_of(*columns)] == [("a", "c"), ("b", "d")]
    for missing in (float("nan"), None, 5):
        with pytest.raises(InputError, match=f"text 1 is {missing}; expected a string"):
            single.rows_of(["a", missing])
        with pytest.raises(InputError, match=f"text 0 is {missing}; expected a string"):
            paired.rows_of(["a"], [missing])


@pytest.mark.parametrize("kind", [Classification, MultiLabel, Regression, MultipleChoice, Embedding])
@pytest.mark.parametrize("settings", [{}, {"labelled": False}])
def test_the_split_is_that_of_the_columns(kind, settings, monkeypatch):
    def rows(name, split, data_dir):
        yield f"{name}:1", {"text": split, "text_pair": "b", "label": "1", "choices": ["c", "d"]}

    monkeypatch.setattr(labelled_rows, "_tfds_rows", rows)
    (row,) = kind.read("tfds:x", Columns(split="dev"), **settings)
    assert row.text == "dev"


def test_the_options_are_those_of_all_three(tokenizer):
    assert Classification.options == MultiLabel.options == Regression.options


@pytest.mark.parametrize(
    ("kind", "spec", "reads_pairs"),
    [
        (Classification, {"labels": ["a", "b"], "pair": True}, True),
        (Classification, {"labels": ["a", "b"], "pair": False}, False),
        (Regression, {"pair": True}, True),
        (MultipleChoice, {}, True),
        (QuestionAnswering, {"measure": "squad"}, True),
        (Embedding, {"pair": True, "form": "pairs"}, False),  # Each text is a sequence of its own.
    ],
)
def test_a_model_of_one_segment_reads_no_pairs(tokenizer, tiny_config, kind, spec, reads_pairs):
    task = kind({"max_length": 16, "lowercase": True, **spec}, tokenizer)
    task.check_config(tiny_config)
    one = tiny_config.replace(num_segments=1)
    if not reads_pairs:
        task.check_config(one)
        return
    with pytest.raises(InputError, match=f"num_segments=1 .type_vocab_size., but {kind.name} reads 2 texts"):
        task.check_config(one)
