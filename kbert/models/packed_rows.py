"""Rows of several texts beside those of one: what they come with, and what their tokens may look at."""

from keras import ops

from kbert import features
from kbert.layers import attention_bias, part_attention_bias

#: What a row of several texts has besides; all of them or none.
_PACKED_INPUTS = (features.PART_IDS, features.POSITION_IDS, features.FIRST_POSITIONS)


def check_packing(inputs) -> None:
    """Refuses half of what rows of several texts need, which would give wrong numbers silently.

    Raises:
        ValueError: Some of `part_ids`, `position_ids` and `first_positions` are there, and some are not.
    """
    missing = [name for name in _PACKED_INPUTS if name not in inputs]
    if 0 < len(missing) < len(_PACKED_INPUTS):
        raise ValueError(
            f"rows of several texts need all of {', '.join(_PACKED_INPUTS)}; the inputs lack "
            f"{', '.join(missing)}; make such rows with kbert.data.pack_rows"
        )


def refuse_packing(inputs) -> None:
    """For what has one answer a row, or reads a row as one sequence.

    Raises:
        ValueError: The rows are of several texts.
    """
    if features.PART_IDS in inputs:
        raise ValueError(f"{features.PART_IDS} came, of rows of several texts; expected one text in each row")


def real_tokens(inputs):
    """Which tokens are no padding, (B, S), in rows of one text or of several."""
    if features.PART_IDS in inputs:
        return ops.greater(inputs[features.PART_IDS], 0)
    return inputs.get(features.PADDING_MASK, ops.ones_like(inputs[features.TOKEN_IDS]))


def bias_of(inputs):
    """What each token may look at, as a number to add to the scores.

    Args:
        inputs: Of `Bert`, in rows of one text or of several.

    Returns:
        float32 (B, 1, 1, S), of several texts (B, 1, S, S); None where each token may look at all others.
    """
    if features.PART_IDS in inputs:
        return part_attention_bias(inputs[features.PART_IDS])
    mask = inputs.get(features.PADDING_MASK)
    return None if mask is None else attention_bias(mask)


def all_places(first_positions):
    """Where the first tokens stand once they are all that is left of a row, int32 (B, K)."""
    places = ops.arange(ops.shape(first_positions)[1], dtype="int32")
    return ops.broadcast_to(places, ops.shape(first_positions))
