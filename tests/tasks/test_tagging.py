"""Tagging: words find their pieces, windows are stitched, and every file's scheme gives the same scores."""

import dataclasses
import json
import random

import numpy as np
import pytest

import kbert
from kbert import features
from kbert.checkpoints import save_folder
from kbert.data import EncodedRows, TaggedText, read_conll
from kbert.data.tagging_readers import split_words
from kbert.errors import InputError
from kbert.fine_tuning import fine_tune
from kbert.inference import Predictor
from kbert.layers import allowed_transitions
from kbert.run_settings import RunSettings
from kbert.start import StartingPoint
from kbert.tag_schemes import entities_of, faulty_tags, tags_of
from kbert.tasks import Columns, Tagging, task_class
from kbert.text import WordPieceTokenizer

#: Runs of characters that WordPiece treats each in its own way: 0x200B, a variation selector and a lone
#: accent vanish, digits and letters run together, accents and emoji have several code points.
ATOMS = [
    "good",
    "playing",
    "unable",
    "café",
    "cafe\u0301",
    "niño",
    "电",
    "影",
    "😀",
    "❤\ufe0f",
    "\u200b",
    "\u0301",
]
ATOMS += [",", "!", "bd", "2003", "\x00", "\ufe0f", "ＡＢ", "各", "ﬁ", "москва"]
#: Half a character, as a JSON file may have it.
HALF = "\ud83d"


def text_of(words, tags, separator=" ", source="f:1"):
    """A text of these words, as `read_conll` puts it together."""
    begins = [sum(len(word) + len(separator) for word in words[:i]) for i in range(len(words))]
    spans = tuple((begin, begin + len(word)) for begin, word in zip(begins, words, strict=True))
    return TaggedText(separator.join(words), spans, tuple(tags), source)


