"""Attention in training, its gradient written out: fewer passes over the scores, and less of them kept."""

import tensorflow as tf


def context_for_training(query, key, value, bias, dropout):
    """dropout(softmax(Q·Kᵀ + bias))·V, and its gradients.

    The scores are by far the most numbers of a block, and what works on them waits for memory. Automatic
    differentiation keeps the probabilities and the mask of the dropout in float32 besides what the last
    product took, and goes over them seven times. With P the probabilities, M the mask of 0 and 1, c the
    factor of what is not dropped, O = c·(P∘M)·V:

        dV = c·(P∘M)ᵀ·dO,    dW = c·dO·Vᵀ,    dScores = (P∘M)∘dW - P∘δ,    δ = rowsum(P∘M∘dW)

    so that P and P∘M are enough, in the compute dtype. What follows of them is in float32, and δ is the sum
    of just these numbers, over the sum of just these P: each row of dScores then adds up to 0, as it must.
    What is left of a row would be multiplied by the mean of all keys, and with δ = rowsum(dO∘O), the same but
    for rounding, bfloat16 leaves so much that gradients are off by up to 16 % where keys have much in common.

    Args:
        query: float (B, N, Q, D), scaled.
        key: float (B, N, S, D), of the same dtype.
        value: As `key`.
        bias: float, broadcast to (B, N, Q, S), or None.
        dropout: `kbert.layers.Dropout` of the probabilities, of which a mask is drawn.

    Returns:
        (B, N, Q, D), in the dtype of the inputs; softmax is in float32, whatever that is.

    Reference:
        Vaswani et al., 2017, section 3.2.1.
    """
    dtype = query.dtype
    shape = [*(tf.shape(query)[axis] for axis in range(3)), tf.shape(key)[2]]
    kept, factor = dropout.mask(shape, dtype) if dropout.rate else (None, None)

    def scaled(values):
        # In float32: the factor rounded to bfloat16 would be the same error for all.
        return values if factor is None else tf.cast(tf.cast(values, tf.float32) * factor, dtype)

    @tf.custom_gradient
    def context(query, key, value, *biases):
        scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)
        for bias in biases:
            # The operator: with B = N and S = 1 others take it for a bias of the heads.
            scores = scores + bias
        probabilities = tf.cast(tf.nn.softmax(scores), dtype)
        weights = probabilities if kept is None else probabilities * kept
        outputs = scaled(tf.matmul(weights, value))

        def gradients(upstream):
            inner = scaled(upstream)
            exact = tf.cast(probabilities, tf.float32)
            of_scores = tf.cast(tf.matmul(inner, value, transpose_b=True), tf.float32)
            of_scores *= exact if kept is None else tf.cast(weights, tf.float32)
            delta = tf.reduce_sum(of_scores, -1, keepdims=True) / tf.reduce_sum(exact, -1, keepdims=True)
            of_exact_scores = of_scores - exact * delta
            of_scores = tf.cast(of_exact_scores, dtype)
            return (
                tf.matmul(of_scores, key),
                tf.matmul(of_scores, query, transpose_a=True),
                tf.matmul(weights, inner, transpose_a=True),
                # A graph computes this where the bias is learned, and leaves it out where it is a mask.
                *(_summed_to(tf.shape(bias), of_exact_scores) for bias in biases),
            )

        return outputs, gradients

    return context(query, key, value, *([] if bias is None else [tf.cast(bias, tf.float32)]))


def _summed_to(shape, gradient):
    """The gradient of what was broadcast from a shape: the sum over where it went."""
    axes, _ = tf.raw_ops.BroadcastGradientArgs(s0=shape, s1=tf.shape(gradient))
    return tf.reshape(tf.reduce_sum(gradient, axes), shape)
