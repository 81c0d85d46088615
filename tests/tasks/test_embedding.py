"""Sentence vectors: what each form of file teaches, and whether texts find what belongs to them."""

import numpy as np
import pytest

from kbert.data import Example, ScoredExample, Triple
from kbert.errors import InputError
from kbert.inference import Predictor
from kbert.models import CosineRegressionObjective, InBatchNegativesObjective
from kbert.tasks import Columns, Embedding, embedding, task_class

PAIRS = [
    Triple("good film", "very good", None, "f:2"),
    Triple("bad play", "not good", None, "f:3"),
    Triple("the film", "very good", None, "f:4"),
    Triple("a", "was", None, "f:5"),
]
TRIPLES = [Triple("good", "very good", "bad", "f:2"), Triple("bad", "not good", "good", "f:3")]
SCORED = [
    ScoredExample("good", "very good", 4.0, "f:2"),
    ScoredExample("bad", "film", 1.0, "f:3"),
    ScoredExample("the play", "a play", 3.0, "f:4"),
]


def make_task(rows, tokenizer, **options):
    return task_class("embedding")(Embedding.learn(rows, tokenizer, 12, **options).spec, tokenizer)


@pytest.mark.parametrize(
    "rows, form, objective, best",
    [
        (PAIRS, "pairs", InBatchNegativesObjective, "recall@1"),
        (TRIPLES, "triples", InBatchNegativesObjective, "recall@1"),
        (SCORED, "scored", CosineRegressionObjective, "spearman"),
    ],
)
def test_the_rows_decide_what_is_learned(rows, form, objective, best, tokenizer):
    task = make_task(rows, tokenizer)
    assert task.spec["form"] == form and task.best_score == best
    assert type(task.objective(None)) is objective
    assert make_task(rows, tokenizer, best_score="recall@5").best_score == "recall@5"
    with pytest.raises(InputError, match="best_score='accuracy'.*spearman or pearson or recall@1"):
        make_task(rows, tokenizer, best_score="accuracy")


def test_the_score_must_be_one_of_the_rows_it_is_measured_on(tokenizer, fine_tuned):
    """A model of pairs may be measured on scored ones: by a score of those."""
    for train, dev, names in [
        (PAIRS, SCORED, "spearman, pearson, not by recall@1,.*--best_score=spearman"),
        (SCORED, TRIPLES, "recall@1, recall@5, recall@10, not by spearman,.*--best_score=recall@1"),
    ]:
        with pytest.raises(InputError, match=f"f:2: rows of this form are measured by {names}"):
            make_task(train, tokenizer).check_best_score(dev)
        make_task(train, tokenizer).check_best_score(train)
    make_task(PAIRS, tokenizer, best_score="pearson").check_best_score(SCORED)
    with pytest.raises(InputError, match="rows of this form"):
        fine_tuned(make_task(PAIRS, tokenizer), PAIRS, dev=SCORED)


def test_texts_from_python_are_strings(tokenizer):
    with pytest.raises(InputError, match="text 1 is nan; expected a string"):
        make_task(PAIRS, tokenizer).rows_of(["good", float("nan")])


def test_inputs_and_targets(tokenizer):
    encoded = make_task(PAIRS, tokenizer).encode(PAIRS)
    ids = encoded.inputs["token_ids"].to_list()
    words = [[tokenizer.vocab.tokens[i] for i in text] for text in ids[1]]
    assert words == [["[CLS]", "bad", "play", "[SEP]"], ["[CLS]", "not", "good", "[SEP]"]] and len(ids) == 4
    assert encoded.targets["text_numbers"].tolist() == [[0, 1], [2, 3], [4, 1], [5, 6]]
    assert make_task(TRIPLES, tokenizer).encode(TRIPLES).targets["text_numbers"].tolist() == [
        [0, 1, 2],
        [2, 3, 0],
    ]
    targets = make_task(SCORED, tokenizer).encode(SCORED).targets
    np.testing.assert_allclose(targets["score"], [1, 0, 2 / 3], rtol=1e-6)
    assert make_task(PAIRS, tokenizer).encode(SCORED).targets == {}  # Another form is only measured on.
    long = [Triple("film " * 20, "a", None, "f:2"), Triple("film " * 20, "film " * 20, None, "f:3"), PAIRS[0]]
    assert make_task(PAIRS, tokenizer).encode(long).num_truncated == 2
    with pytest.raises(InputError, match="f:2: has 3 texts, the first row 2"):
        make_task(PAIRS, tokenizer).encode([PAIRS[0], TRIPLES[0]])


def test_a_text_that_comes_twice_is_in_the_pool_once(tokenizer):
    """Both rows with "very good" find it first, though one of them has it as the third row."""
    task = make_task(PAIRS, tokenizer)
    one, two, three = np.eye(3)
    vectors = [[one, one], [two, three + 0.1 * two], [one + 0.1 * two, one], [three, two + 0.5 * three]]
    answers = task.answers(PAIRS, task.encode(PAIRS), {"embedding": [np.array(row) for row in vectors]})
    assert [answer["rank"] for answer in answers] == [1, 2, 1, 2]
    assert answers[1]["similarity"] == pytest.approx(0.1 / np.sqrt(1.01))
    assert task.scores(PAIRS, answers) == {"recall@1": 0.5, "recall@5": 1.0, "recall@10": 1.0}
    assert task.prediction_row(PAIRS[0], answers[0]) == {
        "source": "f:2", "text": "good film", "text_pair": "very good", **answers[0]
    }  # fmt: skip


