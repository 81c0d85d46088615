import json
import os
import random
import subprocess
import sys
import unicodedata

import pytest
import tensorflow as tf

from kbert.errors import InputError
from kbert.text import Vocab, WordPieceTokenizer, wordpiece
from kbert.text.normalization import split_words
from tests.text import reference_tokenizer as reference

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
UNK = 1

#: Characters of the oldest Unicode tables that Python has; their classes are the same in all later ones,
#: but for U+1734, which Unicode 14 made a spacing mark (Python 3.10 has Unicode 13, TensorFlow a later one).
OLD_CHARS = [
    chr(code)
    for code in range(sys.maxunicode + 1)
    if code != 0x1734 and unicodedata.ucd_3_2_0.category(chr(code)) not in ("Cn", "Co", "Cs")
]

ODD_TEXTS = [
    "",
    " \t\r\n\u3000",
    "\0",
    "a\0b\0",
    "ΟΔΟΣ ΣΑΣ ΑΣ'Α Σ ΑΣ. 'ΑΣ'",
    "İSTANBUL Iı DŽDžǅ ẞß ﬁ",
    "un\u00adaf\u200bfa\ufeffble\u200d \ufffd",
    "a\u2028b\u2029c\u00a0d\u180ee\u0085f",
    "e\u0301e\u0301 \u1fef\u037e 각각 が \u0958",
    "中国\u0301文学ABC🙂🙂 \ud55c\uad6d\uc5b4",
    "[MASK] ##ing [unk] ...it's",
    "x" * 200 + " " + "x" * 201 + " é" * 3,
]


@pytest.fixture(scope="module")
def tokenizers():
    """(tokenizer, its tokens) by `lowercase`; they have nearly all old characters, so few are [UNK]."""
    chars = {char for char in OLD_CHARS if not "\u3400" <= char <= "\ud7a3"}
    chars |= set("".join(ODD_TEXTS)) | set("中国文学가각힣ㄱ") | set(unicodedata.normalize("NFD", "각힣"))
    chars = sorted(char for char in chars if not reference.is_invisible(char) and not char.isspace())
    words = ["un", "##aff", "##able", "##af", "xx", "##xx", "οδος", "σας", "ΑΣ", "##..", "...", "国文"]
    vocab = Vocab([*SPECIALS, *chars, *("##" + char for char in chars), *words])
    return {lowercase: (WordPieceTokenizer(vocab, lowercase), vocab.tokens) for lowercase in (True, False)}


def random_texts(count, seed):
    """Texts that mix a few Unicode neighbourhoods, with spaces, marks and invisible characters between."""
    rng = random.Random(seed)
    glue = " \t\u00a0\u2003\u3000.,'-\u0301\u0307\u200b\u00ad\0\u2028#[]中Σ🙂"
    texts = []
    for _ in range(count):
        starts = [rng.randrange(len(OLD_CHARS) - 60) for _ in range(rng.randint(1, 3))]
        near = (OLD_CHARS[rng.choice(starts) + rng.randrange(60)] for _ in range(rng.randint(1, 40)))
        texts.append("".join(rng.choice(glue) if rng.random() < 0.25 else char for char in near))
    return texts