def random_rows(seed, count=60):
    """Texts whose words are cut by chance, in the middle of tokens too; tags are anything in BIO."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        text = "".join(rng.choice([*ATOMS, " "]) + rng.choice(["", " "]) for _ in range(rng.randrange(14)))
        words = split_words(text)
        if rng.random() < 0.4:
            words = [(place, place + 1) for place, character in enumerate(text) if not character.isspace()]
        tags = tags_of(entities_of(rng.choices(["O", "B-A", "I-A", "B-B", "I-B"], k=len(words))), len(words))
        rows.append(TaggedText(text, tuple(words), tuple(tags), f"f:{number}"))
    return rows


def brute_force(row, tokenizer):
    """(piece, first word, stop) of each position: one character and one word at a time."""
    _, begins, ends = (values.to_list()[0] for values in tokenizer.tokenize_with_offsets([row.text]))
    found = []
    for number, (begin, end) in enumerate(row.words):
        inside = [piece for piece, place in enumerate(begins) if begin <= place < end]
        covering = [p for p in range(len(begins)) if begins[p] < begin < ends[p]]
        if inside:
            found.append([inside[0], number, number + 1])
        elif covering:
            found[-1][2] = number + 1
    return found


def one_task(rows, tokenizer, max_length=40, **options):
    learned = Tagging.learn(rows, tokenizer, max_length, **options)
    return task_class("tagging")(json.loads(json.dumps(learned.spec)), tokenizer)


def oracle(task, rows):
    """The outputs of a model that knows every tag, padded as a batch pads them."""
    encoded = task.encode(rows)
    tag_ids = [np.array([*row, 0, 1]) for row in encoded.targets[features.TAG_IDS].to_list()]
    return encoded, {features.TAG_IDS: tag_ids, features.SCORE: [np.full(len(row), 0.5) for row in tag_ids]}


@pytest.mark.slow
@pytest.mark.parametrize("lowercase", [True, False])
def test_words_find_their_pieces(tiny_vocab, lowercase):
    tokenizer = WordPieceTokenizer(str(tiny_vocab), lowercase=lowercase)
    rows = random_rows(1, 200)
    task = one_task(rows, tokenizer, max_length=512)
    encoded = task.encode(rows)
    tag_ids = {tag: number for number, tag in enumerate(task.tags)}
    expected = [brute_force(row, tokenizer) for row in rows]
    assert any(len(found) < len(row.words) for row, found in zip(rows, expected, strict=True))
    assert any(stop - word > 1 for found in expected for _, word, stop in found)
    columns = [encoded.inputs[features.WORD_POSITIONS], *(encoded.places[n] for n in ("word", "word_stop"))]
    columns += [encoded.targets[features.TAG_IDS]]
    for row, found, *of_row in zip(rows, expected, *(column.to_list() for column in columns), strict=True):
        found = [(piece + 1, word, stop, tag_ids[row.tags[word]]) for piece, word, stop in found]
        assert list(zip(*of_row, strict=True)) == (found or [(0, -1, -1, 0)]), row


@pytest.mark.slow
def test_more_than_a_chunk_of_texts(tiny_vocab, monkeypatch):
    """Rows know their text and their words by numbers that do not start again in each chunk."""
    tokenizer = WordPieceTokenizer(str(tiny_vocab))
    rows = random_rows(2, 20)
    task = one_task(rows, tokenizer, max_length=8)
    whole = task.encode(rows)
    monkeypatch.setattr("kbert.tasks.tagging_encoding._CHUNK", 3)
    parts = task.encode(rows)
    assert parts.owner.tolist() == whole.owner.tolist() and len(whole) > len(rows)
    for group in ("inputs", "targets", "places"):
        for name, values in getattr(whole, group).items():
            assert values.to_list() == getattr(parts, group)[name].to_list(), name


@pytest.mark.slow_after_first
@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
@pytest.mark.parametrize("max_length, stride", [(6, None), (6, 1), (9, 4), (512, None)])
def test_windows_lose_no_word_and_stitch_in_order(tiny_vocab, scheme, max_length, stride):
    tokenizer = WordPieceTokenizer(str(tiny_vocab))
    rows = random_rows(3)
    whole_task = one_task(rows, tokenizer, 512, scheme=scheme)
    whole = whole_task.answers(rows, *oracle(whole_task, rows))
    task = one_task(rows, tokenizer, max_length, stride=stride, scheme=scheme)
    encoded, outputs = oracle(task, rows)
    assert encoded.num_truncated == 0 and max(encoded.lengths) <= max_length
    assert task.answers(rows, encoded, outputs) == whole


def test_a_word_is_answered_by_the_window_with_most_context(tiny_vocab):
    task = one_task(
        [text_of(["good"] * 4, ["B-A", "O", "B-B", "O"])], WordPieceTokenizer(str(tiny_vocab)), 6, stride=2
    )
    row = text_of("the film was not good very bad play".split(), ["O"] * 8)
    encoded = task.encode([row])
    assert [words for words in encoded.places["word"].to_list()] == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]
    # Window 0 says A, 1 says O, 2 says B; each is asked for what is nearest to its middle.
    ids = [np.full(4, task.tags.index(tag)) for tag in ("B-A", "O", "B-B")]
    (answer,) = task.answers([row], encoded, {"tag_ids": ids, "score": [np.full(4, 0.5)] * 3})
    assert answer["tags"] == ["B-A"] * 3 + ["O"] * 2 + ["B-B"] * 3


@pytest.mark.slow
def test_what_is_cut_off_is_counted_and_outside(tiny_vocab):
    rows = [text_of(["good"] * 9, ["B-A", *["I-A"] * 8]), text_of(["bad"], ["B-A"])]
    task = one_task(rows, WordPieceTokenizer(str(tiny_vocab)), 6, long_text="truncate")
    encoded, outputs = oracle(task, rows)
    assert (encoded.num_truncated, encoded.owner.tolist()) == (1, [0, 1])
    long, short = task.answers(rows, encoded, outputs)
    assert long["tags"] == ["B-A", *["I-A"] * 3, *["O"] * 5] and long["scores"] == [0.5] * 4 + [0.0] * 5
    assert short["entities"] == [{"type": "A", "start": 0, "end": 3, "text": "bad", "score": 0.5}]


def test_half_characters_keep_their_places(tiny_vocab):
    tokenizer = WordPieceTokenizer(str(tiny_vocab))
    row = text_of([HALF, "good", HALF + HALF + "film", "bad"], "O B-A O B-B".split())
    task = one_task([row], tokenizer)
    encoded, outputs = oracle(task, [row])
    assert encoded.inputs["token_ids"].to_list() == [
        [tokenizer.vocab.id(token) for token in ("[CLS]", "good", "film", "bad", "[SEP]")]
    ]
    (answer,) = task.answers([row], encoded, outputs)
    assert [(e["type"], e["start"], e["text"]) for e in answer["entities"]] == [
        ("A", 2, "good"),
        ("B", 14, "bad"),
    ]
    with pytest.raises(InputError, match="text 1 is nan; expected a string"):
        task.rows_of(["good", float("nan")])


def test_words_without_a_piece(tiny_vocab):
    """Between two words of an entity they belong to it; at its edge, or alone, they are outside."""
    tokenizer = WordPieceTokenizer(str(tiny_vocab))
    row = text_of(["\u200b", "good", "\u200b", "film", "\ufe0f", "bad"], "O B-A I-A I-A I-A B-A".split())
    nothing = TaggedText("\u200b", ((0, 1),), ("O",), "f:2")
    empty = TaggedText(" ", (), (), "f:3")
    task = one_task([row], tokenizer)
    encoded, outputs = oracle(task, [nothing, row, empty])
    answers = task.answers([nothing, row, empty], encoded, outputs)
    assert answers[1]["tags"] == "O B-A I-A I-A O B-A".split()
    assert answers[1]["scores"] == [0.0, 0.5, 0.0, 0.5, 0.0, 0.5]
    assert [entity["text"] for entity in answers[1]["entities"]] == ["good \u200b film", "bad"]
    assert answers[0]["tags"] == ["O"] and answers[2]["tags"] == [] == answers[2]["entities"]
    # Characters of one piece go on with its entity.
    split = text_of(list("bd很"), ["B-A", "I-A", "O"], separator="")
    encoded, outputs = oracle(task, [split])
    assert encoded.inputs["word_positions"].to_list() == [[1, 2, 3]]  # b ##d 很
    unknown = text_of(list("2003很"), [*["B-A"], *["I-A"] * 3, "O"], separator="")  # [UNK] 很
    encoded, outputs = oracle(task, [unknown])
    assert encoded.inputs["word_positions"].to_list() == [[1, 2]]
    assert task.answers([unknown], encoded, outputs)[0]["tags"] == list(unknown.tags)


def test_schemes_and_plain_tags(tiny_vocab):
    tokenizer = WordPieceTokenizer(str(tiny_vocab))
    iob1 = [text_of(["good", "film", "bad"], ["I-B", "I-B", "I-A"])]
    assert one_task(iob1, tokenizer).tags == ["O", "B-A", "I-A", "B-B", "I-B"]
    assert one_task(iob1, tokenizer, scheme="BIOES").tags[:5] == ["O", "S-A", "B-A", "I-A", "E-A"]
    bmes = one_task([text_of(list("电影很好"), list("BESS"), "")], tokenizer)
    assert bmes.tags == ["O", "B", "I"] and bmes.scheme == "BIO"
    words = text_of(list("电影很好"), list("BMES"), "")
    (answer,) = bmes.answers([words], *oracle(bmes, [words]))
    assert [entity["text"] for entity in answer["entities"]] == ["电影很", "好"]
    speech = [text_of(["good", "film", "."], ["JJ", "NN", "."])]
    plain = one_task(speech, tokenizer)
    assert (plain.tags, plain.scheme, plain.best_score) == ([".", "JJ", "NN"], None, "accuracy")
    answers = plain.answers(speech, *oracle(plain, speech))
    assert answers[0]["tags"] == ["JJ", "NN", "."] and "entities" not in answers[0]
    assert plain.scores(speech, [{"tags": ["JJ", "NN", "NN"]}]) == {"accuracy": pytest.approx(2 / 3)}
    assert one_task(iob1, tokenizer, scheme="none").tags == ["I-A", "I-B"]


@pytest.mark.golden
def test_scores_are_seqevals(shared, tiny_vocab):
    cases = json.loads((shared / "golden/metrics/entity_f1.json").read_text(encoding="utf-8"))["cases"]
    for scheme in ("BIO", "BIOES"):
        task = one_task([text_of(["a"], ["B-PER"])], WordPieceTokenizer(str(tiny_vocab)), scheme=scheme)
        for case in (case for case in cases if case["mode"].startswith("default")):
            rows = [text_of(["a"] * len(tags), tags) for tags in case["y_true"]]
            scores = task.scores(rows, [{"tags": tags} for tags in case["y_pred"]])
            assert all(scores[n] == case["expected"][n] for n in ("precision", "recall", "f1")), case["name"]


@pytest.mark.slow_after_first
@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
@pytest.mark.parametrize(
    "name, vocab", [("conll2003", "bert-base-uncased"), ("peoples-daily-ner", "bert-base-chinese")]
)
def test_who_knows_all_tags_scores_one(shared, name, vocab, scheme):
    """Nothing is lost between the benchmarks' files and the scores, whatever is between the words."""
    tokenizer = WordPieceTokenizer(shared / f"data/vocab/{vocab}.txt")
    rows = Tagging.read(str(shared / f"data/{name}/dev.txt"), Columns())
    task = one_task(rows, tokenizer, 64, scheme=scheme)
    encoded, outputs = oracle(task, rows)
    answers = task.answers(rows, encoded, outputs)
    scores = task.scores(rows, answers)
    assert scores["f1"] == scores["accuracy"] == 1.0 and len(encoded) > len(rows)
    said = map(task.prediction_row, rows, answers)
    assert all(prediction["gold"] == prediction["tags"] for prediction in said)
    assert all(
        entity["text"] == row.text[entity["start"] : entity["end"]]
        for row, answer in zip(rows, answers, strict=True)
        for entity in answer["entities"]
    )