def test_a_search_among_very_many_texts_is_told(tokenizer, monkeypatch, caplog):
    monkeypatch.setattr(embedding, "_MANY_ROWS", 3)
    task = make_task(PAIRS, tokenizer)
    for rows, told in [(PAIRS[:3], ""), (PAIRS, "each of 4 texts is looked for among 3, which takes long")]:
        task.answers(rows, task.encode(rows), {"embedding": [np.ones((2, 3))] * len(rows)})
        assert told in caplog.text and bool(told) == bool(caplog.text)


def test_scores_of_scored_pairs(tokenizer):
    task = make_task(SCORED, tokenizer)
    cosines = [0.9, -0.2, 0.1]
    vectors = [np.array([[2.0, 0.0], [c, np.sqrt(1 - c * c)]]) for c in cosines]
    answers = task.answers(SCORED, task.encode(SCORED), {"embedding": vectors})
    assert [answer["similarity"] for answer in answers] == pytest.approx(cosines)
    scores = task.scores(SCORED, answers)
    assert scores == pytest.approx({"spearman": 1.0, "pearson": np.corrcoef(cosines, [4, 1, 3])[0, 1]})
    assert task.prediction_row(SCORED[0], answers[0])["gold"] == 4.0


@pytest.mark.parametrize("normalize, pooling", [(True, "mean"), (False, "first")])
def test_single_texts_have_the_vectors_of_the_model(tokenizer, tiny_config, normalize, pooling):
    task = make_task(SCORED, tokenizer, normalize=normalize, pooling=pooling)
    model = task.blank_model(tiny_config)
    model.build()
    rows = task.rows_of(["good film", "the"])
    encoded = task.encode(rows, labelled=False)
    answers = task.answers(rows, encoded, Predictor(task, model)(encoded))
    ids = np.array(encoded.inputs["token_ids"].to_list()[0])[None]
    hidden = np.asarray(model.bert({"token_ids": ids})["sequence_output"])[0]
    expected = hidden.mean(0) if pooling == "mean" else hidden[0]
    expected = expected / np.linalg.norm(expected) if normalize else expected
    assert len(answers) == 2 and [*answers[0]] == ["embedding"]
    np.testing.assert_allclose(answers[0]["embedding"], expected, atol=1e-5)


@pytest.mark.slow
def test_pairs_learn_to_find_each_other(tokenizer, fine_tuned):
    words = ["good", "bad", "film", "not", "very", "play", "the", "was", "a", "is", "café", "niño"]
    rows = [Triple(words[n], words[n + 6], None, f"f:{n}") for n in range(6)]
    done = fine_tuned(Embedding.learn(rows, tokenizer, 8), rows, epochs=40)
    assert done.scores["recall@1"] == 1.0 == done.score


@pytest.mark.slow
def test_scored_pairs_learn_their_order(tokenizer, fine_tuned):
    words = ["good", "bad", "film", "not", "very", "play", "the", "was"]
    rows = [ScoredExample(words[n], words[(n + 3) % 8], float(n), f"f:{n}") for n in range(8)]
    done = fine_tuned(Embedding.learn(rows, tokenizer, 8), rows, epochs=60)
    assert done.scores["spearman"] > 0.9


@pytest.mark.parametrize(
    "text, rows",
    [
        ("anchor\tpositive\na\tb\n", [("a", "b", None)]),
        ("anchor\tpositive\tnegative\na\tb\tc\n", [("a", "b", "c")]),
        ("sentence1\tsentence2\tscore\na\tb\t3\n", [("a", "b", 3.0)]),
    ],
)
def test_files(text, rows, tmp_path):
    file = tmp_path / "f.tsv"
    file.write_text(text, encoding="utf-8")
    kind = ScoredExample if isinstance(rows[0][2], float) else Triple
    assert Embedding.read(str(file), Columns()) == [kind(*row, f"{file}:2") for row in rows]


def test_texts_without_a_partner_can_be_read(tmp_path):
    file = tmp_path / "f.tsv"
    file.write_text("text\na b\n", encoding="utf-8")
    read = [Example("a b", None, None, f"{file}:2")]
    assert Embedding.read(str(file), Columns(), labelled=False) == read
    for names in ("anchor\tpositive", "sentence1\tlabel", "positive\tquery"):
        row = "a b\tc" if names[0] != "p" else "c\ta b"
        file.write_text(f"{names}\n{row}\n", encoding="utf-8")
        assert Embedding.read(str(file), Columns(), labelled=False) == read
    file.write_text("text\tscore\na b\t3\n", encoding="utf-8")
    with pytest.raises(InputError, match="f.tsv:2: there is a score but no second text; set --pair_column"):
        Embedding.read(str(file), Columns())


def test_faults_of_both_forms():
    assert [fault.kind for fault in Embedding.faults(PAIRS, PAIRS[:1])] == [
        "row of dev that is also in train"
    ]
    assert [fault.kind for fault in Embedding.faults(SCORED, SCORED[1:])] == [
        "row of dev that is also in train"
    ]
    assert Embedding.faults(PAIRS, SCORED) == []
