import random

import pytest

from kbert.errors import InputError
from kbert.text import Vocab, WordPieceTokenizer
from kbert.text.vocab_extension import extend_vocab
from kbert.text.word_counts import count_words
from tests.text import reference_tokenizer as reference

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [piece for char in "acdegilnoprstuy" for piece in (char, "##" + char)]
VOCAB = Vocab([*SPECIALS, "[unused1]", "the", "##ing", *LETTERS, "[unused2]", "."])


def extend(texts, vocab=VOCAB, **options):
    options = {"min_count": 1, **options}
    return extend_vocab(vocab, count_words(texts, options.get("lowercase", True)), **options)


def test_words_are_ranked_by_the_tokens_they_save():
    # play is 4 pieces, 3 too many, seen 2 times; cardiology 10, seen once; going 3, seen 4 times.
    texts = ["the cardiology the", "Play the play.", "going going going going the"]
    extension = extend(texts)
    assert [(word.word, word.count, word.score) for word in extension.words] == [
        ("cardiology", 1, 9),
        ("going", 4, 8),
        ("play", 2, 6),
    ]
    assert extension.words[1].pieces == ("g", "##o", "##ing")
    assert extension.vocab.tokens == (*VOCAB.tokens, "cardiology", "going", "play")
    assert [word.word for word in extend(texts, num_words=1).words] == ["cardiology"]
    assert [word.word for word in extend(texts, min_count=2).words] == ["going", "play"]
    assert [word.word for word in extend(texts, min_count=3).words] == ["going"]


@pytest.mark.parametrize("lowercase", [True, False])
def test_figures_are_those_of_the_tokenizer_on_the_text(lowercase):
    rng = random.Random(5)
    words = ["".join(rng.choices("acdegilZ", k=rng.randint(1, 7))) for _ in range(40)]
    texts = [" ".join(rng.choices(words, k=30)) + " 中文. " + "x" * 201 for _ in range(20)]
    extension = extend(texts, num_words=10, lowercase=lowercase)
    total = sum(len(reference.split_words(text, lowercase)) for text in texts)
    for usage, vocab in ((extension.before, VOCAB), (extension.after, extension.vocab)):
        ids = WordPieceTokenizer(vocab, lowercase).tokenize(texts).values.numpy()
        assert (usage.words, usage.tokens) == (total, len(ids))
        assert usage.unknown == (ids == vocab.unk_id).sum()
        assert usage.tokens_per_word == len(ids) / total
        assert usage.unknown_share == usage.unknown / len(ids)
    assert extension.after.tokens < extension.before.tokens


def test_saved_tokens_are_the_score_where_words_stand_apart():
    extension = extend(["playing the cats", "cats"])
    saved = extension.before.tokens - extension.after.tokens
    assert saved == sum(word.score for word in extension.words) > 0


def test_missing_chinese_characters_are_added_and_terms_are_not():
    vocab = Vocab([*SPECIALS, "病", "人"])
    extension = extend(["病人糖尿病，糖尿病。糖"], vocab, num_words=2)
    assert [(word.word, word.count, word.pieces) for word in extension.words] == [
        ("糖", 3, ("[UNK]",)),
        ("尿", 2, ("[UNK]",)),
    ]
    assert extension.before.unknown - extension.after.unknown == 5
    assert extension.before.tokens == extension.after.tokens


def test_an_unknown_word_counts_by_its_characters():
    extension = extend(["zebra the the playing"], num_words=9)
    # zebra has no piece for "z" or "b": its 5 characters count, against 4 pieces too many of playing.
    assert [(word.word, word.score) for word in extension.words] == [("zebra", 5), ("playing", 4)]


def test_slots_are_written_over_in_order_and_other_ids_stay():
    extension = extend(["cardiology", "going going going", "play"], mode="unused")
    assert len(extension.words) == 2 and len(extension.vocab) == len(VOCAB)
    changed = {
        i: (old, new)
        for i, (old, new) in enumerate(zip(VOCAB.tokens, extension.vocab.tokens, strict=True))
        if old != new
    }
    first, second = VOCAB.id("[unused1]"), VOCAB.id("[unused2]")
    assert changed == {first: ("[unused1]", "cardiology"), second: ("[unused2]", "going")}


def test_a_word_that_would_make_others_unknown_is_not_added():
    # With "can" an entry, "cann" is "can" and "##n", which is no piece.
    vocab = Vocab([*SPECIALS, "c", "##an", "##ann", "t", "##o", "o"])
    extension = extend(["can can can", "cann", "to to"], vocab, min_count=2)
    assert [word.word for word in extension.words] == ["to"]
    assert extension.after.unknown == extension.before.unknown == 0
    # If the longer word becomes an entry too, there is no harm.
    extension = extend(["can can can", "cann", "to to"], vocab, min_count=1)
    assert {word.word for word in extension.words} == {"can", "cann", "to"}


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="no word that is 1 times"):
        extend(["the the ."])
    with pytest.raises(InputError, match="no word that is 7 times"):
        extend(["playing"] * 6, min_count=7)
    with pytest.raises(InputError, match=r"no \[unusedN\]"):
        extend(["ab"], Vocab([*SPECIALS, "a", "##b"]), mode="unused")
    with pytest.raises(InputError, match="mode='replace'.*append or unused"):
        extend(["playing"], mode="replace")
    with pytest.raises(InputError, match="no word"):
        extend([])
    with pytest.raises(InputError, match="no word"):
        extend(["a" * 51])  # too long for a word of a language


def test_ties_go_by_the_alphabet():
    assert [word.word for word in extend(["pat tap apt"]).words] == ["apt", "pat", "tap"]
