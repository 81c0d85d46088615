"""The graph of tagging gives what the task gives: words, tags that keep to the scheme, scores and places."""

import random
import sys

import numpy as np
import pytest
import tensorflow as tf

from kbert.config import BertConfig
from kbert.data import read_conll
from kbert.data.tagging_readers import split_words
from kbert.errors import InputError
from kbert.export import export, samples
from kbert.export.tag_writer import TagWriter
from kbert.export.tagger import TextTagger
from kbert.export.text_answers import MAX_WINDOWS
from kbert.export.words import character_kinds, find_words
from kbert.tag_schemes import faulty_tags
from kbert.tasks import Tagging
from kbert.text import WordPieceTokenizer
from tests.export.conftest import MAX_LENGTH
from tests.export.test_signatures import TEXTS

#: What WordPiece treats each in its own way: 0x200B, 0xFE0F, U+0301 and control characters vanish, 0x1C is
#: white space to Python alone, symbols that are no marks to BERT share their pieces with letters.
ATOMS = """the film is never longs way zzz 2003 房 间 干净 各 , ! [MASK] don't U.S. café cafe\u0301 ﬁ ½ € 5€
    a€b ² Straße ＡＢ 😀 👍🏽 ❤\ufe0f \u200b \u0301 \ufe0f \x01 москва ΟΔΟΣ 한국 Ⅳ i\u0307 \u0345""".split()
ATOMS += ["\x00", "\x1c", "\x85", "\u2028", "\u3000", "\ufffd", "ab\x1ccd", "a\u200b b", "\x01\x02", "\ufdd0"]
TAGS = {
    "BIO": ["O", "B-A", "I-A", "B-B", "I-B"],
    "BIOES": ["O", *(f"{letter}-{type_}" for type_ in ("A-1", "B") for letter in "BIES")],
    "BMES": ["O", *(f"{letter}-A" for letter in "BMES")],
    "IOB1": ["O", "I-A", "I-B"],
    None: ["NN", "VB", "中"],
}
LETTERS = ["O", "B", "I", "E", "S"]


def random_texts(seed, count=12, most=60):
    rng = random.Random(seed)
    return [
        "".join(rng.choice(ATOMS) + rng.choice(["", " ", " "]) for _ in range(rng.randrange(most))).encode()
        for _ in range(count)
    ]


@pytest.fixture
def make(tokenizer):
    """Function of what a tagging task's spec has, to the module, with random weights."""

    def make(
        scheme="BIO", crf=False, long_text="windows", stride=None, tags=None, tokenizer=tokenizer, **spec
    ):
        spec = {"name": "tagging", "max_length": MAX_LENGTH, "lowercase": tokenizer.lowercase, **spec}
        options = {"scheme": scheme, "crf": crf, "long_text": long_text, "stride": stride}
        task = Tagging({**spec, **options, "tags": tags or TAGS[scheme]}, tokenizer)
        config = BertConfig(
            vocab_size=len(tokenizer.vocab), hidden_dim=16, num_layers=1, num_heads=2,
            intermediate_dim=32, max_length=48,
        )  # fmt: skip
        model = task.blank_model(config)
        model.build()
        generator = np.random.default_rng(3)
        for weight in model.weights:
            if "layer_norm" not in weight.path:
                weight.assign(generator.normal(0, 0.3, weight.shape))
        return TextTagger(task, model)

    return make


def answers_of(module, texts):
    """What the graph answers, as `reference` writes it, the filling of rows held to the contract."""
    if not hasattr(module, "run"):  # Traced once, however many requests follow.
        module.run = module.signatures()["serving_default"]
    outputs = module.run(text=tf.constant(texts, tf.string))
    outputs = {name: values.numpy() for name, values in outputs.items()}
    fillings = {"words": b"", "tags": b"", "scores": 0.0, "starts": -1, "ends": -1}
    rows = []
    for row, count in enumerate(outputs["num_words"]):
        for name, filling in fillings.items():
            assert all(value == filling for value in outputs[name][row, count:].tolist()), name
        rows.append(
            {
                "words": [word.decode() for word in outputs["words"][row, :count]],
                "tags": [tag.decode() for tag in outputs["tags"][row, :count]],
                **{name: outputs[name][row, :count].tolist() for name in ("scores", "starts", "ends")},
                "num_words": count,
                "truncated": bool(outputs["truncated"][row]),
            }
        )
    assert outputs["words"].shape == (len(texts), max((row["num_words"] for row in rows), default=0))
    return rows


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for have, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(have["scores"], want["scores"], atol=1e-5)
        assert {**have, "scores": 0} == {**want, "scores": 0}