@pytest.mark.slow_after_first
@pytest.mark.parametrize("crf", [False, True])
def test_answers_do_not_depend_on_order_and_neighbours(tiny_vocab, tiny_config, crf):
    tokenizer = WordPieceTokenizer(str(tiny_vocab))
    rows = [*random_rows(5, 12), TaggedText("", (), (), "f:13")]
    task = one_task(rows, tokenizer, 12, crf=crf)
    model = task.blank_model(tiny_config, dtype="float32")
    model.build()
    model.set_weights([np.random.default_rng(3).normal(0, 0.3, w.shape) for w in model.get_weights()])
    model.tagger.kernel.assign(20 * model.tagger.kernel)  # or one tag would be the best everywhere
    predict = {size: Predictor(task, model, size) for size in (5, 32)}

    def answers(rows, batch_size):
        encoded = task.encode(rows, labelled=False)
        return task.answers(rows, encoded, predict[batch_size](encoded))

    together = answers(rows, 32)
    alone = [answers([row], 32)[0] for row in rows]
    turned = answers(rows[::-1], 5)[::-1]
    for other in (alone, turned):
        assert [answer["tags"] for answer in other] == [answer["tags"] for answer in together]
        for answer, expected in zip(other, together, strict=True):
            np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-4)
    assert {tag for answer in together for tag in answer["tags"]} > {"O"}
    scores = [score for answer in together for score in answer["scores"]]
    assert 0 < max(scores) <= 1 + 1e-6


