import json
import logging

import pytest

from kbert import InputError, checkpoints
from kbert.checkpoints import huggingface, tokenizer_files
from kbert.text import Vocab, WordPieceTokenizer

TEXTS = [
    "The film was Unplayed, café!",
    "我们喜欢这部电影。",
    "niño\tмосква\u00a0STRASSE καλά ❤️",
    "zzz " + "x" * 150 + " bad",
    "x" * 201 + "good",
    "",
]


@pytest.fixture
def written(tiny_vocab, tmp_path):
    """(lowercase) -> folder with the three files."""

    def write(lowercase):
        folder = tmp_path / "written"
        folder.mkdir()
        tokenizer_files.write_tokenizer(folder, list(Vocab.read(tiny_vocab).tokens), lowercase, 12)
        return folder

    return write


@pytest.mark.parametrize("lowercase", [True, False])
def test_the_fast_tokenizer_splits_as_kbert_does(written, tiny_vocab, lowercase):
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer.from_file(str(written(lowercase) / "tokenizer.json"))
    ours = WordPieceTokenizer(tiny_vocab, lowercase=lowercase)
    for text, ids in zip(TEXTS, ours.tokenize(TEXTS).to_list(), strict=True):
        assert theirs.encode(text, add_special_tokens=False).ids == ids, text
    pair = theirs.encode("good", "bad film")
    assert pair.tokens == ["[CLS]", "good", "[SEP]", "bad", "film", "[SEP]"]
    assert pair.type_ids == [0, 0, 0, 1, 1, 1]
    assert theirs.encode("a [MASK] play").tokens[2] == "[MASK]"


def test_what_is_written_is_read(written, tiny_vocab):
    folder = written(False)
    assert (folder / "vocab.txt").read_bytes() == tiny_vocab.read_bytes()
    assert tokenizer_files.read_lowercase(folder) is False
    assert tokenizer_files.read_max_length(folder, 99) == 12
    assert tokenizer_files.read_max_length(folder, 7) == 7
    (folder / "tokenizer_config.json").unlink()
    assert tokenizer_files.read_lowercase(folder) is False  # from tokenizer.json
    (folder / "vocab.txt").unlink()
    assert checkpoints.read_tokens(folder) == list(Vocab.read(tiny_vocab).tokens)


def test_a_vocabulary_without_special_tokens_makes_no_fast_tokenizer(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        tokenizer_files.write_tokenizer(tmp_path, ["[PAD]", "good"], True, 8)
    assert "[UNK], [SEP], [CLS], [MASK] not in the vocabulary" in caplog.text
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tokenizer_config.json", "vocab.txt"]


def test_a_length_without_bound_is_none(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 1e30}')
    assert tokenizer_files.read_max_length(tmp_path, 48) == 48


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"do_lower_case": True, "strip_accents": False}, "'strip_accents': False"),
        ({"do_lower_case": True, "tokenize_chinese_chars": False}, "'tokenize_chinese_chars': False"),
        ({"do_lower_case": True, "do_basic_tokenize": False}, "'do_basic_tokenize': False"),
        (
            {
                "do_lower_case": True,
                "tokenizer_class": "BertJapaneseTokenizer",
                "word_tokenizer_type": "mecab",
                "subword_tokenizer_type": "character",
            },
            "{'word_tokenizer_type': 'mecab', 'subword_tokenizer_type': 'character', 'tokenizer_class': "
            "'BertJapaneseTokenizer'}",
        ),
    ],
)
def test_another_way_of_splitting_is_warned_of(tmp_path, caplog, options, message):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(options))
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert tokenizer_files.read_lowercase(tmp_path) is True
        tokenizer_files.read_lowercase(tmp_path)
    (record,) = caplog.records
    assert record.message.startswith(f"{tmp_path / 'tokenizer_config.json'}: says ")
    assert message in record.message


@pytest.mark.parametrize("tokenizer", ["BertTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("normalizer", {"strip_accents": False}, "'strip_accents': False"),
        ("normalizer", {"strip_accents": True}, None),  # As it does anyway where texts are lower-cased.
        ("normalizer", {"handle_chinese_chars": False}, "'handle_chinese_chars': False"),
        ("normalizer", {"type": "Sequence", "normalizers": []}, "'normalizer': 'Sequence'"),
        ("normalizer", None, "'normalizer': 'none'"),
        ("pre_tokenizer", {"type": "Whitespace"}, "'pre_tokenizer': 'Whitespace'"),
        ("model", {"continuing_subword_prefix": "@@"}, "'continuing_subword_prefix': '@@'"),
    ],
)
def test_another_way_of_splitting_in_tokenizer_json_is_warned_of(
    written, edit_json, caplog, tokenizer, part, changes, message
):
    folder = written(True)
    fast = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**fast, part: changes and {**fast[part], **changes}}))
    edit_json(folder / "tokenizer_config.json", tokenizer_class=tokenizer)
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert tokenizer_files.read_lowercase(folder) is True
    said = [record.message for record in caplog.records]
    expected = f"{folder / 'tokenizer.json'}: says {{{message}}}, but kbert splits as Google's BERT does"
    assert said == ([expected] if message else [])


