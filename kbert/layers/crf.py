"""`LinearChainCrf`: tags that know their neighbours; and which tag may follow which."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

#: What a forbidden transition scores: below any real chain of scores, so that no path with one is ever the
#: best, and near enough to 0 for float32 to tell apart the losses of two such paths.
FORBIDDEN_SCORE = -1e6

#: The 0 of log space: exp() of any sum it takes part in is 0. Finite, because inf - inf is NaN; and far below
#: a forbidden transition, which is unlikely but must still count for something.
_NEVER = -1e9

#: Each is the letters that it knows.
_SCHEMES = ("BIO", "BIOES")


@keras.saving.register_keras_serializable(package="kbert")
class LinearChainCrf(keras.layers.Layer):
    """A probability for each whole sequence of tags, from scores of words and scores of transitions.

    A softmax gives each word its tag without a look at the neighbours. Here a sequence y of W tags scores

        s(y) = start[y₁] + logits₁[y₁] + Σ (transitions[yₜ₋₁, yₜ] + logitsₜ[yₜ]) + end[y_W]

    and its probability is softmax(s) over all T^W sequences. At first all weights are 0, and that is the
    same as a softmax for each word. Everything is computed in float32, whatever the dtype policy.

    Masked words count as absent, at the end as well as between others: the chain goes from one real word to
    the next one. A row without any has one sequence, the empty one, with log-likelihood 0.

    Args:
        constraints: Of `allowed_transitions`, or the same by hand: a dict of `transitions`, T lists of T
            values, true where the tag of the column may follow that of the row; `start` and `end`, T values
            each. What is not allowed scores `FORBIDDEN_SCORE`, whatever the weights. None allows everything.

    Call arguments:
        logits: float (B, W, T), scores of the tags.
        tags: int (B, W), each in [0, T); any number at masked words.
        word_mask: bool, integer or float (B, W), non-zero = real word; None = all are.

    Returns:
        float32 (B), the log-likelihoods of the tags.

    Raises:
        ValueError: The constraints are not for T tags.

    Example:
        >>> crf = LinearChainCrf()
        >>> round(float(crf(keras.ops.zeros((1, 3, 2)), keras.ops.array([[0, 1, 1]]))[0]), 4)  # log(1/2³)
        -2.0794
        >>> keras.ops.convert_to_numpy(crf.decode(keras.ops.array([[[0.0, 1.0], [3.0, 2.0]]]))).tolist()
        [[1, 0]]

    Reference:
        Lafferty, McCallum and Pereira, 2001, "Conditional Random Fields". Departures: the gradient is
        computed by the backward algorithm rather than by differentiating the forward one (see
        `_log_normalizer`), and masked words may be anywhere.
    """

    def __init__(self, constraints: dict | None = None, **kwargs):
        super().__init__(**kwargs)
        self.constraints = constraints
        self.autocast = False  # Sums over a whole sentence need more than the 8 bits of bfloat16.

    def build(self, logits_shape):
        num_tags = logits_shape[-1]
        _check_constraints(self.constraints, num_tags)
        self.transitions = self._add_scores("transitions", num_tags, num_tags)
        self.start = self._add_scores("start", num_tags)
        self.end = self._add_scores("end", num_tags)
        self.built = True

    def _add_scores(self, name, *shape):
        return self.add_weight(name=name, shape=shape, initializer="zeros", dtype="float32", autocast=False)

    def call(self, logits, tags, word_mask=None):
        real = _real_words(logits, word_mask)
        steps = self._steps(logits, real)
        score = self._path_score(steps, ops.where(real, ops.cast(tags, "int32"), 0), real)
        return ops.where(ops.any(real, axis=1), score - self._log_normalizer(steps), 0.0)

    def decode(self, logits, word_mask=None):
        """The most likely sequence of tags (Viterbi).

        Of equally likely ones, the one whose last tag has the lowest id, then its last but one, and so on.

        Args:
            logits: float (B, W, T).
            word_mask: As for the call.

        Returns:
            int32 (B, W); 0 at masked words.
        """
        real = _real_words(logits, word_mask)
        steps = self._steps(logits, real)
        best, before = _scan(_best_ways, _origin(steps), steps)
        # The tag from which the best way to each tag comes, for all words at once.
        pointers = ops.argmax(before[..., None] + steps, axis=2)
        last = ops.argmax(best + self._scores("end"), axis=-1)
        _, tags = _scan(_step_back, last, pointers, reverse=True)
        return ops.where(real, ops.transpose(tags), 0)

    def marginals(self, logits, word_mask=None):
        """The probability of each tag at each word, summed over all sequences.

        Args:
            logits: float (B, W, T).
            word_mask: As for the call.

        Returns:
            float32 (B, W, T); rows sum to 1, and are 0 at masked words. Not differentiable.
        """
        real = _real_words(logits, word_mask)
        _, pairs = self._forward_backward(self._steps(logits, real))
        found = ops.transpose(ops.sum(pairs, axis=2), (1, 0, 2))
        # They sum to 1 but for the rounding of the scores of long texts, which is divided out.
        found = ops.divide(found, ops.sum(found, axis=-1, keepdims=True))
        return ops.where(real[..., None], found, 0.0)

    def _scores(self, name):
        """The weights of that name, with `FORBIDDEN_SCORE` in the places of what is not allowed."""
        weights = ops.convert_to_tensor(getattr(self, name))
        if self.constraints is None:
            return weights
        return ops.where(ops.array(self.constraints[name], dtype="bool"), weights, FORBIDDEN_SCORE)

    def _steps(self, logits, real):
        """Each word as a matrix: the score of coming from the row's tag to the column's; (W, B, T, T).

        The chain is the product of these matrices, with max or log-sum-exp for + and + for ×. Start and
        mask need no special care later on: the first word's tags score the same wherever one comes from,
        and a masked word is the identity.
        """
        num_tags = logits.shape[-1]
        logits = ops.transpose(ops.cast(logits, "float32"), (1, 0, 2))[:, :, None, :]
        count = ops.transpose(ops.cast(real, "int32"))[..., None, None]
        is_first = ops.equal(count * ops.cumsum(count, axis=0), 1)
        arrival = ops.where(is_first, self._scores("start"), self._scores("transitions"))
        identity = _log_space(ops.eye(num_tags, dtype="bool"))
        return ops.where(ops.equal(count, 1), arrival + logits, identity)

    def _path_score(self, steps, tags, real):
        before, last = _neighbours(tags, real)
        count, batch, num_tags = *ops.shape(steps)[:2], steps.shape[-1]
        pairs = ops.transpose(before * num_tags + tags)[..., None]
        scores = ops.take_along_axis(ops.reshape(steps, (count, batch, -1)), pairs, axis=2)[..., 0]
        total = ops.sum(ops.where(real, ops.transpose(scores), 0.0), axis=1)
        return total + ops.take(self._scores("end"), last, axis=0)

    def _log_normalizer(self, steps):
        """Logarithm of Σ exp(s(y)) over all sequences; (B).

        Its gradient with respect to a score is the probability that a sequence uses this score, which the
        backward algorithm gives. So nothing is differentiated through the loops, which XLA refuses to do for
        TensorFlow's. The second term is 0 and has that gradient; it has no second derivative.
        """
        total, pairs = self._forward_backward(steps)
        return total + ops.sum(pairs * (steps - ops.stop_gradient(steps)), axis=(0, 2, 3))

    def _forward_backward(self, steps):
        """The log normalizer (B), and the probability of each step from tag to tag (W, B, T, T)."""
        end = ops.zeros_like(_origin(steps)) + self._scores("end")
        last, before = _scan(_ways_before, _origin(steps), steps)
        _, after = _scan(_ways_after, end, steps, reverse=True)
        total = ops.logsumexp(last + end, axis=-1)
        pairs = ops.exp(before[..., None] + steps + after[..., None, :] - total[:, None, None])
        return total, ops.stop_gradient(pairs)

    def compute_output_spec(self, logits, tags, word_mask=None):
        return keras.KerasTensor(logits.shape[:1], dtype="float32")

    def get_config(self):
        return {**super().get_config(), "constraints": self.constraints}


def _scan(step, initial, elements, reverse=False):
    """`ops.scan`, not differentiated: the last state, and the state before each element."""
    results = ops.scan(step, ops.stop_gradient(initial), ops.stop_gradient(elements), reverse=reverse)
    return tuple(ops.stop_gradient(result) for result in results)


# The steps of the four loops. They are no closures because JAX compiles a loop once for each function.


def _ways_before(before, scores):
    """The log Σ exp of all ways from the start to each tag, from those to the word before; (B, T)."""
    return ops.logsumexp(before[:, :, None] + scores, axis=1), before


def _ways_after(after, scores):
    """The log Σ exp of all ways from each tag to the end, from those of the word after; (B, T)."""
    return ops.logsumexp(scores + after[:, None, :], axis=2), after


def _best_ways(before, scores):
    """As `_ways_before`, of the best way alone."""
    # `initial`, as Keras else refuses, outside of a graph, the largest values of a batch of no rows.
    return ops.max(before[:, :, None] + scores, axis=1, initial=-math.inf), before


def _step_back(tag, pointers):
    """The tag that the best way to `tag` comes from; (B)."""
    return ops.take_along_axis(pointers, tag[:, None], axis=1)[:, 0], tag


def _origin(steps):
    """Before the first word all ways are at one place, for which tag 0 stands; (B, T)."""
    here = _log_space(ops.equal(ops.arange(steps.shape[-1]), 0))
    return ops.zeros((ops.shape(steps)[1], steps.shape[-1]), dtype="float32") + here


def _log_space(ones):
    """The logarithm of 1 where true, and of 0 elsewhere."""
    # Of two Python numbers Keras would make its `floatx`.
    return ops.where(ones, np.float32(0), _NEVER)


def _real_words(logits, word_mask):
    if word_mask is None:
        return ops.ones(ops.shape(logits)[:2], dtype="bool")
    return ops.cast(word_mask, "bool")


def _neighbours(tags, real):
    """The tag of the real word before each word (B, W), and of the last one (B); any where there is none."""
    places = ops.arange(ops.shape(tags)[1])
    order = ops.argsort(ops.where(real, places, places + ops.shape(tags)[1]), axis=1)
    packed = ops.take_along_axis(tags, order, axis=1)
    # The k-th real word, counted from 1, is at k - 1 of the packed ones, and its predecessor at k - 2.
    number = ops.cumsum(ops.cast(real, "int32"), axis=1)
    before = ops.take_along_axis(packed, ops.maximum(number - 2, 0), axis=1)
    last = ops.take_along_axis(packed, ops.maximum(number[:, -1:] - 1, 0), axis=1)
    return before, last[:, 0]


def allowed_transitions(tags: Sequence[str], scheme: str) -> dict[str, list]:
    """Which tag may follow which, read from the names; the `constraints` of `LinearChainCrf`.

    Args:
        tags: Names by id: "O", or a letter of the scheme, alone or with "-" and a type ("B-PER").
        scheme: "BIO": an entity is B I I, each of its type, and B alone is one of a single word. "BIOES": it
            is B I E, or S alone.

    Returns:
        Dict of `transitions` (T lists of T bools: from the row's tag to the column's), `start` and `end` (T
        bools each), plain JSON.

    Raises:
        ValueError: An unknown scheme, or a name that it does not know.

    Example:
        >>> allowed_transitions(["O", "B-PER", "I-PER"], "BIO")["transitions"]
        [[True, True, False], [True, True, True], [True, True, True]]

    Reference:
        Ramshaw and Marcus, 1995, "Text Chunking using Transformation-Based Learning" (as IOB2); Ratinov and
        Roth, 2009, "Design Challenges and Misconceptions in Named Entity Recognition" (as BILOU).
    """
    if scheme not in _SCHEMES:
        raise ValueError(f"scheme={scheme!r} is unknown; expected one of {', '.join(_SCHEMES)}")
    parsed = [_parse_tag(tag, scheme) for tag in tags]
    outside = ("O", "")  # What is before the first word and after the last one.
    return {
        "transitions": [[_may_follow(before, tag, scheme) for tag in parsed] for before in parsed],
        "start": [_may_follow(outside, tag, scheme) for tag in parsed],
        "end": [_may_follow(tag, outside, scheme) for tag in parsed],
    }


def _parse_tag(tag: str, scheme: str) -> tuple[str, str]:
    letter, _, kind = tag.partition("-")
    if letter not in tuple(scheme) or (letter == "O" and tag != "O"):
        raise ValueError(
            f"tag {tag!r} does not fit the scheme {scheme}; expected 'O', or one of the letters "
            f"{', '.join(scheme.replace('O', ''))}, alone or followed by '-' and a type"
        )
    return letter, kind


def _may_follow(before: tuple[str, str], tag: tuple[str, str], scheme: str) -> bool:
    is_open = before[0] in ("B", "I")
    if tag[0] in ("I", "E"):
        return is_open and before[1] == tag[1]
    # In BIO an entity ends where no I follows; BIOES says so with the last word's own letter.
    return scheme == "BIO" or not is_open


def _check_constraints(constraints: dict | None, num_tags: int) -> None:
    if constraints is None:
        return
    expected = {"transitions": (num_tags, num_tags), "start": (num_tags,), "end": (num_tags,)}
    shapes = {name: tuple(ops.shape(ops.array(values))) for name, values in constraints.items()}
    if shapes != expected:
        raise ValueError(
            f"constraints of shapes {shapes} came; expected {expected} for {num_tags} tags, as "
            "allowed_transitions gives them"
        )
