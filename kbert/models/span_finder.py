"""`BertSpanFinder`: where in a text the answer begins and ends."""

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.layers import TokenDense, cross_entropy_sum
from kbert.layers.masks import HIDDEN_SCORE
from kbert.models.head_model import HeadModel
from kbert.models.packed_rows import refuse_packing
from kbert.models.text_model import as_features


@keras.saving.register_keras_serializable(package="kbert")
class BertSpanFinder(HeadModel):
    """BERT with two scores for each piece: that the answer begins here, and that it ends here.

    The input is a pair: [CLS] question [SEP] passage [SEP]. A span's score is the sum of the start score of
    its first piece and the end score of its last; both on [CLS], position 0, say "no answer here". The two
    are scored apart, so the largest start may lie behind the largest end: who reads an answer off takes the
    best of the spans that are possible.

    Args:
        config: Sizes and arithmetic of the encoder.
        name: Name of the model.

    Call arguments:
        inputs: As for `Bert`, one text in each row.

    Returns:
        Dict of `start_logits` and `end_logits`, float32 (B, S), not probabilities; -1e9 for padding, so
        that it is never chosen and has no part in the softmax.

    Raises:
        ValueError: Rows of several texts.

    Example:
        >>> import numpy as np
        >>> model = BertSpanFinder(BertConfig.preset("tiny", vocab_size=100))
        >>> outputs = model({"token_ids": np.array([[1, 4, 2, 7, 8, 2]])})
        >>> outputs["start_logits"].shape, outputs["end_logits"].shape
        (TensorShape([1, 6]), TensorShape([1, 6]))

    Reference:
        Devlin et al., 2019, sections 4.2 and 4.3; google-research/bert, run_squad.py, `create_model`, where
        the softmax goes over padding too.
    """

    def __init__(self, config: BertConfig, name: str = "bert_span_finder", **kwargs):
        super().__init__(config, pooler=False, name=name, **kwargs)
        # Two columns cost nothing, so the scores are computed in full precision. Their bias lifts all
        # positions alike, which softmax does not see: its gradient is 0; it is there for checkpoints.
        self.span = TokenDense(2, config.initializer_range, dtype="float32", name="span")

    def build_heads(self):
        self.span.build((None, None, self.config.hidden_dim))

    def call(self, inputs, training=None):
        inputs = as_features(inputs)
        refuse_packing(inputs)
        scores = self.span(self.bert(inputs, training=training)[features.SEQUENCE_OUTPUT])
        if features.PADDING_MASK in inputs:
            real = ops.expand_dims(ops.cast(inputs[features.PADDING_MASK], "bool"), -1)
            scores = ops.where(real, scores, HIDDEN_SCORE)
        return {features.START_LOGITS: scores[..., 0], features.END_LOGITS: scores[..., 1]}


class SpanObjective:
    """The mean of the start's and the end's cross-entropy, and how many spans are found exactly.

    `model.fit` minimises the same with a cross-entropy for each of the two outputs and
    `loss_weights={"start_logits": 0.5, "end_logits": 0.5}`.

    Call arguments:
        outputs: Of `BertSpanFinder`.
        targets: Dict of `start_position` and `end_position`, int32 (B). A row with either of them outside
            of [0, S) has nothing to teach and counts 0: an answer that was cut off must not be learnt as
            one that ends elsewhere. What has no answer has 0 and 0.

    Returns:
        Dict of `loss` and `exact_match` (both largest scores are at the targets): pairs of float32 scalars.

    Reference:
        google-research/bert, run_squad.py, `model_fn_builder`: (start + end) / 2. There, a position outside
        gives 0 as well, yet its row counts in the mean.
    """

    losses = ("loss",)
    metrics = ("exact_match",)

    def __call__(self, outputs: dict, targets: dict) -> dict:
        logits = [outputs[features.START_LOGITS], outputs[features.END_LOGITS]]
        positions = ops.stack([targets[features.START_POSITION], targets[features.END_POSITION]])
        inside = ops.all((positions >= 0) & (positions < ops.shape(logits[0])[1]), axis=0)
        # Position 0 stands in for one that no score belongs to; its row's weight is 0.
        positions = ops.where(inside, positions, 0)
        weights = ops.cast(inside, "float32")
        start, count = cross_entropy_sum(positions[0], logits[0], weights)
        end, _ = cross_entropy_sum(positions[1], logits[1], weights)
        hits = [ops.equal(ops.argmax(logits[i], axis=-1), ops.cast(positions[i], "int32")) for i in (0, 1)]
        found = ops.sum(ops.cast(hits[0] & hits[1], "float32") * weights)
        return {"loss": ((start + end) / 2, count), "exact_match": (found, count)}
