"""`BertEmbedder`: a text as one vector, so that like texts lie close together."""

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.layers import (
    absolute_error_sum,
    correct_sum,
    cross_entropy_sum,
    first_pool,
    l2_normalize,
    max_pool,
    mean_pool,
    squared_error_sum,
)
from kbert.layers.masks import HIDDEN_SCORE
from kbert.models.head_model import HeadModel
from kbert.models.text_model import as_features, as_rows

_POOLINGS = {"mean": mean_pool, "first": first_pool, "max": max_pool}


@keras.saving.register_keras_serializable(package="kbert")
class BertEmbedder(HeadModel):
    """BERT with its vectors pooled into one for the whole text; no weights besides the encoder's.

    Trained on pairs of texts: the pair is one more axis of the inputs, and one and the same encoder embeds
    both texts. `InBatchNegativesObjective` takes pairs that belong together (question and answer, title and
    text), or triples with a text that does not; `CosineRegressionObjective` takes pairs with a score.

    Args:
        config: Sizes and arithmetic of the encoder.
        pooling: `"mean"` over the real tokens, `"first"` token ([CLS]), or `"max"` over the real tokens.
        normalize: Whether to divide each vector by its length, so that a dot product is a cosine.
        name: Name of the model.

    Call arguments:
        inputs: As for `Bert`, (B, S), or for K texts together (B, K, S), all padded to the same length; not
            those of `kbert.data.pack_rows`.

    Returns:
        Dict of `embedding`, float32 (B, H), or (B, K, H) for rows of K texts. A text of padding alone gives
        finite numbers. The hidden states are not among the outputs, for `predict` would keep those of all
        texts.

    Raises:
        ValueError: There is no such pooling, or the texts share rows.

    Example:
        >>> import numpy as np
        >>> model = BertEmbedder(BertConfig.preset("tiny", vocab_size=100))
        >>> one, pair = np.array([[1, 4, 7, 2]]), np.array([[[1, 4, 7, 2], [1, 5, 2, 0]]])
        >>> model({"token_ids": one})["embedding"].shape, model({"token_ids": pair})["embedding"].shape
        (TensorShape([1, 128]), TensorShape([1, 2, 128]))

    Reference:
        Reimers and Gurevych, 2019, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks".
    """

    def __init__(
        self,
        config: BertConfig,
        pooling: str = "mean",
        normalize: bool = True,
        name: str = "bert_embedder",
        **kwargs,
    ):
        super().__init__(config, pooler=False, name=name, **kwargs)
        if pooling not in _POOLINGS:
            raise ValueError(f"pooling={pooling!r}; expected one of {', '.join(map(repr, _POOLINGS))}")
        self.pooling = pooling
        self.normalize = normalize

    def head_config(self):
        return {"pooling": self.pooling, "normalize": self.normalize}

    def call(self, inputs, training=None):
        inputs = as_features(inputs)
        leading = ops.shape(inputs[features.TOKEN_IDS])[:-1]
        rows = as_rows(inputs)
        hidden = self.bert(rows, training=training)[features.SEQUENCE_OUTPUT]
        mask = rows.get(features.PADDING_MASK, ops.ones_like(rows[features.TOKEN_IDS]))
        embedding = _POOLINGS[self.pooling](hidden, mask)
        if self.normalize:
            embedding = l2_normalize(embedding)
        return {features.EMBEDDING: ops.reshape(embedding, (*leading, self.config.hidden_dim))}


