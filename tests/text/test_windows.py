import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kbert.errors import InputError
from kbert.text import Vocab, WordPieceTokenizer
from kbert.text.windows import cut_windows
from tests.conftest import TINY_VOCAB

CLS, SEP = 2, 3


def ragged(rows):
    values = np.array([i for row in rows for i in row], dtype=np.int32)
    return tf.RaggedTensor.from_row_lengths(values, [len(row) for row in rows])


def numbered(lengths, base):
    """Rows of those lengths, no id twice."""
    ids = iter(range(base, base + sum(lengths)))
    return [[next(ids) for _ in range(length)] for length in lengths]


def windows_of(ids, questions=None, **arguments):
    return cut_windows(
        ragged(ids),
        None if questions is None else ragged(questions),
        cls_id=CLS,
        sep_id=SEP,
        **arguments,
    )


def cut_by_hand(text, question, max_length, stride):
    """Google's loops, one window and one piece at a time: (token_ids, segment_ids, piece, most context)."""
    front = [CLS] if question is None else [CLS, *question, SEP]
    room = max_length - len(front) - 1
    spans, start = [], 0
    while True:
        length = min(len(text) - start, room)
        spans.append((start, length))
        if start + length == len(text):
            break
        start += min(length, stride)

    def score(span, piece):
        left, right = piece - span[0], span[0] + span[1] - 1 - piece
        return min(left, right) + 0.01 * span[1] if left >= 0 and right >= 0 else -1

    for span in spans:
        pieces = range(span[0], sum(span))
        best = [spans.index(max(spans, key=lambda other, p=piece: score(other, p))) for piece in pieces]
        most = [spans[index] == span for index in best]
        ids = [*front, *(text[piece] for piece in pieces), SEP]
        segments = [0] * len(ids) if question is None else [0] * len(front) + [1] * (len(pieces) + 1)
        yield (
            ids,
            segments,
            [-1] * len(front) + list(pieces) + [-1],
            [False] * len(front) + most + [False],
        )


def assert_as_by_hand(texts, questions, max_length, stride, max_question_length=64):
    windows = windows_of(
        texts, questions, max_length=max_length, stride=stride, max_question_length=max_question_length
    )
    expected = [
        (owner, *window)
        for owner, text in enumerate(texts)
        for window in cut_by_hand(
            text, None if questions is None else questions[owner][:max_question_length], max_length, stride
        )
    ]
    owner, token_ids, segment_ids, piece, most_context = zip(*expected, strict=True)
    assert windows.owner.numpy().tolist() == list(owner)
    assert windows.token_ids.to_list() == list(token_ids)
    assert windows.segment_ids.to_list() == list(segment_ids)
    assert windows.piece.to_list() == list(piece)
    assert windows.has_most_context.to_list() == list(most_context)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=16), room=st.integers(1, 12), data=st.data())
def test_single_texts_are_cut_as_by_hand(lengths, room, data):
    stride = data.draw(st.integers(1, room))
    assert_as_by_hand(numbered(lengths, 100), None, max_length=room + 2, stride=stride)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)), min_size=1, max_size=16),
    room=st.integers(1, 12),
    max_question_length=st.integers(0, 6),
    data=st.data(),
)
def test_texts_with_questions_are_cut_as_by_hand(lengths, room, max_question_length, data):
    stride = data.draw(st.integers(1, room))
    texts, questions = numbered([n for n, _ in lengths], 100), numbered([n for _, n in lengths], 900)
    assert_as_by_hand(texts, questions, room + max_question_length + 3, stride, max_question_length)


def test_sizes_of_reading_comprehension():
    rng = np.random.default_rng(5)
    texts, questions = numbered(rng.integers(0, 900, 12), 100), numbered(rng.integers(0, 90, 12), 20_000)
    assert_as_by_hand(texts, questions, max_length=384, stride=128)


def test_every_piece_has_most_context_in_one_window():
    windows = windows_of(numbered([0, 50, 7], 100), max_length=12, stride=3)
    chosen = windows.has_most_context.values.numpy()
    owner = np.repeat(windows.owner.numpy(), windows.piece.row_lengths().numpy())[chosen]
    pieces = sorted(zip(owner.tolist(), windows.piece.values.numpy()[chosen].tolist(), strict=True))
    assert pieces == [(1, i) for i in range(50)] + [(2, i) for i in range(7)]


def test_an_empty_text_has_a_window():
    windows = windows_of([[], [10]], [[20, 21], []], max_length=8, stride=1, max_question_length=4)
    assert windows.token_ids.to_list() == [[CLS, 20, 21, SEP, SEP], [CLS, SEP, 10, SEP]]
    assert windows.owner.numpy().tolist() == [0, 1]
    assert windows.has_most_context.to_list() == [[False] * 5, [False, False, True, False]]


@pytest.mark.parametrize("questions", [None, []])
def test_no_texts_have_no_windows(questions):
    windows = windows_of([], questions, max_length=80, stride=3)
    assert [field.shape[0] for field in windows] == [0] * 5
    assert windows.gather(ragged([])).to_list() == []