def assert_is_the_tasks(module, texts):
    wanted = [module.reference(text) for text in texts]
    assert_same(answers_of(module, texts), wanted)
    return wanted


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    ("crf", "scheme", "long_text", "stride"),
    [
        (False, "BIO", "windows", None),
        (False, None, "truncate", None),
        (True, "BIOES", "windows", 7),
        (False, "BIOES", "windows", 1),
        (True, None, "truncate", None),
        (False, "BMES", "windows", None),
        (False, "IOB1", "windows", None),
    ],
)
def test_answers_are_the_tasks(make, crf, scheme, long_text, stride):
    module = make(scheme, crf, long_text, stride)
    rows = assert_is_the_tasks(module, [*samples.TEXTS, *random_texts(1, 8, 120)])
    tags = [row["tags"] for row in rows]
    assert len({tag for of_row in tags for tag in of_row}) > 2
    if scheme:
        assert not any(faulty_tags(of_row, scheme) for of_row in tags)
    assert any(0.0 in row["scores"] for row in rows)  # a word without an answer


def test_short_entities_are_written_by_the_scheme():
    def written(scheme, tags):
        ids = [TAGS[scheme].index(tag) for tag in tags]
        number = tf.range(len(tags))
        names, _ = TagWriter(TAGS[scheme], scheme)(
            tf.zeros_like(number), number >= 0, number + 1, tf.constant(ids), tf.ones(len(tags))
        )
        return [name.decode() for name in names.numpy()]

    for scheme, tags in [
        ("IOB1", "I-A O I-A I-B I-B"),
        ("BMES", "S-A O B-A M-A E-A"),
        ("BIO", "B-A O B-B I-B I-B"),
    ]:
        assert written(scheme, tags.split()) == tags.split()


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "seed"), [("BIO", 2), ("BIOES", 3)])
def test_short_windows_cut_words_and_texts_anywhere(make, seed, scheme):
    module = make(scheme, max_length=5 + seed, stride=2)
    rows = assert_is_the_tasks(module, random_texts(seed, most=120))
    assert {row["truncated"] for row in rows} == {False, True}


@pytest.mark.slow
def test_entities_are_mended_over_words_that_share_a_piece_or_have_none(make):
    """A piece of a vocabulary with digits and symbols answers for several words."""
    texts = [b"is\xe2\x82\xacit \x01 the 5\xe2\x82\xac6 \xe2\x80\x8b film", "zz€zz€zz€ € \x02 ².²".encode()]
    rows = []
    for letters in (["O", "B", "I"], LETTERS):
        scheme = "BIO" if len(letters) == 3 else "BIOES"
        module = make(scheme, tags=letters)
        rows += assert_is_the_tasks(module, texts + random_texts(5))
    spans = [(row["words"][i], row["tags"][i]) for row in rows for i, s in enumerate(row["scores"]) if s == 0]
    assert {tag != "O" for _, tag in spans} == {False, True}  # inside of an entity and outside


@pytest.mark.slow
def test_cased_and_unusual_vocabularies(make, tokenizer):
    module = make(tokenizer=WordPieceTokenizer(tokenizer.vocab, lowercase=False), crf=True)
    assert_is_the_tasks(module, [*TEXTS, *random_texts(6)])
    module = make(tokenizer=WordPieceTokenizer(tokenizer.vocab, special_tokens_in_text=True))
    assert_is_the_tasks(module, [*TEXTS, b"[MASK][SEP] the[MASK]film"])


@pytest.mark.slow
def test_text_after_text_as_all_at_once(make):
    module = make(crf=True)
    texts = [*TEXTS, *random_texts(7, 10)]
    together = answers_of(module, texts)
    for text, row in zip(texts, together, strict=True):
        assert_same(answers_of(module, [text]), [row])
    assert_same(answers_of(module, texts[::-1]), together[::-1])
    assert answers_of(module, []) == []
    assert answers_of(module, [b"", b" \x00"])[0]["num_words"] == 0


@pytest.mark.slow
def test_bytes_that_are_no_utf8_are_read_as_python_reads_them(make):
    rng = random.Random(8)
    parts = [
        bytes([byte]) for byte in b"a \x00\x80\xbf\xc0\xc3\xe0\xe4\xed\xef\xf0\xf4\xff\xa0\x9f\xbb\xb8\xad"
    ]
    texts = [b"".join(rng.choices(parts, k=rng.randrange(12))) for _ in range(60)]
    assert_is_the_tasks(make(), [*texts, b"\xef\xbb\xbfthe film", b"film \xef\xbb"])


