import subprocess
import sys

import pytest
import tensorflow as tf

from kbert.errors import InputError
from kbert.text import reference
from kbert.text.python_ops import WordPieceTokenizer
from kbert.text.vocab import Vocab

VOCAB = Vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "中", "!"])
TEXTS = ["Playing", "", "pláy中! \0x", b"\xffplay\xe4\xb8", "[MASK]"]


@pytest.mark.parametrize("special", [False, True])
def test_it_gives_the_twins_lists_as_tensors(special):
    tokenizer = WordPieceTokenizer(VOCAB, special_tokens_in_text=special)
    twin = reference.WordPieceTokenizer(VOCAB, special_tokens_in_text=special)
    ragged = tokenizer.tokenize_with_offsets(TEXTS)
    assert [part.to_list() for part in ragged] == list(twin.tokenize_with_offsets(TEXTS))
    assert [part.dtype for part in ragged] == [tf.int32] * 3
    ids = tokenizer.tokenize(tf.constant([reference.as_utf8(text) for text in TEXTS]))
    assert ids.to_list() == ragged[0].to_list()
    assert ids.to_list()[4] == ([4] if special else [1, 1, 1])
    assert tokenizer.count_invalid(TEXTS).numpy().tolist() == [0, 0, 0, 2, 0]


def test_batches_of_every_form_are_one():
    tokenizer = WordPieceTokenizer(VOCAB)
    assert tokenizer.tokenize([]).to_list() == []
    assert tokenizer.tokenize(["a\ud83dplay", b"play"]).to_list() == [[1], [5]]
    with pytest.raises(InputError, match="one axis"):
        tokenizer.tokenize("one text, no batch")


def test_graph_and_pipeline_give_the_eager_result():
    tokenizer = WordPieceTokenizer(VOCAB)
    texts = [reference.as_utf8(text) for text in TEXTS]
    expected = [part.to_list() for part in tokenizer.tokenize_with_offsets(texts)]

    graph = tf.function(tokenizer.tokenize_with_offsets, input_signature=[tf.TensorSpec([None], tf.string)])
    assert [part.to_list() for part in graph(tf.constant(texts))] == expected

    dataset = tf.data.Dataset.from_tensor_slices(texts)
    batched = dataset.batch(2).map(tokenizer.tokenize, num_parallel_calls=2)
    assert [row for batch in batched for row in batch.to_list()] == expected[0]
    single = dataset.map(lambda text: tokenizer.tokenize(text[tf.newaxis])[0])
    assert [row.numpy().tolist() for row in single] == expected[0]


def test_a_checkpoint_can_be_made_and_a_saved_model_is_refused(tmp_path):
    module = tf.Module()
    module.tokenizer = WordPieceTokenizer(VOCAB)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(text):
        return {"ids": module.tokenizer.tokenize(text).to_tensor()}

    tf.train.Checkpoint(module=module).save(str(tmp_path / "checkpoint"))
    with pytest.raises(InputError, match="pip install tensorflow-text"):
        tf.saved_model.save(module, str(tmp_path / "model"), signatures=serve)


WITHOUT_THE_WHEEL = """
import sys
sys.modules["tensorflow_text"] = None
from kbert import text
tokenizer = text.WordPieceTokenizer(text.Vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "a"]))
vocab = text.train_vocab(["Déjà vu", "déjà lu"] * 9, 24)
extension = text.extend_vocab(vocab, text.count_words(["dejavu"] * 9), num_words=1)
from kbert.vocab_resizing import resize_vocab
ids = tokenizer.tokenize(["PLÁY a"]).to_list()
print(type(tokenizer).__module__, ids, "d" in vocab, extension.words[0].word)
"""


@pytest.mark.slow
def test_it_is_chosen_where_the_wheel_of_tensorflow_text_is_missing():
    done = subprocess.run([sys.executable, "-c", WITHOUT_THE_WHEEL], capture_output=True, text=True)
    assert done.stdout.split("\n")[0] == "kbert.text.python_ops [[5, 6]] True dejavu", done.stderr[-2000:]
