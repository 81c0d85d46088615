"""`TextClassifier`: raw text in, label and probabilities out, as one TensorFlow graph."""

import tensorflow as tf

from kbert import features
from kbert.errors import InputError
from kbert.text import WordPieceTokenizer, pack
from kbert.text.packing import pad

#: Longer texts are cut before they are tokenized, so that one request cannot keep a server busy for long.
MAX_TEXT_BYTES = 100_000

#: Sequence widths are multiples of this: few enough shapes for the caches of a server, little padding.
WIDTH_STEP = 16


class TextClassifier(tf.Module):
    """The graph of an exported classifier: tokenizer, packing, model and softmax.

    TF Serving restores a SavedModel the TF1 way, and a Keras 3 model that is an attribute of the exported
    module loses its weights there: the server says "available" and fails at the first request. So the
    model is reached through a closure, which SavedModel does not follow, and the module owns the plain
    `tf.Variable`s behind the Keras weights, each once.

    The graph computes in float32, whatever policy the model was trained under.

    Args:
        model: A built classifier: dict of int32 (B, S) features in, dict with float `logits` (B, C) out.
        tokenizer: Its tokenizer.
        labels: C different names; position i names column i of the logits.
        max_length: Longest sequence in pieces, [CLS] and [SEP] included; at least 5.
        pair: Whether it takes two texts.

    Raises:
        InputError: Labels, vocabulary or `max_length` do not fit the model.

    Reference:
        keras-team/keras issue 20095, "Could not find variable" in TF Serving.
    """

    def __init__(
        self, model, tokenizer: WordPieceTokenizer, labels: list[str], max_length: int, pair: bool = False
    ):
        super().__init__(name="text_classifier")
        _check_fit(model, tokenizer, labels, max_length)
        model = _in_float32(model)
        self.tokenizer = tokenizer
        self.labels = tuple(labels)
        self.max_length = max_length
        self.pair = pair
        self.weights = [weight.value for weight in model.weights]
        self._logits = lambda inputs: model(inputs, training=False)[features.LOGITS]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the texts that a request gives."""
        return (features.TEXT, features.TEXT_PAIR) if self.pair else (features.TEXT,)

    @property
    def task(self) -> dict:
        """What the numbers mean: task, labels in order, lengths, casing; plain values for JSON."""
        return {
            "name": "classification",
            "labels": list(self.labels),
            "max_length": self.max_length,
            "pair": self.pair,
            "lowercase": self.tokenizer.lowercase,
        }

    def signatures(self) -> dict:
        """Signature name -> concrete function, as `tf.saved_model.save` takes them."""
        specs = [tf.TensorSpec([None], tf.string, name=name) for name in self.inputs]
        # AutoGraph has nothing to rewrite here: no Python condition depends on a tensor.
        function = tf.function(lambda *texts: self.classify(*texts), input_signature=specs, autograph=False)
        return {"serving_default": function.get_concrete_function()}

    def classify(self, text, text_pair=None) -> dict:
        """The answers to a batch of raw texts; B may be 0.

        Args:
            text: string (B,), UTF-8; invalid bytes are dropped, an empty text is [CLS] [SEP].
            text_pair: string (B,), for pairs only.

        Returns:
            Dict of `label` string (B,), `label_id` int32 (B,), `score` float32 (B,), the probability of
            that label, `probabilities` float32 (B, C), `num_tokens` int32 (B,), special tokens included,
            and `truncated` bool (B,).

        Raises:
            tf.errors.InvalidArgumentError: An input is not of rank 1, or the two differ in length.
        """
        texts = _checked_texts([text] if text_pair is None else [text, text_pair])
        token_ids, segment_ids, truncated = self._encode(texts)
        num_tokens = tf.cast(token_ids.row_lengths(), tf.int32)
        inputs = pad(
            token_ids, segment_ids, pad_id=self.tokenizer.vocab.pad_id, length=self._width(num_tokens)
        )
        logits = self._logits(inputs)
        probabilities = tf.nn.softmax(tf.cast(logits, tf.float32))
        label_id = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        return {
            "label": tf.gather(tf.constant(self.labels), label_id),
            "label_id": label_id,
            "score": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities,
            "num_tokens": num_tokens,
            "truncated": truncated,
        }

    def reference(self, *texts: bytes) -> dict:
        """The Keras model's own answer to one text or pair, the yardstick of the self-test.

        Runs eagerly and alone in its batch, without padding and without mask, on the CPU: what could be
        wrong with batches, widths and masks in `classify` cannot be wrong here in the same way.

        Returns:
            As `classify`, without the batch axis, in plain Python values.
        """
        with tf.device("CPU"):
            token_ids, segment_ids, truncated = self._encode([tf.constant([text]) for text in texts])
            inputs = {
                features.TOKEN_IDS: token_ids.to_tensor(),
                features.SEGMENT_IDS: segment_ids.to_tensor(),
            }
            probabilities = tf.nn.softmax(self._logits(inputs))[0].numpy()
        label_id = int(probabilities.argmax())
        return {
            "label": self.labels[label_id],
            "label_id": label_id,
            "score": float(probabilities[label_id]),
            "probabilities": [float(value) for value in probabilities],
            "num_tokens": int(token_ids.row_lengths()[0]),
            "truncated": bool(truncated[0]),
        }

    def _encode(self, texts):
        # A character that is split by the cut is invalid UTF-8, which the tokenizer drops.
        ids = [self.tokenizer.tokenize(tf.strings.substr(text, 0, MAX_TEXT_BYTES)) for text in texts]
        vocab = self.tokenizer.vocab
        token_ids, segment_ids, truncated = pack(
            *ids, max_length=self.max_length, cls_id=vocab.cls_id, sep_id=vocab.sep_id
        )
        for text in texts:
            truncated = tf.logical_or(truncated, tf.strings.length(text) > MAX_TEXT_BYTES)
        return token_ids, segment_ids, truncated

    def _width(self, num_tokens):
        # The smallest int32 comes out of an empty batch, hence the inner maximum.
        longest = tf.maximum(tf.reduce_max(num_tokens), 1)
        rounded = (longest + WIDTH_STEP - 1) // WIDTH_STEP * WIDTH_STEP
        return tf.minimum(rounded, self.max_length)


def _checked_texts(texts):
    # Sessions in C++ do not hold feeds against the shape of a placeholder: without these checks a scalar,
    # or two inputs of different length, reads memory that is not ours or kills the server.
    texts = [tf.ensure_shape(text, [None]) for text in texts]
    if len(texts) == 1:
        return texts
    same = tf.debugging.assert_equal(
        tf.size(texts[0]),
        tf.size(texts[1]),
        message=f"{features.TEXT} and {features.TEXT_PAIR} differ in length",
    )
    with tf.control_dependencies([same]):
        return [tf.identity(text) for text in texts]


def _in_float32(model):
    if model.dtype_policy.name == "float32":
        return model
    copy = type(model).from_config({**model.get_config(), "dtype": "float32"})
    copy.build()
    copy.set_weights(model.get_weights())
    return copy


def _check_fit(model, tokenizer, labels, max_length) -> None:
    if len(labels) != model.num_classes or len(set(labels)) != len(labels):
        raise InputError(
            f"labels={list(labels)}; the model has num_classes={model.num_classes}; expected one different "
            f"label for each class"
        )
    if len(tokenizer.vocab) > model.config.vocab_size:
        raise InputError(
            f"the vocabulary has {len(tokenizer.vocab)} tokens, the embedding table "
            f"{model.config.vocab_size} rows; give the vocabulary that the model was trained with"
        )
    longest = model.config.longest_sequence
    if not 5 <= max_length <= longest:
        raise InputError(f"max_length={max_length}; expected 5 to {longest}, the positions of the model")