class InBatchNegativesObjective:
    """Softmax cross-entropy over a batch of pairs: which of all second texts belongs to this first one?

    The score of first text i and second text j is `scale` · cos(aᵢ, bⱼ), and j = i is right. All others in
    the batch serve as wrong answers for free: the larger the batch, the harder the question. With several
    replicas, each has its own batch.

    Rows of three texts have a wrong answer of their own, a text that only seems to belong to the first (a
    hard negative): the third texts of all rows are further wrong answers to each.

    What other rows bring may be right by chance. With `text_numbers` these are left out of the softmax: a
    text equal to the right one, and one that another row gives as right to an equal first text.

    Args:
        scale: Factor on the cosines, the inverse of the softmax's temperature; a cosine alone moves between
            -1 and 1, too little for a softmax over many answers.

    Call arguments:
        outputs: Of `BertEmbedder`, called with pairs or triples: `embedding` float (B, 2 or 3, H).
        targets: Dict of `text_numbers` int32 (B, 2 or 3), equal where the texts are equal; or an empty one,
            where no text comes twice.

    Returns:
        Dict of `loss` and `accuracy` (how often the right one scores highest): pairs of float32 scalars.

    Reference:
        Henderson et al., 2017, "Efficient Natural Language Response Suggestion for Smart Reply", section 4.4;
        sentence-transformers, MultipleNegativesRankingLoss, which does not look for equal texts.
    """

    losses = ("loss",)
    metrics = ("accuracy",)
    #: For `kbert.training.fit`: with the batch cut into parts there would be fewer wrong answers.
    whole_batch = True

    def __init__(self, scale: float = 20.0):
        self.scale = scale

    def __call__(self, outputs: dict, targets: dict) -> dict:
        unit = _unit_texts(outputs, (2, 3))
        scores = self.scale * ops.matmul(unit[:, 0], ops.transpose(_by_column(unit[:, 1:])))
        own = ops.arange(ops.shape(scores)[0], dtype="int32")
        if features.TEXT_NUMBERS in targets:
            scores = ops.where(_right_by_chance(targets[features.TEXT_NUMBERS]), HIDDEN_SCORE, scores)
        return {"loss": cross_entropy_sum(own, scores), "accuracy": correct_sum(own, scores)}


class CosineRegressionObjective:
    """Squared error between the cosine of a pair and its score, as (sum, weight) pairs.

    Call arguments:
        outputs: Of `BertEmbedder`, called with pairs: `embedding` float (B, 2, H).
        targets: Dict of `score` float32 (B), in [-1, 1]; divide the 0 to 5 of STS-B by 5.

    Returns:
        Dict of `loss` and `absolute_error`: pairs of float32 scalars.

    Reference:
        Reimers and Gurevych, 2019, section 3, "regression objective function"; sentence-transformers,
        CosineSimilarityLoss.
    """

    losses = ("loss",)
    metrics = ("absolute_error",)

    def __call__(self, outputs: dict, targets: dict) -> dict:
        unit = _unit_texts(outputs, (2,))
        arguments = (targets[features.SCORE], ops.sum(unit[:, 0] * unit[:, 1], axis=-1))
        return {"loss": squared_error_sum(*arguments), "absolute_error": absolute_error_sum(*arguments)}


def _unit_texts(outputs: dict, counts: tuple[int, ...]):
    """The embeddings of the texts of each row, of length 1 whether or not the model has made them so.

    Raises:
        ValueError: The rows have another number of texts.
    """
    embedding = outputs[features.EMBEDDING]
    if len(embedding.shape) != 3 or embedding.shape[1] not in (*counts, None):
        number = " or ".join(map(str, counts))
        raise ValueError(
            f"embedding has the shape {tuple(embedding.shape)}; expected (B, {number}, H): call the model "
            f"with inputs (B, {number}, S), the texts that belong together"
        )
    return l2_normalize(embedding)


def _by_column(values):
    """(B, K, ...) as (K·B, ...): the first column of all rows, then the second one."""
    return ops.reshape(ops.swapaxes(values, 0, 1), (-1, *values.shape[2:]))


def _right_by_chance(numbers):
    """Which answer is right for a row though it is not the row's own, bool (B, (K - 1)·B).

    A text is right for a row if any row with an equal first text has it as its second one.
    """
    firsts, answers = numbers[:, 0], _by_column(numbers[:, 1:])
    equal_firsts = ops.cast(ops.equal(firsts[:, None], firsts), "float32")
    equal_seconds = ops.cast(ops.equal(numbers[:, 1:2], answers), "float32")
    right = ops.greater(ops.matmul(equal_firsts, equal_seconds), 0)
    own = ops.equal(ops.arange(ops.shape(firsts)[0])[:, None], ops.arange(ops.shape(answers)[0]))
    return ops.logical_and(right, ops.logical_not(own))
