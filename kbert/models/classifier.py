"""`BertClassifier`: one label for a text or a pair of texts."""

import keras

from kbert import features
from kbert.config import BertConfig
from kbert.layers import Dropout, TokenDense, correct_sum, cross_entropy_sum
from kbert.models.head_model import HeadModel


@keras.saving.register_keras_serializable(package="kbert")
class BertClassifier(HeadModel):
    """BERT with a linear layer on the pooled output.

    Args:
        config: Sizes and arithmetic of the encoder.
        num_classes: C, at least 2.
        name: Name of the model.

    Call arguments:
        inputs: As for `Bert`.

    Returns:
        Dict of `logits`, float32 (B, C), not probabilities.

    Example:
        >>> import numpy as np
        >>> model = BertClassifier(BertConfig.preset("tiny", vocab_size=100), num_classes=3)
        >>> model({"token_ids": np.array([[1, 4, 7, 2]])})["logits"].shape
        TensorShape([1, 3])

    Reference:
        Devlin et al., 2019, section 4.1; google-research/bert, run_classifier.py, `create_model`.
    """

    def __init__(self, config: BertConfig, num_classes: int, name: str = "bert_classifier", **kwargs):
        super().__init__(config, pooler=True, name=name, **kwargs)
        if num_classes < 2:
            raise ValueError(f"num_classes={num_classes}; a classifier needs at least 2")
        self.num_classes = num_classes
        self.dropout_layer = Dropout(config.dropout, dtype="float32", name="dropout")
        # A handful of columns costs nothing, so the scores are computed in full precision.
        self.classifier = TokenDense(
            num_classes, config.initializer_range, dtype="float32", name="classifier"
        )

    def build_heads(self):
        self.classifier.build((None, self.config.hidden_dim))

    def head_config(self):
        return {"num_classes": self.num_classes}

    def call(self, inputs, training=None):
        pooled = self.bert(inputs, training=training, pooled_only=True)[features.POOLED_OUTPUT]
        return {features.LOGITS: self.classifier(self.dropout_layer(pooled, training=training))}


class ClassificationObjective:
    """Cross-entropy and accuracy as (sum, weight) pairs; every row counts 1.

    Call arguments:
        outputs: Of `BertClassifier`.
        targets: Dict of `label` int32 (B).

    Returns:
        Dict of `loss` and `accuracy`: pairs of float32 scalars.
    """

    losses = ("loss",)
    metrics = ("accuracy",)

    def __call__(self, outputs: dict, targets: dict) -> dict:
        arguments = (targets[features.LABEL], outputs[features.LOGITS])
        return {"loss": cross_entropy_sum(*arguments), "accuracy": correct_sum(*arguments)}