@pytest.mark.parametrize(
    ("tokenizer", "lowercase"),
    [("BertTokenizer", True), ("PreTrainedTokenizerFast", False), ("TokenizersBackend", False)],
)
def test_the_case_is_that_of_the_file_which_the_class_looks_at(written, edit_json, tokenizer, lowercase):
    folder = written(False)
    edit_json(folder / "tokenizer_config.json", tokenizer_class=tokenizer, do_lower_case=True)
    assert tokenizer_files.read_lowercase(folder) is lowercase


@pytest.mark.parametrize("options", [{}, {"tokenizer_class": "BertTokenizer"}])
def test_the_config_of_the_model_names_a_tokenizer_where_no_other_file_does(tmp_path, caplog, options):
    (tmp_path / "config.json").write_text('{"tokenizer_class": "BertJapaneseTokenizer"}')
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(options))
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert tokenizer_files.read_lowercase(tmp_path) is None
    assert ("config.json: says {'tokenizer_class': 'BertJapaneseTokenizer'}" in caplog.text) != bool(options)


@pytest.mark.parametrize("in_vocab_file", [False, True])
def test_tokens_that_are_kept_whole_elsewhere_are_warned_of(written, edit_json, caplog, in_vocab_file):
    folder = written(True)
    fast = json.loads((folder / "tokenizer.json").read_text())
    added = [{"id": 99, "content": "<user>"}, {"id": 100, "content": "covid"}]
    edit_json(folder / "tokenizer.json", added_tokens=[*fast["added_tokens"], *added])
    if in_vocab_file:
        with open(folder / "vocab.txt", "a", encoding="utf-8") as file:
            file.write("<user>\ncovid\n")
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert tokenizer_files.read_lowercase(folder) is True
    # Marks part a word of the vocabulary too.
    split = "<user>" if in_vocab_file else "<user>, covid"
    assert f": its tokenizer keeps tokens whole ({split}) that kbert splits like any text" in caplog.text


def test_words_that_are_never_split_elsewhere_are_warned_of(tmp_path, caplog):
    # As in the first AraBERT, whose vocab.txt has them.
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"never_split": ["[UNK]", "[رابط]"]}))
    (tmp_path / "vocab.txt").write_text("[UNK]\n[رابط]\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING, logger="absl"):
        tokenizer_files.read_lowercase(tmp_path)
    assert f"{tmp_path}: its tokenizer keeps tokens whole ([رابط]) that kbert splits" in caplog.text


def test_the_tokenizers_of_bert_split_as_kbert_does(written, edit_json, caplog):
    folder = written(True)
    with caplog.at_level(logging.WARNING, logger="absl"):
        for name in ("BertTokenizer", "BertTokenizerFast", "PreTrainedTokenizerFast", "ElectraTokenizer"):
            edit_json(folder / "tokenizer_config.json", tokenizer_class=name)
            assert tokenizer_files.read_lowercase(folder) is True
    assert not caplog.records


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"type": "BPE", "vocab": {"a": 0}}}, "splits words by BPE, but kbert by WordPiece alone"),
        ({"model": {"type": "Unigram", "vocab": [["<s>", 0.0]]}}, "splits words by Unigram"),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0, "b": 2}}}, "gaps"),
        ({}, "no WordPiece vocabulary"),
    ],
)
def test_a_foreign_fast_tokenizer_is_refused(tmp_path, content, message):
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"tokenizer.json: .*{message}"):
        tokenizer_files.read_fast_tokens(tmp_path)


@pytest.mark.parametrize("model", ["Bert", "BertClassifier"])
def test_the_weights_of_a_model_with_a_foreign_tokenizer_can_be_had(make_model, tmp_path, caplog, model):
    huggingface.write(tmp_path, make_model(model))
    # As multilingual-e5 has it, which is a BERT with XLM-R's tokenizer.
    fast = {"model": {"type": "Unigram", "vocab": [["<s>", 0.0]]}, "added_tokens": [{"content": "<s>"}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(fast))
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert type(checkpoints.load(tmp_path)).__name__ == model
    (said,) = [record.message for record in caplog.records if "pooler" not in record.message]
    assert said.startswith(f"{tmp_path / 'tokenizer.json'}: splits words by Unigram")


def test_a_choice_that_is_none_is_refused(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": "yes"}')
    with pytest.raises(InputError, match="do_lower_case='yes'; expected true or false"):
        tokenizer_files.read_lowercase(tmp_path)