@pytest.mark.slow_after_first
@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_a_crf_keeps_to_the_scheme(tiny_vocab, tiny_config, scheme):
    tokenizer = WordPieceTokenizer(str(tiny_vocab))
    rows = [row for row in random_rows(6, 30) if row.words]
    task = one_task(rows, tokenizer, 512, crf=True, scheme=scheme)
    model = task.blank_model(tiny_config.replace(max_length=512), dtype="float32")
    model.build()
    model.set_weights([np.random.default_rng(4).normal(0, 0.5, w.shape) for w in model.get_weights()])
    assert model.crf.constraints == allowed_transitions(task.tags, scheme)
    encoded = task.encode(rows)
    outputs = Predictor(task, model)(encoded)
    tags = [
        [task.tags[i] for i in ids[: len(positions)]]
        for ids, positions in zip(outputs["tag_ids"], encoded.inputs["word_positions"].to_list(), strict=True)
        if positions != [0]
    ]
    assert not any(faulty_tags(of_row, scheme) for of_row in tags)
    assert sum(len(entities_of(of_row)) for of_row in tags) > 5


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
@pytest.mark.parametrize("long_text", ["windows", "truncate"])
def test_a_crf_learns_no_tags_that_it_forbids(tiny_vocab, scheme, long_text):
    """Where a window begins or ends within an entity, a word has no piece, or shares that of another."""
    tokenizer = WordPieceTokenizer(str(tiny_vocab))
    rows = [text_of("the good film was bad".split(), "O B-A I-A I-A O".split()), *random_rows(7)]
    task = one_task(rows, tokenizer, 5, crf=True, scheme=scheme, long_text=long_text)
    encoded = task.encode(rows)
    tags = [[task.tags[i] for i in of_row] for of_row in encoded.targets[features.TAG_IDS].to_list()]
    assert [faulty_tags(of_row, scheme) for of_row in tags] == [[]] * len(encoded)
    first = {"BIO": "O B-A I-A", "BIOES": "O B-A E-A"}[scheme]
    assert tags[0] == first.split()
    plain = one_task(rows, tokenizer, 5, scheme=scheme, long_text=long_text).encode(rows)
    kept = [[task.tags[i] for i in of_row] for of_row in plain.targets[features.TAG_IDS].to_list()]
    assert any(faulty_tags(of_row, scheme) for of_row in kept)
    assert [[t != "O" for t in of_row] for of_row in kept] == [[t != "O" for t in of_row] for of_row in tags]


