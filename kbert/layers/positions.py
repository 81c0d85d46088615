"""Some tokens of each row: what nobody asks for need not be computed."""

from keras import ops

#: In place of positions: the first token of each row.
FIRST = "first"


def gather_positions(sequence, positions):
    """The vectors at the given positions of each row: MLM scores are wanted only there.

    To be called in the `call` of a layer or model: a `keras.Input` cannot say yet how many rows there are.

    Args:
        sequence: float (B, S, H).
        positions: int32 (B, P), each in [0, S).

    Returns:
        float (B, P, H).
    """
    batch, length, width = ops.shape(sequence)
    # One lookup in the flattened sequence: row b starts at b·S.
    starts = ops.expand_dims(ops.arange(batch, dtype="int32") * length, 1)
    # The operator, not ops.add: with B = P that one takes `starts` for a bias of the last axis.
    flat = ops.cast(positions, "int32") + starts
    return ops.take(ops.reshape(sequence, (-1, width)), flat, axis=0)


def vectors_at(sequence, positions):
    """The vectors that are asked for.

    Args:
        sequence: float (B, S, H).
        positions: int32 (B, P), `FIRST`, or None for all.

    Returns:
        float (B, P, H), with P = 1 for `FIRST`, or `sequence`.
    """
    if positions is None:
        return sequence
    # Not `is FIRST`: that of a model which was saved and loaded is another string.
    return sequence[:, :1] if isinstance(positions, str) else gather_positions(sequence, positions)


def bias_at(bias, positions):
    """What is added to the scores of the tokens that are asked for.

    Args:
        bias: float (B, 1, 1, S), the same for all that look, or (B, 1, S, S); or None.
        positions: As of `vectors_at`.

    Returns:
        float (B, 1, 1, S) or (B, 1, P, S); or None.
    """
    if bias is None or bias.shape[2] == 1:
        return bias
    return ops.expand_dims(vectors_at(bias[:, 0], positions), 1)
