"""`TagWriter`: from what a tagger says of some words to a tag for each word, in the graph."""

from collections.abc import Sequence

import tensorflow as tf

from kbert.export.words import latest
from kbert.tag_schemes import Entity, split_tag, tags_of
from kbert.tasks.tagging_answers import UNANSWERED


class TagWriter:
    """Tags and scores of all words, of those that positions of the model answer for.

    Entities are read from the words that have an answer of their own, one after the other, as
    `kbert.tag_schemes.entities_of` reads them, and written anew by the rules of the scheme: a word of which
    no piece is left goes on with an entity that stands on both its sides, and is outside otherwise.

    Args:
        tags: Names by id.
        scheme: How they write entities; None if they do not.

    Reference:
        `answer_of` of `kbert.tasks.tagging_answers`, the same for one text in plain Python.
    """

    def __init__(self, tags: Sequence[str], scheme: str | None):
        self.tags = list(tags)
        self.scheme = scheme
        if scheme is None:
            return
        letters, types = zip(*map(split_tag, tags), strict=True)
        distinct = list(dict.fromkeys(types))
        self._type = [distinct.index(type_) for type_ in types]
        self._is_entity = [letter != "O" for letter in letters]
        self._may_begin_a_longer_one = [letter in "BIM" for letter in letters]
        self._may_go_on = [letter in "IME" for letter in letters]
        #: Of each type the tags of a first, an inner, a last and an only word.
        self._written = [
            [tag for size in (3, 1) for tag in tags_of([Entity(type_, 0, size)], size, scheme)]
            for type_ in distinct
        ]

    def __call__(
        self, text: tf.Tensor, said: tf.Tensor, stop: tf.Tensor, tag_id: tf.Tensor, score: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Tags, string (N), and scores, float32 (N), of the words of a batch.

        Args:
            text: int32 (N), which text a word is from.
            said: bool (N), whether the word has an answer of its own.
            stop: int32 (N), the word after the last one that this answer is for.
            tag_id: int32 (N), the answer; any tag at other words.
            score: float32 (N), its probability.
        """
        number = tf.range(tf.size(text))
        leader = latest(number, said)
        # Words are counted from 1 here: 0 stands for no word, of no text.
        same_text = tf.equal(tf.gather(tf.concat([[-1], text], axis=0), leader + 1), text)
        leader = tf.where(same_text, leader, -1)
        answered = number < tf.gather(tf.concat([[-1], stop], axis=0), leader + 1)
        # Any word will do where there is none before, since `answered` is then false.
        source = tf.maximum(leader, 0)
        scores = tf.where(answered, tf.gather(score, source), 0.0)
        if self.scheme is None:
            names = tf.gather(tf.constant(self.tags), tf.gather(tag_id, source))
            return tf.where(answered, names, UNANSWERED), scores

        joins, is_joined = self._joined(text, said, tag_id)
        is_joined = tf.gather(is_joined, source)
        of_leader = tf.gather(tag_id, source)
        inside = (leader >= 0) & tf.gather(self._is_entity, of_leader) & (answered | is_joined)
        is_first = tf.equal(number, leader) & ~tf.gather(joins, source)
        is_last = tf.equal(number + 1, tf.gather(stop, source)) & ~is_joined
        form = tf.where(is_first, tf.where(is_last, 3, 0), tf.where(is_last, 2, 1))
        names = tf.gather_nd(self._written, tf.stack([tf.gather(self._type, of_leader), form], axis=1))
        return tf.where(inside, names, UNANSWERED), scores

    def _joined(self, text, said, tag_id) -> tuple[tf.Tensor, tf.Tensor]:
        """Which answers go on with the entity of the one before, and which does the next go on with.

        Both are bool (N), false where nothing is said.
        """
        place = tf.where(said)
        tag, text = tf.gather_nd(tag_id, place), tf.gather_nd(text, place)
        type_ = tf.gather(self._type, tag)
        joins = tf.gather(self._may_go_on, tag[1:]) & tf.gather(self._may_begin_a_longer_one, tag[:-1])
        joins &= tf.equal(type_[1:], type_[:-1]) & tf.equal(text[1:], text[:-1])
        shape = tf.shape(said, tf.int64)
        return (
            tf.scatter_nd(place[1:], joins, shape),
            tf.scatter_nd(place[:-1], joins, shape),
        )