@pytest.fixture
def tiny_run(tiny_vocab, tiny_config, tmp_path):
    """A folder fine-tuned to find names and films, from JSON lines."""
    lines = [
        ("the café was good", [(4, 8, "LOC")]),
        ("niño was playing", [(0, 4, "PER")]),
        ("我 很 喜欢电影!", [(6, 8, "FILM")]),
        ("a bad film, niño", [(12, 16, "PER")]),
    ]
    path = tmp_path / "train.jsonl"
    path.write_text(
        "".join(json.dumps({"text": text, "entities": spans}) + "\n" for text, spans in lines * 4),
        encoding="utf-8",
    )

    def run(**options):
        tokenizer = WordPieceTokenizer(str(tiny_vocab))
        rows = Tagging.read(str(path), Columns())
        task = Tagging.learn(rows, tokenizer, 16, **options)
        config = tiny_config.replace(vocab_size=len(tokenizer.vocab), dropout=0.0, attention_dropout=0.0)
        done = fine_tune(
            task, StartingPoint(config, tiny_vocab, lowercase=True), task.encode(rows), rows, init=None,
            settings=RunSettings(epochs=20, batch_size=8, learning_rate=3e-3, precision="float32"),
            model_dir=tmp_path / "run",
        )  # fmt: skip
        save_folder(tmp_path / "model", done.model, task=done.task.spec, vocab_path=tiny_vocab)
        return tmp_path / "model", done

    return run


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"crf": True, "scheme": "BIOES"}])
def test_from_spans_to_spans(tiny_run, options):
    folder, done = tiny_run(**options)
    assert done.score == done.scores["f1"] == 1.0
    assert set(done.scores["per_type"]) == {"LOC", "PER", "FILM"}
    ask = kbert.pipeline(folder)
    text = "the  cafe\u0301 was  good"
    answer = ask(text)
    assert [(entity["type"], entity["text"]) for entity in answer["entities"]] == [("LOC", "cafe\u0301")]
    assert text[answer["entities"][0]["start"] : answer["entities"][0]["end"]] == "cafe\u0301"
    chinese, empty = ask(["我 很 喜欢电影!", ""])
    assert [(e["start"], e["end"], e["text"]) for e in chinese["entities"]] == [(6, 8, "电影")]
    assert chinese["words"] == list("我很喜欢电影!") and chinese["starts"] == [0, 2, 4, 5, 6, 7, 8]
    assert json.loads(json.dumps(chinese)) == chinese
    assert empty == {"entities": [], "words": [], "tags": [], "scores": [], "starts": [], "ends": []}


