"""`TextTagger`: the graph that gives each word of a text a tag."""

from typing import Any

import tensorflow as tf

from kbert import features
from kbert.errors import InputError
from kbert.export.tag_writer import TagWriter
from kbert.export.text_answers import MAX_WINDOWS
from kbert.export.text_module import TextModule, checked_texts
from kbert.export.widths import padded_width
from kbert.export.words import align, find_words
from kbert.text import Windows, cut_windows


class TextTagger(TextModule):
    """A tag for each word: names of things, parts of speech, where words end.

    `serving_default` gives, with W the words of the longest text of the batch, `words` string (B, W), `tags`
    string (B, W), `scores` float32 (B, W), the probability of each tag in its place, `starts` and `ends`
    int32 (B, W), where words stand in the text, in code points; and `num_words` int32 (B,) and `truncated`
    bool (B,). Behind the last word of a row stand "", 0.0 and -1.

    Words are those of `kbert.pipeline`, and so is what is answered to them: tags that write entities keep to
    the rules of their scheme, and a word of which nothing is left, or that was cut off, is `O` with score 0.
    A sequence of bytes that is no UTF-8 counts as one code point, U+FFFD. A text that is read in windows ends
    with the last piece of window 32: words beyond are not listed.

    Raises:
        InputError: As `TextModule`, or the tags do not fit the model.
    """

    def __init__(self, task, model, max_length=None, precision="float32"):
        tags = task.spec["tags"]
        if len(tags) != model.num_tags or len(set(tags)) != len(tags):
            raise InputError(
                f"tags={tags}; the model has num_tags={model.num_tags}; expected as many different tags"
            )
        super().__init__(task, model, max_length, precision)
        self._write = TagWriter(tags, self.task["scheme"])

    def answer(self, text):
        (text,) = checked_texts(text)
        read = tf.strings.substr(text, 0, self.max_text_bytes)
        chars = tf.strings.unicode_decode(read, "UTF-8", errors="replace")
        ids, begins, ends = self.tokenizer.tokenize_with_offsets(read)
        has_more = ids.row_lengths() > self._most_pieces
        lengths = chars.row_lengths()
        if self._in_windows:
            # A text that ends with a piece is read as these pieces.
            begins, ends = begins[:, : self._most_pieces], ends[:, : self._most_pieces]
            lengths = tf.where(has_more, tf.cast(tf.reduce_max(ends, axis=1), tf.int64), lengths)
        words = find_words(chars, lengths)
        word_of_piece, stop = align(words, chars, begins, ends)
        vocab = self.tokenizer.vocab
        windows = cut_windows(
            ids[:, : self._most_pieces],
            max_length=self.max_length,
            stride=self._stride,
            cls_id=vocab.cls_id,
            sep_id=vocab.sep_id,
        )
        said = self._say(windows, windows.gather(word_of_piece), tf.size(stop))
        tags, scores = self._write(words.text, stop=stop, **said)

        def rows(values, filling):
            flat = tf.RaggedTensor.from_row_lengths(values, words.counts, validate=False)  # pyright: ignore[reportAttributeAccessIssue]
            return flat.to_tensor(filling)

        return {
            "words": rows(words.strings, ""),
            "tags": rows(tags, ""),
            "scores": rows(scores, 0.0),
            "starts": rows(words.begins, -1),
            "ends": rows(words.ends, -1),
            "num_words": tf.cast(words.counts, tf.int32),
            "truncated": has_more | (tf.strings.length(text) > self.max_text_bytes),
        }

    def reference(self, text):
        decoded = self._decoded(text)
        ends = self.tokenizer.tokenize_with_offsets([decoded])[2][0].numpy()
        has_more = len(ends) > self._most_pieces
        if self._in_windows and has_more:
            decoded = decoded[: ends[self._most_pieces - 1]]
        answer = self._answer_of_task(decoded)
        answer.pop("entities", None)
        return {
            **answer,
            "num_words": len(answer["words"]),
            "truncated": has_more or len(text) > self.max_text_bytes,
        }

    def _say(self, windows: Windows, word: tf.RaggedTensor, num_words: tf.Tensor) -> dict[str, Any]:
        """What the model says of the words that have a piece, each in the window with most context.

        Args:
            windows: The texts.
            word: int32 (windows, None), ragged, the word that each token is the first piece of, or -1.
            num_words: int32 (), N.

        Returns:
            `said` bool (N), `tag_id` int32 (N) and `score` float32 (N).
        """
        is_word = word.with_values(word.values >= 0)
        positions = tf.ragged.boolean_mask(tf.ragged.range(word.row_lengths()), is_word)
        counts = tf.cast(positions.row_lengths(), tf.int32)
        width = padded_width(counts, self.max_length)
        inputs = self._padded(windows.token_ids, windows.segment_ids)
        # 0, where [CLS] is, stands for no word.
        inputs[features.WORD_POSITIONS] = tf.cast(
            positions.to_tensor(0, shape=tf.stack([-1, width])), tf.int32
        )
        dtypes = {features.TAG_IDS: tf.int32, features.SCORE: tf.float32}
        # A CRF goes from word to word, which takes as long for each group as for all rows.
        outputs = self._outputs(dtypes, inputs, windows.token_ids.row_lengths(), only_where_needed=True)
        is_real = tf.sequence_mask(counts, width)
        chosen = tf.boolean_mask(windows.has_most_context.values, is_word.values)
        place = tf.boolean_mask(tf.boolean_mask(word.values, is_word.values), chosen)[:, tf.newaxis]

        def of_words(values):
            return tf.scatter_nd(place, values, [num_words])

        return {
            "said": of_words(tf.ones(tf.shape(place)[:1], tf.bool)),
            "tag_id": of_words(_chosen(outputs[features.TAG_IDS], is_real, chosen)),
            "score": of_words(_chosen(outputs[features.SCORE], is_real, chosen)),
        }

    @property
    def _in_windows(self) -> bool:
        return self.task["long_text"] == "windows"

    @property
    def _stride(self) -> int:
        room = self.max_length - 2
        return (self.task["stride"] or max(1, room // 2)) if self._in_windows else room

    @property
    def _most_pieces(self) -> int:
        """Of a text; what is beyond is in no window."""
        room = self.max_length - 2
        return room + (MAX_WINDOWS - 1) * self._stride if self._in_windows else room


def _chosen(values: tf.Tensor, is_real: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Values (windows, W) of the chosen ones of all real words, which are counted row by row."""
    return tf.boolean_mask(tf.boolean_mask(values, is_real), chosen)
