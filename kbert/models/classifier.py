"""`BertClassifier`: one label, several at once, or a number, for a text or a pair of texts."""

from collections.abc import Sequence

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.layers import (
    Dropout,
    TokenDense,
    absolute_error_sum,
    binary_correct_sum,
    binary_cross_entropy_sum,
    binary_divergence_sum,
    correct_sum,
    cross_entropy_sum,
    divergence_sum,
    exact_match_sum,
    squared_error_sum,
)
from kbert.models.head_model import HeadModel


@keras.saving.register_keras_serializable(package="kbert")
class BertClassifier(HeadModel):
    """BERT with a linear layer on the pooled output.

    The arithmetic is the same for all kinds; the kind says what the scores mean, and so which loss trains
    them (`objective_of`) and how they are read:

    | kind | classes | the scores become | target |
    |---|---|---|---|
    | `"single"`: just one label is right | C >= 2 | softmax(logits) | `label` int32 (B) |
    | `"multi"`: each label is or is not | C >= 1 | sigmoid(logits) | `labels` float32 (B, C) |
    | `"regression"`: a number | C = 1 | logits themselves | `score` float32 (B) |

    Args:
        config: Sizes and arithmetic of the encoder.
        num_classes: C.
        kind: As in the table above.
        name: Name of the model.

    Call arguments:
        inputs: As for `Bert`.

    Returns:
        Dict of `logits`, float32 (B, C), not probabilities.

    Raises:
        ValueError: There is no such kind, or it has not so many classes.

    Example:
        >>> import numpy as np
        >>> model = BertClassifier(BertConfig.preset("tiny", vocab_size=100), num_classes=3)
        >>> model({"token_ids": np.array([[1, 4, 7, 2]])})["logits"].shape
        TensorShape([1, 3])

    Reference:
        Devlin et al., 2019, section 4.1; google-research/bert, run_classifier.py, `create_model`.
    """

    def __init__(
        self,
        config: BertConfig,
        num_classes: int,
        kind: str = "single",
        name: str = "bert_classifier",
        **kwargs,
    ):
        super().__init__(config, pooler=True, name=name, **kwargs)
        _check_kind(kind, num_classes)
        self.num_classes = num_classes
        self.kind = kind
        self.dropout_layer = Dropout(config.dropout, dtype="float32", name="dropout")
        # A handful of columns costs nothing, so the scores are computed in full precision.
        self.classifier = TokenDense(
            num_classes, config.initializer_range, dtype="float32", name="classifier"
        )

    def build_heads(self):
        self.classifier.build((None, self.config.hidden_dim))

    def head_config(self):
        return {"num_classes": self.num_classes, "kind": self.kind}

    def call(self, inputs, training=None):
        pooled = self.bert(inputs, training=training, pooled_only=True)[features.POOLED_OUTPUT]
        return {features.LOGITS: self.classifier(self.dropout_layer(pooled, training=training))}


class ClassificationObjective:
    """Cross-entropy and accuracy as (sum, weight) pairs; every row counts 1, or as its class does.

    Args:
        label_smoothing: Share of the target that is spread evenly over all classes, such as 0.1.
        class_weights: Factor of the loss of a row of each class, in the order of the ids; None: 1. The sum
            is divided by the number of rows, as Keras's `fit(class_weight=...)` does it. The accuracy counts
            every row 1.

    Call arguments:
        outputs: Of `BertClassifier` of the kind `"single"`.
        targets: Dict of `label` int32 (B).

    Returns:
        Dict of `loss` and `accuracy`: pairs of float32 scalars.

    Raises:
        ValueError: An argument is out of its range.
    """

    losses = ("loss",)
    metrics = ("accuracy",)

    def __init__(self, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None):
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing={label_smoothing}; expected at least 0 and below 1")
        if class_weights is not None and not all(weight >= 0 for weight in class_weights):
            raise ValueError(f"class_weights={class_weights}; expected a number of at least 0 for each class")
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights

    def __call__(self, outputs: dict, targets: dict) -> dict:
        label, logits = targets[features.LABEL], outputs[features.LOGITS]
        weights = None
        if self.class_weights is not None:
            if len(self.class_weights) != logits.shape[-1]:
                raise ValueError(
                    f"{len(self.class_weights)} class weights for {logits.shape[-1]} classes; give one each"
                )
            weights = ops.take(ops.convert_to_tensor(self.class_weights, "float32"), label)
        total, _ = cross_entropy_sum(label, logits, weights, self.label_smoothing)
        # Not by the sum of the weights: a batch of one class would then not know that it counts less.
        rows = ops.sum(ops.ones_like(label, dtype="float32"))
        return {"loss": (total, rows), "accuracy": correct_sum(label, logits)}

    def divergence(self, first: dict, second: dict, targets: dict) -> tuple:
        """How far two passes differ: the mean of both Kullback-Leibler divergences of their softmax."""
        return divergence_sum(first[features.LOGITS], second[features.LOGITS])