def test_a_piece_of_a_window_is_found_in_the_text():
    tokenizer = WordPieceTokenizer(Vocab(TINY_VOCAB))
    texts = ["The film   is very good!", "", "我们很喜欢这部电影", "x 😀 CAFÉ playing"]
    ids, begins, ends = tokenizer.tokenize_with_offsets(texts)
    windows = cut_windows(ids, max_length=5, stride=2, cls_id=CLS, sep_id=SEP)
    begins, ends = windows.gather(begins), windows.gather(ends)
    assert begins.dtype == tf.int32
    assert windows.owner.numpy().tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 3, 3]
    found = [
        [texts[owner][begin:end] if begin >= 0 else None for begin, end in zip(*rows, strict=True)]
        for owner, *rows in zip(windows.owner.numpy(), begins.to_list(), ends.to_list(), strict=True)
    ]
    assert found == [
        [None, "The", "film", "is", None],
        [None, "is", "very", "good", None],
        [None, "good", "!", None],
        [None, None],
        [None, "我", "们", "很", None],
        [None, "很", "喜", "欢", None],
        [None, "欢", "这", "部", None],
        [None, "部", "电", "影", None],
        [None, "x", "😀", "CAFÉ", None],
        [None, "CAFÉ", "play", "ing", None],
    ]


def test_numbers_of_pieces_go_along_with_what_is_outside():
    windows = windows_of([[10, 11, 12]], [[20]], max_length=6, stride=1, max_question_length=1)
    assert windows.gather(ragged([[5, 6, 7]]), outside=-100).to_list() == [
        [-100, -100, -100, 5, 6, -100],
        [-100, -100, -100, 6, 7, -100],
    ]


def test_a_stride_that_would_leave_pieces_out_is_refused():
    windows_of([[10]], max_length=12, stride=10)
    for stride in (0, 11):
        with pytest.raises(InputError, match=rf"stride={stride}; a window .* holds 10 pieces .* 1 to 10"):
            windows_of([[10]], max_length=12, stride=stride)
    arguments = dict(questions=[[20]], max_length=80, max_question_length=50)
    windows_of([[10]], stride=27, **arguments)
    with pytest.raises(InputError, match="27 pieces beside a question of 50 pieces.* expected 1 to 27"):
        windows_of([[10]], stride=28, **arguments)
    with pytest.raises(InputError, match="no room for a text beside a question of 64 pieces"):
        windows_of([[10]], [[20]], max_length=67, stride=1)


def test_in_a_pipeline_windows_of_a_batch_come_together():
    texts = numbered([9, 0, 3, 20, 1], 100)
    dataset = tf.data.Dataset.from_tensor_slices(ragged(texts)).batch(2)
    parts = list(dataset.map(lambda ids: cut_windows(ids, max_length=6, stride=3, cls_id=CLS, sep_id=SEP)))
    whole = windows_of(texts, max_length=6, stride=3)
    for name in ("token_ids", "segment_ids", "piece", "has_most_context"):
        rows = [row for part in parts for row in getattr(part, name).to_list()]
        assert rows == getattr(whole, name).to_list()
    owners = [2 * i + owner for i, part in enumerate(parts) for owner in part.owner.numpy().tolist()]
    assert owners == whole.owner.numpy().tolist()


class Reader(tf.Module):
    """What a served reading model does before its model; its texts are numbers, its pieces words."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 2)
    def read(self, questions, texts):
        words, begins = tf.strings.split(texts), tf.ragged.range(tf.strings.split(texts).row_lengths())
        numbers = words.with_values(tf.strings.to_number(words.values, tf.int32))
        asked = tf.strings.split(questions)
        windows = cut_windows(
            numbers,
            asked.with_values(tf.strings.to_number(asked.values, tf.int32)),
            max_length=12,
            stride=4,
            cls_id=CLS,
            sep_id=SEP,
            max_question_length=4,
        )
        return {
            "token_ids": windows.token_ids.to_tensor(),
            "begins": windows.gather(begins).to_tensor(-1),
            "owner": windows.owner,
            "has_most_context": windows.has_most_context.to_tensor(),
        }


def test_a_saved_model_cuts_any_batch(tmp_path):
    reader = Reader()
    tf.saved_model.save(reader, tmp_path, signatures=reader.read)
    served = tf.saved_model.load(tmp_path).signatures["serving_default"]
    for questions, texts in (
        ([], []),
        ([[900, 901]], [[]]),
        ([[], [900, 901, 902, 903, 904]], [list(range(100, 130)), list(range(200, 211))]),
    ):
        rows = [[" ".join(map(str, row)) for row in side] for side in (questions, texts)]
        got = served(questions=tf.constant(rows[0], tf.string), texts=tf.constant(rows[1], tf.string))
        windows = windows_of(texts, questions, max_length=12, stride=4, max_question_length=4)
        expected = {
            "token_ids": windows.token_ids.to_tensor(),
            "begins": windows.piece.to_tensor(-1),
            "owner": windows.owner,
            "has_most_context": windows.has_most_context.to_tensor(),
        }
        assert {name: tensor.numpy().tolist() for name, tensor in got.items()} == {
            name: tensor.numpy().tolist() for name, tensor in expected.items()
        }
    assert windows.owner.numpy().tolist() == [0] * 7 + [1] * 3


def test_the_graph_asks_the_server_for_core_ops_only():
    spec = tf.RaggedTensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[spec, spec])
    def cut(ids, questions):
        return cut_windows(ids, questions, max_length=80, stride=8, cls_id=CLS, sep_id=SEP)

    graph = cut.get_concrete_function().graph.as_graph_def()
    library = graph.library.function
    kinds = {node.op for nodes in (graph.node, *(f.node_def for f in library)) for node in nodes}
    assert "RaggedRange" in kinds
    foreign = kinds - set(dir(tf.raw_ops)) - {function.signature.name for function in library}
    assert not foreign | {kind for kind in kinds if "PyFunc" in kind}