def golden(shared):
    lines = (shared / "golden" / "tokenization" / "tokenization.jsonl").read_text("utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


@pytest.fixture(
    scope="module", params=[("uncased", True), ("cased", False), ("chinese", True)], ids=lambda p: p[0]
)
def google(request, shared):
    """The cases of one of Google's vocabularies and what our tokenizer makes of them."""
    name, lowercase = request.param
    tokenizer = WordPieceTokenizer(shared / "data" / "vocab" / f"bert-base-{name}.txt", lowercase=lowercase)
    cases = [{**case, **case[name]} for case in golden(shared)]
    return cases, tokenizer, [case["text"] for case in cases]


@pytest.mark.slow_after_first
@pytest.mark.golden
def test_ids_are_googles_on_every_string(google):
    cases, tokenizer, texts = google
    ids = tokenizer.tokenize(texts).to_list()
    assert [(c["text"], i) for c, i in zip(cases, ids, strict=True)] == [(c["text"], c["ids"]) for c in cases]


@pytest.mark.golden
def test_offsets_are_as_recorded(google):
    cases, tokenizer, texts = google
    ids, begins, ends = (ragged.to_list() for ragged in tokenizer.tokenize_with_offsets(texts))
    assert ids == tokenizer.tokenize(texts).to_list()
    compared = 0
    for case, begin, end in zip(cases, begins, ends, strict=True):
        if case["offsets"] is not None:
            assert [list(span) for span in zip(begin, end, strict=True)] == case["offsets"], case["text"]
            compared += 1
    assert compared > 700


@pytest.mark.parametrize("lowercase", [True, False])
def test_every_old_character_parts_or_joins_words_as_in_the_reference(lowercase):
    texts = [f"a{char}b" for char in OLD_CHARS]
    words = split_words(tf.constant(texts), lowercase).to_list()
    assert len(texts) > 90_000
    wrong = [
        (text, got)
        for text, got in zip(texts, words, strict=True)
        if [word.decode() for word in got] != reference.split_words(text, lowercase)
    ]
    assert wrong == []


@pytest.mark.parametrize("lowercase", [True, False])
def test_random_and_odd_texts_give_the_references_ids(tokenizers, lowercase):
    tokenizer, tokens = tokenizers[lowercase]
    texts = ODD_TEXTS + random_texts(1500, seed=lowercase)
    ids = tokenizer.tokenize(texts).to_list()
    by_token = {token: i for i, token in enumerate(tokens)}
    for text, got in zip(texts, ids, strict=True):
        assert got == reference.tokenize(text, by_token, lowercase), ascii(text)
    known = [i for row in ids for i in row if i != UNK]
    assert len(set(known)) > 1000


@pytest.mark.parametrize("lowercase", [True, False])
def test_offsets_lead_back_to_the_tokens(tokenizers, lowercase):
    tokenizer, tokens = tokenizers[lowercase]
    texts = ODD_TEXTS + random_texts(1500, seed=2 + lowercase)
    ids, begins, ends = tokenizer.tokenize_with_offsets(texts)
    assert ids.dtype == begins.dtype == ends.dtype == tf.int32
    assert ids.to_list() == tokenizer.tokenize(texts).to_list()

    def spell(text):
        # By itself a sigma is not the last letter of a word.
        return "".join(reference.split_words(text, lowercase)).replace("ς", "σ")

    compared = 0
    for text, *row in zip(texts, ids.to_list(), begins.to_list(), ends.to_list(), strict=True):
        assert row[1] == sorted(row[1]) and row[2] == sorted(row[2])
        for i, begin, end in zip(*row, strict=True):
            assert 0 <= begin < end <= len(text)
            first, last = spell(text[begin]), spell(text[end - 1])
            assert first and last, "a character that vanishes is at no token's edge"
            if i != UNK and len(first) == len(last) == 1:  # a Hangul syllable can be several tokens
                assert spell(text[begin:end]) == tokens[i].removeprefix("##").replace("ς", "σ"), ascii(text)
                compared += 1
    assert compared > 5000


def test_offsets_count_code_points_of_the_original():
    tokenizer = WordPieceTokenizer(Vocab([*SPECIALS, "e", "##e", "i", "a", "##b", "中", "!"]))
    texts = ["🙂 e\u0301E!", "İ中", "a\u200bb", b"\xffa\xe2b"]
    ids, begins, ends = tokenizer.tokenize_with_offsets(texts)
    assert ids.to_list() == [[1, 5, 6, 11], [7, 10], [8, 9], [8, 9]]
    # Each sequence that is no UTF-8 counts 1, as in Python's decode("utf-8", "replace").
    assert begins.to_list() == [[0, 2, 4, 5], [0, 1], [0, 2], [1, 3]]
    assert ends.to_list() == [[1, 3, 5, 6], [1, 2], [1, 3], [2, 4]]
    assert tokenizer.count_invalid([*texts, "\ufffd"]).numpy().tolist() == [0, 0, 0, 2, 0]


@pytest.mark.parametrize("char", ["a", "é", "ж", "が", "𐐨"])
def test_the_longest_word_has_200_characters_whatever_their_bytes(char):
    tokenizer = WordPieceTokenizer(Vocab([*SPECIALS, char, "##" + char]), lowercase=False)
    texts = [char * 200, char * 201, char * 900, f"{char * 201} {char}"]
    ids, begins, ends = tokenizer.tokenize_with_offsets(texts)
    assert ids.to_list() == [[5] + [6] * 199, [UNK], [UNK], [UNK, 5]]
    assert begins.to_list()[1:] == [[0], [0], [0, 202]]
    assert ends.to_list()[1:] == [[201], [900], [201, 203]]


def test_half_a_character_counts_as_a_byte_that_is_no_utf8():
    tokenizer = WordPieceTokenizer(Vocab([*SPECIALS, "a", "b"]))
    ids, begins, ends = tokenizer.tokenize_with_offsets(["a \ud83db", "b"])
    assert [ids.to_list(), begins.to_list(), ends.to_list()] == [[[5, 6], [6]], [[0, 3], [0]], [[1, 4], [1]]]
    assert tokenizer.count_invalid(["a \ud83db", "b"]).numpy().tolist() == [1, 0]


def plain_chars():
    every = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
    plain = tf.strings.regex_full_match(every, wordpiece._PLAIN).numpy()
    return [char for char, is_plain in zip(every, plain, strict=True) if is_plain]


@pytest.mark.slow_after_first
@pytest.mark.parametrize("lowercase", [True, False])
def test_both_ways_give_the_same_on_every_plain_character(tokenizers, lowercase):
    tokenizer, tokens = tokenizers[lowercase]
    chars = plain_chars()
    assert (
        len(chars) > 27_000
        and set("aZ\n 中。，？”…—") < set(chars)
        and not set("éßＡが\0\u3000") & set(chars)
    )
    vocab = Vocab(
        [*SPECIALS, *dict.fromkeys([*tokens[5:], *chars[3:], "##a", "##B", "##b", "a..b", "[x]", "a b"])]
    )
    tokenizer = WordPieceTokenizer(vocab, lowercase)
    random_chars = random.Random(5)
    texts = [
        form.format(char) for form in ("{0}", "a{0}b", "{0}{0}A", " {0} B", "un{0}aff") for char in chars
    ]
    texts += [
        "".join(random_chars.choices(chars[:100] + chars[-99:] + chars[::300], k=30)) for _ in range(3000)
    ]
    texts += ["x" * 200, "y" * 201, "z" * 200 + "中" * 3 + "z" * 201 + ",A"]
    ways = zip(
        tokenizer._locate_plain(tf.constant(texts)), tokenizer._locate_any(tf.constant(texts)), strict=True
    )
    for ours, theirs in ways:
        tf.debugging.assert_equal(ours.row_splits, theirs.row_splits)
        tf.debugging.assert_equal(ours.values, theirs.values)


def test_batches_of_both_kinds_keep_their_order(tokenizers):
    tokenizer, _ = tokenizers[True]
    texts = ["plain one", "Ünplain", "", "中国。", "é", "\0", "plain two", "[SEP]\xa0"]
    for some in ([], texts[:1], texts[1:2], texts, texts[::-1]):
        together = [
            ragged.to_list() for ragged in tokenizer.tokenize_with_offsets(tf.constant(some, tf.string))
        ]
        alone = [[r.to_list()[0] for r in tokenizer.tokenize_with_offsets([text])] for text in some]
        assert (
            together == [list(column) for column in zip(*alone, strict=True)]
            or not some
            and together == [[]] * 3
        )


def test_a_vocabulary_of_special_tokens_alone_is_refused(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"vocab\.txt: no text can be split into its 5 entries"):
        WordPieceTokenizer(str(path))


def test_special_tokens_in_the_text_are_tokens_where_asked_for():
    words = ["a", "b", "mask", "[", "]", "##b", "sep", "\x06"]
    texts = [
        "a[MASK]b [SEP]",
        "[mask][MASK][MASK]",
        "[[UNK]é]",
        "[MAS\x01K]",
        "\x01\x0e\x0e\x0e\x0e\x0ea[PAD]",
        "[CLS",
        "ab",
    ]
    for lowercase in (True, False):
        tokenizer = WordPieceTokenizer(Vocab([*SPECIALS, *words]), lowercase, special_tokens_in_text=True)
        ids, begins, ends = tokenizer.tokenize_with_offsets(texts)
        assert ids.to_list() == tokenizer.tokenize(texts).to_list()
        spelled = [[[*SPECIALS, *words][i] for i in row] for row in ids.to_list()]
        spans = [list(zip(*pair, strict=True)) for pair in zip(begins.to_list(), ends.to_list(), strict=True)]
        assert spelled[0] == ["a", "[MASK]", "b", "[SEP]"]
        assert spans[0] == [(0, 1), (1, 7), (7, 8), (9, 14)]
        assert spelled[1] == ["[", "mask", "]", "[MASK]", "[MASK]"]
        assert spans[1] == [(0, 1), (1, 5), (5, 6), (6, 12), (12, 18)]
        assert spelled[2] == ["[", "[UNK]", "[UNK]", "]"] and spans[2] == [(0, 1), (1, 6), (6, 7), (7, 8)]
        assert "[MASK]" not in spelled[3] and spans[3][-1] == (6, 7)
        assert spelled[4] == ["a", "[PAD]"] and spans[4] == [(6, 7), (7, 12)]
        assert spelled[5] == ["[", "[UNK]"] and spelled[6] == ["a", "##b"]


def test_invalid_utf8_is_left_out_as_python_does(tokenizers):
    rng = random.Random(0)
    texts = [
        bytes(rng.choices(b"ab\x80\xbf\xc0\xc3\xe2\xe4\xed\xa0\xb8\xad\xf0\x9f\xf4\xff ", k=12))
        for _ in range(500)
    ]
    tokenizer, tokens = tokenizers[True]
    by_token = {token: i for i, token in enumerate(tokens)}
    assert tokenizer.tokenize(texts).to_list() == [reference.tokenize(text, by_token, True) for text in texts]


def test_all_forms_of_a_batch_are_one(tokenizers):
    tokenizer, _ = tokenizers[True]
    expected = tokenizer.tokenize(tf.constant(["Unaffable", "中é"]))
    assert expected.dtype == tf.int32
    assert tokenizer.tokenize(["Unaffable", "中é"]).to_list() == expected.to_list()
    assert tokenizer.tokenize([b"Unaffable", "中é".encode()]).to_list() == expected.to_list()
    assert tokenizer.tokenize([]).to_list() == []
    assert [ragged.to_list() for ragged in tokenizer.tokenize_with_offsets([])] == [[], [], []]
    with pytest.raises(InputError, match="one axis"):
        tokenizer.tokenize("one text, no batch")


@pytest.mark.slow
def test_graph_and_pipeline_give_the_eager_result(tokenizers):
    tokenizer, _ = tokenizers[True]
    texts = ODD_TEXTS + random_texts(50, seed=7)
    expected = [ragged.to_list() for ragged in tokenizer.tokenize_with_offsets(texts)]

    graph = tf.function(tokenizer.tokenize_with_offsets, input_signature=[tf.TensorSpec([None], tf.string)])
    assert [ragged.to_list() for ragged in graph(tf.constant(texts))] == expected

    dataset = tf.data.Dataset.from_tensor_slices(texts)
    batched = dataset.batch(7).map(tokenizer.tokenize, num_parallel_calls=2)
    assert [row for batch in batched for row in batch.to_list()] == expected[0]
    single = dataset.map(lambda text: tokenizer.tokenize(text[tf.newaxis])[0])
    assert [row.numpy().tolist() for row in single] == expected[0]


LOAD_AS_A_SERVER_DOES = """
import json, sys
import tensorflow as tf
import tensorflow_text

folder, texts = sys.argv[1], json.loads(sys.argv[2])
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
    signature = meta_graph.signature_def["serving_default"]
    feeds = {signature.inputs["text"].name: texts}
    print(json.dumps(session.run(signature.outputs["ids"].name, feeds).tolist()))
"""


@pytest.mark.slow
@pytest.mark.serving
def test_a_moved_export_gives_the_same_ids_in_a_server_of_another_locale(tokenizers, tmp_path):
    tokenizer, _ = tokenizers[True]
    module = tf.Module()
    module.tokenizer = tokenizer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(text):
        return {"ids": tokenizer.tokenize(text).to_tensor(default_value=-1)}

    tf.saved_model.save(module, str(tmp_path / "made"), signatures=serve)
    (tmp_path / "made").rename(tmp_path / "moved")

    texts = ["TITLE ISPARTA", "Unaffable 中国", ""]  # in Turkish the small letter of I is ı
    result = subprocess.run(
        [sys.executable, "-c", LOAD_AS_A_SERVER_DOES, str(tmp_path / "moved"), json.dumps(texts)],
        env={**os.environ, "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == tokenizer.tokenize(texts).to_tensor(default_value=-1).numpy().tolist()
