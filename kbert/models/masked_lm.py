"""`BertMaskedLM`: guesses the tokens behind masks, and nothing else."""

import keras

from kbert import features
from kbert.config import BertConfig
from kbert.layers import MaskedLanguageModelHead, correct_sum, cross_entropy_sum, gather_positions
from kbert.models.bert import Bert
from kbert.models.head_model import HeadModel
from kbert.models.text_model import as_features


@keras.saving.register_keras_serializable(package="kbert")
class BertMaskedLM(HeadModel):
    """BERT with the masked-language-model head: it fills in blanks, and rates how likely a token is.

    The model for checkpoints that come without next-sentence head, and for pretraining without next
    sentences. The encoder needs no pooler: each score is computed from the vector of its own position. The
    output matrix is the token embedding table itself, so that training one trains the other.

    Args:
        config: Sizes and arithmetic of the encoder.
        head_activation: Of the head, named as in the config; None for the encoder's.
        head_layer_norm_epsilon: Of the head; None for the encoder's. Keras Hub's head differs from its
            encoder in both.
        pooler: Whether the encoder has one all the same, which is not trained here: that of a checkpoint
            is kept for the models that start from it.
        name: Name of the model.

    Call arguments:
        inputs: As for `Bert`, and optionally `mask_positions` int32 (B, P). Without it, every position
            is scored: P = S.
        scores_only: Python bool; leave out `sequence_output`, so that the last block works for the
            positions that are scored alone: the same numbers, for up to a fifth less work with 4 layers.

    Returns:
        Dict of `mlm_logits` float32 (B, P, V), not probabilities, and, without `scores_only`,
        `sequence_output` float32 (B, S, H); with the pooler `pooled_output` too.

    Example:
        >>> import numpy as np
        >>> model = BertMaskedLM(BertConfig.preset("tiny", vocab_size=100))
        >>> sentence = {"token_ids": np.array([[1, 4, 7, 2]])}
        >>> model(sentence)["mlm_logits"].shape
        TensorShape([1, 4, 100])
        >>> model({**sentence, "mask_positions": np.array([[2]])})["mlm_logits"].shape
        TensorShape([1, 1, 100])

    Reference:
        Devlin et al., 2019, section 3.1, task 1; google-research/bert, run_pretraining.py,
        `get_masked_lm_output`.
    """

    def __init__(
        self,
        config: BertConfig,
        head_activation: str | None = None,
        head_layer_norm_epsilon: float | None = None,
        pooler: bool = False,
        name: str = "bert_masked_lm",
        **kwargs,
    ):
        super().__init__(config, pooler=pooler, name=name, **kwargs)
        if self.bert.pooler is not None:
            self.bert.pooler.trainable = False  # No score depends on it.
        self.head_activation = head_activation
        self.head_layer_norm_epsilon = head_layer_norm_epsilon
        epsilon = head_layer_norm_epsilon
        self.mlm = MaskedLanguageModelHead(
            config.activation if head_activation is None else head_activation,
            config.layer_norm_epsilon if epsilon is None else epsilon,
            config.initializer_range,
            dtype=self.dtype_policy,
            name="mlm",
        )

    def head_config(self):
        return {
            "head_activation": self.head_activation,
            "head_layer_norm_epsilon": self.head_layer_norm_epsilon,
            "pooler": self.bert.pooler is not None,
        }

    def build_heads(self):
        hidden_dim = self.config.hidden_dim
        self.mlm.build((None, None, hidden_dim), (self.config.vocab_size, hidden_dim))

    def call(self, inputs, training=None, scores_only=False):
        inputs = as_features(inputs)
        encoded, hidden = encoded_for_scores(self.bert, inputs, training, scores_only)
        table = self.bert.embeddings.token_embeddings
        return {features.MLM_LOGITS: self.mlm(hidden, table, training=training), **encoded}


def encoded_for_scores(bert: Bert, inputs: dict, training: bool | None, scores_only: bool):
    """Runs the encoder of a model that scores masked tokens; all arguments but the first are the model's.

    Returns:
        Dict of the encoder's outputs that the model gives; and the vectors to score, float32 (B, P, H).
    """
    positions = inputs.get(features.MASK_POSITIONS)
    if scores_only:
        encoded = bert(inputs, training=training, positions=positions)
        return encoded, encoded.pop(features.SEQUENCE_OUTPUT)
    encoded = bert(inputs, training=training)
    hidden = encoded[features.SEQUENCE_OUTPUT]
    return encoded, hidden if positions is None else gather_positions(hidden, positions)


class MaskedLMObjective:
    """Cross-entropy and accuracy of the masked tokens, as (sum, weight) pairs.

    Each masked token counts once, whatever row or replica it is in. `model.fit` does the same with
    `SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")` and
    `mask_weights` for sample weights; the default reduction would divide by the unused slots too.

    Call arguments:
        outputs: Of `BertMaskedLM`, called with the `mask_positions` that the targets belong to.
        targets: Dict of `mask_ids` int32 (B, P) and `mask_weights` float32 (B, P).

    Returns:
        Dict of `loss` and `accuracy`: pairs of float32 scalars.

    Reference:
        google-research/bert, run_pretraining.py, `get_masked_lm_output` and `metric_fn`.
    """

    losses = ("loss",)
    metrics = ("accuracy",)
    #: For the training loop: the other outputs have no part in the loss.
    call_options = {"scores_only": True}

    def __call__(self, outputs: dict, targets: dict) -> dict:
        arguments = (
            targets[features.MASK_IDS],
            outputs[features.MLM_LOGITS],
            targets[features.MASK_WEIGHTS],
        )
        return {"loss": cross_entropy_sum(*arguments), "accuracy": correct_sum(*arguments)}
