"""`BertPretrainer`: the encoder with the two heads it is pretrained with."""

import keras

from kbert import features
from kbert.config import BertConfig
from kbert.layers import MaskedLanguageModelHead, TokenDense, correct_sum, cross_entropy_sum
from kbert.models.head_model import HeadModel
from kbert.models.masked_lm import encoded_for_scores
from kbert.models.text_model import as_features


@keras.saving.register_keras_serializable(package="kbert")
class BertPretrainer(HeadModel):
    """BERT with the masked-language-model head (tied to the token embeddings) and the next-sentence head.

    Args:
        config: Sizes and arithmetic of the encoder.
        name: Name of the model.

    Call arguments:
        inputs: As for `Bert`, and optionally `mask_positions` int32 (B, P). Without it, every position
            is scored: P = S.
        scores_only: As of `BertMaskedLM`; the last block then works for the first tokens, too.

    Returns:
        Dict of `mlm_logits` float32 (B, P, V), `nsp_logits` float32 (B, 2), or (B, K, 2) for rows of several
        texts, `pooled_output` and, without `scores_only`, `sequence_output`. All logits, not probabilities.

    Example:
        >>> import numpy as np
        >>> model = BertPretrainer(BertConfig.preset("tiny", vocab_size=100))
        >>> inputs = {"token_ids": np.array([[1, 4, 7, 2]]), "mask_positions": np.array([[1]])}
        >>> model(inputs)["mlm_logits"].shape
        TensorShape([1, 1, 100])

    Reference:
        Devlin et al., 2019, section 3.1; google-research/bert, run_pretraining.py.
    """

    def __init__(self, config: BertConfig, name: str = "bert_pretrainer", **kwargs):
        super().__init__(config, pooler=True, name=name, **kwargs)
        self.mlm = MaskedLanguageModelHead(
            config.activation,
            config.layer_norm_epsilon,
            config.initializer_range,
            dtype=self.dtype_policy,
            name="mlm",
        )
        # Two columns cost nothing, so their scores are computed in full precision.
        self.nsp = TokenDense(2, config.initializer_range, dtype="float32", name="nsp")

    def build_heads(self):
        hidden_dim = self.config.hidden_dim
        self.mlm.build((None, None, hidden_dim), (self.config.vocab_size, hidden_dim))
        self.nsp.build((None, hidden_dim))

    def call(self, inputs, training=None, scores_only=False):
        inputs = as_features(inputs)
        encoded, hidden = encoded_for_scores(self.bert, inputs, training, scores_only)
        return {
            **encoded,
            features.MLM_LOGITS: self.mlm(hidden, self.bert.embeddings.token_embeddings, training=training),
            features.NSP_LOGITS: self.nsp(encoded[features.POOLED_OUTPUT]),
        }


class PretrainingObjective:
    """The two losses of pretraining and their accuracies, as (sum, weight) pairs.

    The MLM loss counts each masked token once, whatever row or replica it is in; the NSP loss counts
    texts, of which packed rows hold several. What is minimised is the sum of both means.

    Args:
        next_sentence: False for records without such a task; the MLM loss is then the only one.

    Call arguments:
        outputs: Of `BertPretrainer`, called with `mask_positions`.
        targets: Dict of `mask_ids` int32 (B, P), `mask_weights` float32 (B, P) and
            `next_sentence_label` int32 (B); or, of rows of several texts, int32 (B, K) and
            `next_sentence_weight` float32 (B, K), 0 where there is no text.

    Returns:
        Dict of `mlm_loss`, `nsp_loss`, `mlm_accuracy`, `nsp_accuracy`: pairs of float32 scalars.

    Reference:
        google-research/bert, run_pretraining.py, `model_fn_builder`.
    """

    #: For the training loop: the other outputs have no part in the losses.
    call_options = {"scores_only": True}

    def __init__(self, next_sentence: bool = True):
        tasks = ("mlm", "nsp") if next_sentence else ("mlm",)
        self.losses = tuple(f"{task}_loss" for task in tasks)
        self.metrics = tuple(f"{task}_accuracy" for task in tasks)

    def __call__(self, outputs: dict, targets: dict) -> dict:
        tasks = {
            "mlm": (targets[features.MASK_IDS], outputs[features.MLM_LOGITS], targets[features.MASK_WEIGHTS])
        }
        if "nsp_loss" in self.losses:
            tasks["nsp"] = (
                targets[features.NEXT_SENTENCE_LABEL],
                outputs[features.NSP_LOGITS],
                targets.get(features.NEXT_SENTENCE_WEIGHT),
            )
        losses = {f"{task}_loss": cross_entropy_sum(*terms) for task, terms in tasks.items()}
        return losses | {f"{task}_accuracy": correct_sum(*terms) for task, terms in tasks.items()}