class MultiLabelObjective:
    """Binary cross-entropy, its mean over rows and labels, as (sum, weight) pairs.

    `accuracy` is the share of rows in which every label is right, the strictest measure; `label_accuracy`
    is the share of single answers, which is high already when labels are rare and none is given.

    Call arguments:
        outputs: Of `BertClassifier` of the kind `"multi"`.
        targets: Dict of `labels` float32 (B, C), each 0 or 1.

    Returns:
        Dict of `loss`, `accuracy` and `label_accuracy`: pairs of float32 scalars.
    """

    losses = ("loss",)
    metrics = ("accuracy", "label_accuracy")

    def __call__(self, outputs: dict, targets: dict) -> dict:
        arguments = (targets[features.LABELS], outputs[features.LOGITS])
        return {
            "loss": binary_cross_entropy_sum(*arguments),
            "accuracy": exact_match_sum(*arguments),
            "label_accuracy": binary_correct_sum(*arguments),
        }

    def divergence(self, first: dict, second: dict, targets: dict) -> tuple:
        """How far two passes differ: the mean of both divergences of each label's yes and no."""
        return binary_divergence_sum(first[features.LOGITS], second[features.LOGITS])


class RegressionObjective:
    """Squared error, and absolute error to watch, as (sum, weight) pairs; every row counts 1.

    Call arguments:
        outputs: Of `BertClassifier` of the kind `"regression"`.
        targets: Dict of `score` float32 (B).

    Returns:
        Dict of `loss` and `absolute_error`: pairs of float32 scalars.
    """

    losses = ("loss",)
    metrics = ("absolute_error",)

    def __call__(self, outputs: dict, targets: dict) -> dict:
        arguments = (targets[features.SCORE], outputs[features.LOGITS][:, 0])
        return {"loss": squared_error_sum(*arguments), "absolute_error": absolute_error_sum(*arguments)}

    def divergence(self, first: dict, second: dict, targets: dict) -> tuple:
        """How far two passes differ: a number has no distribution, so this is the squared difference."""
        return squared_error_sum(first[features.LOGITS][:, 0], second[features.LOGITS][:, 0])


#: Kind -> (fewest classes, most classes, the objective that trains it).
_KINDS = {
    "single": (2, None, ClassificationObjective),
    "multi": (1, None, MultiLabelObjective),
    "regression": (1, 1, RegressionObjective),
}


def objective_of(model: BertClassifier):
    """The objective that trains a classifier of the model's kind, for `kbert.training.fit`."""
    return _KINDS[model.kind][2]()


def _check_kind(kind: str, num_classes: int) -> None:
    if kind not in _KINDS:
        raise ValueError(f"kind={kind!r}; expected one of {', '.join(map(repr, _KINDS))}")
    fewest, most, _ = _KINDS[kind]
    if num_classes < fewest or (most is not None and num_classes > most):
        wanted = f"exactly {most}" if fewest == most else f"at least {fewest}"
        raise ValueError(f"num_classes={num_classes}; a classifier of kind={kind!r} has {wanted}")