@pytest.mark.slow
def test_every_character_is_what_it_is_to_the_reader():
    """Each stands between letters, once alone and once twice."""
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
    firsts, kinds = character_kinds()
    assert firsts.nbytes + kinds.nbytes < 10_000
    texts = ["".join(characters[i : i + 4096]) for i in range(0, len(characters), 4096)]
    texts = ["".join(f"{character}{character}" for character in text) for text in texts]
    chars = tf.strings.unicode_decode(texts, "UTF-8")
    words = find_words(chars, chars.row_lengths())
    spans = np.split(np.stack([words.begins, words.ends], axis=1), np.cumsum(words.counts)[:-1])
    for text, found in zip(texts, spans, strict=True):
        assert list(map(tuple, found.tolist())) == split_words(text)
    strings = [text[begin:end] for text, found in zip(texts, spans, strict=True) for begin, end in found]
    assert [word.decode() for word in words.strings.numpy()] == strings


@pytest.mark.slow
@pytest.mark.parametrize("crf", [False, True])
def test_what_is_beyond_all_windows_is_not_listed(make, crf):
    module = make(stride=11, crf=crf)
    most = MAX_LENGTH - 2 + (MAX_WINDOWS - 1) * 11
    texts = [b"film " * count for count in (most - 1, most, most + 1, 2 * most)]
    texts += [b"film" + b"s" * 100 + b" way" * most, "房间".encode() * most]
    rows = assert_is_the_tasks(module, texts)
    assert [row["num_words"] for row in rows[:4]] == [most - 1, most, most, most]
    assert [row["truncated"] for row in rows] == [False, False, True, True, True, True]
    # The end of a word that no window shows is not listed either.
    assert make(max_length=5, stride=1).reference(b"the " * 33 + b"films")["words"][-1] == "film"
    assert_is_the_tasks(make(max_length=5, stride=1), [b"the " * 33 + b"films"])


@pytest.mark.slow
def test_cut_off_words_are_listed_and_outside(make):
    rows = assert_is_the_tasks(make(long_text="truncate"), [b"film " * 100, b"film " * 38])
    assert [row["num_words"] for row in rows] == [100, 38]
    assert [row["truncated"] for row in rows] == [True, False]
    assert set(rows[0]["tags"][38:]) == {"O"} and set(rows[0]["scores"][38:]) == {0.0}


@pytest.mark.slow
@pytest.mark.parametrize("long_text", ["truncate", "windows"])
def test_a_text_of_a_megabyte_is_cut(make, long_text):
    module = make(long_text=long_text)
    texts = [b"the film " * 120_000, "房".encode() * 400_000, b"film" + b" " * 99_995 + "房".encode()]
    rows = assert_is_the_tasks(module, texts)
    assert all(row["truncated"] for row in rows)
    # The last character is split by the cut, and what is left of it is no UTF-8.
    assert rows[2]["words"] == ["film", "\ufffd"] and rows[2]["scores"][1] == 0.0


@pytest.mark.slow
def test_a_wrong_rank_is_refused_in_the_graph(make):
    run = tf.function(make().answer, input_signature=[tf.TensorSpec(None, tf.string)], autograph=False)
    assert run(tf.constant([b"the film"]))["num_words"].numpy().tolist() == [2]
    for bad in (tf.constant(b"the film"), tf.constant([[b"the film"]])):
        with pytest.raises(tf.errors.InvalidArgumentError):
            run(bad)


@pytest.mark.slow
def test_signature_has_the_names_and_types_of_the_contract(make):
    outputs = make().signatures()["serving_default"].structured_outputs
    assert {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in outputs.items()} == {
        "words": ("string", [None, None]),
        "tags": ("string", [None, None]),
        "scores": ("float32", [None, None]),
        "starts": ("int32", [None, None]),
        "ends": ("int32", [None, None]),
        "num_words": ("int32", [None]),
        "truncated": ("bool", [None]),
    }


def test_tags_that_do_not_fit_the_model_are_refused(make):
    task, model = (
        Tagging(make().task, make().tokenizer),
        make("BIOES")._task.blank_model(BertConfig.preset("tiny", vocab_size=100)),
    )
    model.build()
    with pytest.raises(InputError, match="num_tags=9"):
        TextTagger(task, model)


@pytest.mark.slow
@pytest.mark.parametrize(("crf", "scheme"), [(True, "BIO")])
def test_real_sentences(make, shared, crf, scheme):
    path = shared / "data" / "conll2003" / "dev.txt"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    vocab = shared / "data" / "vocab" / "bert-base-uncased.txt"
    known = {"tokenizer": WordPieceTokenizer(str(vocab))} if vocab.is_file() else {}
    assert_is_the_tasks(make(scheme, crf, **known), [row.text.encode() for row in read_conll(path)[:200]])


@pytest.mark.slow
@pytest.mark.serving
@pytest.mark.parametrize(
    ("crf", "scheme", "long_text"),
    [(True, "BIOES", "windows"), (False, "BIO", "windows"), (True, None, "truncate")],
)
def test_it_passes_the_self_test(make, crf, scheme, long_text, tmp_path):
    assert export(make(scheme, crf, long_text), tmp_path) == str(tmp_path / "1")
