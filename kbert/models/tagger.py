"""`BertTagger`: one tag for each word."""

import keras
from keras import ops

from kbert import features
from kbert.config import BertConfig
from kbert.layers import Dropout, LinearChainCrf, TokenDense, cross_entropy_sum, gather_positions
from kbert.layers.faster_ops import share_of_replica
from kbert.models.head_model import HeadModel
from kbert.models.packed_rows import real_tokens, refuse_packing
from kbert.models.text_model import as_features


@keras.saving.register_keras_serializable(package="kbert")
class BertTagger(HeadModel):
    """BERT with a linear layer on the first piece of each word: for names, parts of speech, segmentation.

    The tags of a sentence are chosen word by word (softmax), or together by a linear-chain CRF, which learns
    what follows what and can be held to a scheme of tags.

    The model brings its loss: compiled without one, it minimises the mean negative log-likelihood of a word
    of `tag_ids`, words that are none left out. The softmax can also be compiled with a loss on `logits`.

    Args:
        config: Sizes and arithmetic of the encoder.
        num_tags: T, at least 2.
        crf: Whether to score whole sequences of tags by `LinearChainCrf`.
        constraints: Of `kbert.layers.allowed_transitions`, for a CRF; None allows every tag everywhere.
        name: Name of the model.

    Call arguments:
        inputs: As for `Bert`, and optionally `word_positions` int32 (B, W): the position of each word's first
            piece, 0 = no word (there is [CLS]). Without it every piece that is no padding counts as a word:
            W = S. A CRF takes one text in each row.

    Returns:
        Dict of `logits`, float32 (B, W, T), not probabilities, and `word_mask`, int32 (B, W), 1 = word.
        `decode` makes tags of them.

    Raises:
        ValueError: Too few tags, constraints that do not fit them or have no CRF to hold to them, or rows of
            several texts for a CRF.

    Example:
        >>> import numpy as np
        >>> model = BertTagger(BertConfig.preset("tiny", vocab_size=100), num_tags=3, crf=True)
        >>> inputs = {"token_ids": np.array([[1, 4, 7, 2]]), "word_positions": np.array([[1, 2, 0]])}
        >>> model.decode(model(inputs)).shape
        TensorShape([1, 3])

    Reference:
        Devlin et al., 2019, section 5.3 (the first piece stands for its word); Lafferty et al., 2001.
    """

    def __init__(
        self,
        config: BertConfig,
        num_tags: int,
        crf: bool = False,
        constraints: dict | None = None,
        name: str = "bert_tagger",
        **kwargs,
    ):
        super().__init__(config, pooler=False, name=name, **kwargs)
        if num_tags < 2:
            raise ValueError(f"num_tags={num_tags}; a tagger needs at least 2")
        if constraints is not None and not crf:
            raise ValueError("constraints came with crf=False; only a CRF can keep to them: pass crf=True")
        self.num_tags = num_tags
        self.dropout_layer = Dropout(config.dropout, dtype="float32", name="dropout")
        # A handful of columns costs nothing, so the scores are computed in full precision.
        self.tagger = TokenDense(num_tags, config.initializer_range, dtype="float32", name="tagger")
        self.crf = LinearChainCrf(constraints, dtype="float32", name="crf") if crf else None

    def build_heads(self):
        self.tagger.build((None, None, self.config.hidden_dim))
        if self.crf is not None:
            self.crf.build((None, None, self.num_tags))

    def head_config(self):
        constraints = None if self.crf is None else self.crf.constraints
        return {"num_tags": self.num_tags, "crf": self.crf is not None, "constraints": constraints}

    def call(self, inputs, training=None):
        inputs = as_features(inputs)
        if self.crf is not None:
            refuse_packing(inputs)
        hidden = self.bert(inputs, training=training)[features.SEQUENCE_OUTPUT]
        if features.WORD_POSITIONS in inputs:
            positions = inputs[features.WORD_POSITIONS]
            hidden = gather_positions(hidden, positions)
            is_word = ops.greater(positions, 0)
        else:
            is_word = real_tokens(inputs)
        hidden = self.dropout_layer(ops.cast(hidden, "float32"), training=training)
        return {features.LOGITS: self.tagger(hidden), features.WORD_MASK: ops.cast(is_word, "int32")}

    def decode(self, outputs: dict):
        """The most likely tags: of each word, or with a CRF of each whole row.

        It is made of `keras.ops` alone, so `model.decode(model(inputs))` can be exported as one graph.

        Args:
            outputs: Of the model, or of `predict`.

        Returns:
            int32 (B, W); 0 where there is no word.
        """
        logits, word_mask = outputs[features.LOGITS], outputs[features.WORD_MASK]
        if self.crf is not None:
            return self.crf.decode(logits, word_mask)
        return ops.where(ops.cast(word_mask, "bool"), ops.argmax(logits, axis=-1), 0)

    def negative_log_likelihood(self, outputs, tag_ids):
        """The loss, summed over all words, and the number of words.

        With a CRF only whole rows have a likelihood. It is still words that are counted, so that one
        learning rate and one bound on gradients suit both kinds of tagger and sentences of any length.

        Args:
            outputs: Of the model.
            tag_ids: int (B, W); any number where there is no word.

        Returns:
            Two float32 scalars.
        """
        logits, word_mask = outputs[features.LOGITS], outputs[features.WORD_MASK]
        tag_ids = ops.where(ops.cast(word_mask, "bool"), tag_ids, 0)
        if self.crf is None:
            return cross_entropy_sum(tag_ids, logits, word_mask)
        return -ops.sum(self.crf(logits, tag_ids, word_mask)), ops.sum(ops.cast(word_mask, "float32"))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if self.loss is not None:
            if self.crf is not None:
                raise ValueError("a loss on logits would leave the CRF untrained; compile without a loss")
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        if sample_weight is not None:
            raise ValueError("sample_weight came; the tagger's own loss counts every word once")
        tag_ids = y[features.TAG_IDS] if isinstance(y, dict) else y
        total, count = self.negative_log_likelihood(y_pred, tag_ids)
        return share_of_replica(total / ops.maximum(count, 1.0))


class TaggingObjective:
    """The tagger's loss and its accuracy as (sum, weight) pairs; every word counts 1.

    Args:
        model: The `BertTagger` to train; the weights of its CRF are part of the loss.

    Call arguments:
        outputs: Of the model.
        targets: Dict of `tag_ids` int32 (B, W); any number where there is no word.

    Returns:
        Dict of `loss` and `accuracy`: pairs of float32 scalars.
    """

    losses = ("loss",)
    metrics = ("accuracy",)

    def __init__(self, model: BertTagger):
        self.model = model

    def __call__(self, outputs: dict, targets: dict) -> dict:
        tag_ids = targets[features.TAG_IDS]
        words = ops.cast(outputs[features.WORD_MASK], "float32")
        hits = ops.cast(ops.equal(self.model.decode(outputs), tag_ids), "float32")
        return {
            "loss": self.model.negative_log_likelihood(outputs, tag_ids),
            "accuracy": (ops.sum(hits * words), ops.sum(words)),
        }