def test_a_submission_is_what_conlleval_reads(tiny_vocab, tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("good NN I-A\nfilm NN B-A\n\nbad JJ O\n", encoding="utf-8")
    named = Columns(label="tag", names=("word", "pos", "tag"))
    rows = Tagging.read(str(path), named)
    task = one_task(rows, WordPieceTokenizer(str(tiny_vocab)), scheme="BIOES")
    answers = [{"words": ["good", "film"], "tags": ["B-A", "E-A"]}, {"words": ["bad"], "tags": ["S-A"]}]
    assert (
        task.submission(rows, answers)["predictions.conll"] == "good B-A B-A\nfilm B-A I-A\n\nbad O B-A\n\n"
    )
    with pytest.raises(InputError, match="f.txt:1: 3 columns .*; expected 2, as in --columns"):
        Tagging.read(str(path), Columns(label="tag", names=("word", "tag")))
    with pytest.raises(InputError, match="f.jsonl: --columns is for files of columns"):
        Tagging.read("f.jsonl", named)
    assert [row.tags for row in Tagging.read(str(path), Columns(label="1"))] == [("NN", "NN"), ("JJ",)]
    unlabelled = Tagging.read(str(path), Columns(), labelled=False)
    assert [row.tags for row in unlabelled] == [(), ()] and unlabelled == read_conll(path, tag_column=None)
    assert task.submission(unlabelled, answers)["predictions.conll"].startswith("good B-A\nfilm I-A\n\n")
    assert "gold" not in task.prediction_row(unlabelled[0], answers[0])
    assert task.prediction_row(rows[0], answers[0])["gold"] == ["S-A", "S-A"]
    assert task.prediction_row(text_of([], []), {"tags": []})["gold"] == []
    plain = one_task(rows, WordPieceTokenizer(str(tiny_vocab)), scheme="none")
    assert plain.prediction_row(rows[0], answers[0])["gold"] == ["I-A", "B-A"]


@pytest.mark.parametrize(
    "columns, numbers",
    [
        (Columns(), (0, -1)),
        (Columns(text="1", label="2"), (1, 2)),
        (Columns(label="chunk", names=("word", "pos", "chunk", "ner")), (0, 2)),
    ],
)
def test_further_files_are_read_by_the_columns_of_training(tiny_vocab, tmp_path, columns, numbers):
    path, spans = tmp_path / "f.txt", tmp_path / "f.jsonl"
    path.write_text("good JJ B-NP B-A\nfilm NN O O\n", encoding="utf-8")
    spans.write_text('{"text": "a", "entities": []}\n', encoding="utf-8")
    rows = Tagging.read(str(path), columns)
    kept = Tagging.columns_to_keep(str(path), columns, rows)
    task = one_task(rows, WordPieceTokenizer(str(tiny_vocab)), **kept)
    assert task.kept_columns == {"word_column": numbers[0], "tag_column": numbers[1], "joined": False} == kept
    later = Columns(**task.kept_columns)
    assert Tagging.read(str(path), later) == rows
    assert Tagging.read(str(path), dataclasses.replace(later, label="1"))[0].tags == ("JJ", "NN")
    # Files of JSON have names, which are not kept; nor do models of earlier versions say anything.
    assert len(Tagging.read(str(spans), later)) == 1
    assert Tagging.columns_to_keep(str(spans), Columns(label="spans"), rows) == {}
    assert one_task(rows, WordPieceTokenizer(str(tiny_vocab))).kept_columns == {}


def test_words_of_further_files_are_put_together_as_those_of_training(tmp_path):
    """A small Chinese file may have many words of several characters, an English one of one."""
    chinese, mixed, letters = (tmp_path / f"{name}.txt" for name in ("chinese", "mixed", "letters"))
    chinese.write_text("电 O\n影 O\n", encoding="utf-8")
    mixed.write_text("电 O\n2003 O\n", encoding="utf-8")
    letters.write_text("I O\n\na O\nb O\n", encoding="utf-8")
    for train, later, text in [(chinese, mixed, "电2003"), (mixed, chinese, "电 影")]:
        kept = Tagging.columns_to_keep(str(train), Columns(), Tagging.read(str(train), Columns()))
        (row,) = Tagging.read(str(later), Columns(**kept))
        assert row.text == text
    rows = Tagging.read(str(letters), Columns())
    assert Tagging.columns_to_keep(str(letters), Columns(), rows)["joined"] is True
    assert Tagging.columns_to_keep(str(letters), Columns(), rows[:1])["joined"] is None


def test_what_cannot_be_learned(tiny_vocab, caplog):
    tokenizer = WordPieceTokenizer(str(tiny_vocab))
    good = [text_of(["good", "film"], ["B-A", "O"])]
    for rows, options, message in [
        ([text_of(["good"] * 3, ["B-A", "O", "A"])], {}, "f:1: tag 'A'; expected O, or"),
        ([text_of(["good"], ["O"])], {}, "f:1: all 1 texts are without an entity"),
        ([text_of(["good"], ["NN"])], {}, "f:1: all words have the tag 'NN'"),
        (good, {"scheme": "IOB1"}, "scheme='IOB1'; expected one of BIO, BIOES, none"),
        (good, {"long_text": "cut"}, "long_text='cut'; expected windows or truncate"),
    ]:
        with pytest.raises(InputError, match=message):
            one_task(rows, tokenizer, **options)
    with pytest.raises(InputError, match="stride=99"):
        one_task(good, tokenizer, stride=99).encode(good)
    with pytest.raises(InputError, match="--label_column=ner; expected a number"):
        Tagging.read("f.txt", Columns(label="ner"))
    task = one_task(good, tokenizer)
    new = [text_of(["bad", "film"], ["B-NEW", "O"], source="f:9")]
    encoded = task.encode(new)
    assert isinstance(encoded, EncodedRows) and "1 words have a tag that was not seen" in caplog.text
    assert task.scores(new, [{"tags": ["O", "O"]}])["recall"] == 0.0


@pytest.mark.parametrize(
    "tags, scheme, gold",
    [
        ("O B-A M-A E-A S-A", "BMES", "B-A M-A M-A E-A"),
        ("B M E S", "BMES", "B M E S"),
        ("O B-A I-A E-A S-A", "BIOES", "B-A I-A E-A S-A"),
        ("O I-A I-B", "IOB1", "I-A I-A I-B O"),
        ("O B-A I-A", "BIO", "B-A I-A O O"),
    ],
)
def test_tags_without_a_scheme_say_it_by_their_letters(tiny_vocab, caplog, tags, scheme, gold):
    """As those of a model from Hugging Face: its own tags are measured, and not taken for unseen ones."""
    spec = {"name": "tagging", "tags": tags.split(), "max_length": 16, "lowercase": True}
    task = Tagging(spec, WordPieceTokenizer(str(tiny_vocab)))
    assert task.scheme == scheme
    rows = [text_of("good film was bad".split(), gold.split())]
    answers = task.answers(rows, *oracle(task, rows))
    assert answers[0]["tags"] == gold.split() and task.scores(rows, answers)["f1"] == 1.0
    assert "not seen in training" not in caplog.text


def test_tags_of_another_column_are_refused(tiny_vocab):
    tokenizer = WordPieceTokenizer(str(tiny_vocab))
    entities = one_task([text_of(["good", "film"], ["B-A", "O"])], tokenizer)
    speech = one_task([text_of(["good", "film"], ["JJ", "NN"])], tokenizer)
    asked = "is it the right file, and the right --label_column"
    for task, tags, message in [
        (
            entities,
            "B-NP I-NP O",
            "f:1: tag 'B-NP' was not seen .* most words; expected one of O, B-A, I-A; ",
        ),
        (speech, "O B-NP NN", "f:1: tag 'O' was not seen .* most words; expected one of JJ, NN; "),
    ]:
        rows = [text_of("good film bad".split(), tags.split())]
        with pytest.raises(InputError, match=message + asked):
            task.encode(rows)
