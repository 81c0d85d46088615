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
from kbert.models.head_model import HeadModel
from kbert.models.text_model import as_features, as_rows

_POOLINGS = {"mean": mean_pool, "first": first_pool, "max": max_pool}


@keras.saving.register_keras_serializable(package="kbert")
class BertEmbedder(HeadModel):
    """BERT with its vectors pooled into one for the whole text; no weights besides the encoder's.

    Trained on pairs of texts: the pair is one more axis of the inputs, and one and the same encoder embeds
    both texts. `InBatchNegativesObjective` takes pairs that belong together (question and answer, title and
    text), `CosineRegressionObjective` takes pairs with a score.

    Args:
        config: Sizes and arithmetic of the encoder.
        pooling: `"mean"` over the real tokens, `"first"` token ([CLS]), or `"max"` over the real tokens.
        normalize: Whether to divide each vector by its length, so that a dot product is a cosine.
        name: Name of the model.

    Call arguments:
        inputs: As for `Bert`, (B, S), or for pairs of texts (B, 2, S), both padded to the same length.

    Returns:
        Dict of `embedding`, float32 (B, H), or (B, 2, H) for pairs. A text of padding alone gives finite
        numbers. The hidden states are not among the outputs, for `predict` would keep those of all texts.

    Raises:
        ValueError: There is no such pooling.

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
    the batch serve as wrong answers for free: the larger the batch, the harder the question. So a batch
    must not hold two pairs with the same second text. With several replicas, each has its own batch.

    Args:
        scale: Factor on the cosines, the inverse of the softmax's temperature; a cosine alone moves between
            -1 and 1, too little for a softmax over many answers.

    Call arguments:
        outputs: Of `BertEmbedder`, called with pairs: `embedding` float (B, 2, H).
        targets: Not looked at; an empty dict will do.

    Returns:
        Dict of `loss` and `accuracy` (how often the right one scores highest): pairs of float32 scalars.

    Reference:
        Henderson et al., 2017, "Efficient Natural Language Response Suggestion for Smart Reply", section 4.4;
        sentence-transformers, MultipleNegativesRankingLoss, without its option of hard negatives.
    """

    losses = ("loss",)
    metrics = ("accuracy",)

    def __init__(self, scale: float = 20.0):
        self.scale = scale

    def __call__(self, outputs: dict, targets: dict) -> dict:
        first, second = _unit_pair(outputs)
        scores = self.scale * ops.matmul(first, ops.transpose(second))
        own = ops.arange(ops.shape(scores)[0], dtype="int32")
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
        first, second = _unit_pair(outputs)
        arguments = (targets[features.SCORE], ops.sum(first * second, axis=-1))
        return {"loss": squared_error_sum(*arguments), "absolute_error": absolute_error_sum(*arguments)}


def _unit_pair(outputs: dict):
    """Both embeddings of each pair, of length 1 whether or not the model has made them so.

    Raises:
        ValueError: The embeddings are not those of pairs.
    """
    embedding = outputs[features.EMBEDDING]
    if len(embedding.shape) != 3 or embedding.shape[1] not in (2, None):
        raise ValueError(
            f"embedding has the shape {tuple(embedding.shape)}; expected (B, 2, H): call the model with "
            f"inputs (B, 2, S), the first texts of the pairs and the second ones"
        )
    unit = l2_normalize(embedding)
    return unit[:, 0], unit[:, 1]
