"""Learning rates that fall with the depth of a weight, for fine-tuning."""

import re
from collections.abc import Sequence

_LAYER = re.compile(r"layer_(\d+)")


def layer_rate_factors(paths: Sequence[str], layer_decay: float) -> list[float]:
    """What the learning rate of each weight is multiplied by, from its path.

    The lower a layer, the more general is what pretraining taught it, and the less it should move. Weights
    under `embeddings/` have depth 0, those under `layer_N/` depth N + 1, and whatever is above the last
    layer, pooler and heads, has the largest depth D and the whole rate: factor = layer_decay^(D - depth).

    Args:
        paths: Of all weights that are trained, such as `bert_classifier/bert/layer_3/output/kernel`.
        layer_decay: Factor from one layer to the one below it, above 0 and at most 1.

    Returns:
        As many factors as paths.

    Raises:
        ValueError: The factor is out of range, or no path tells its layer.

    Example:
        >>> layer_rate_factors(["bert/embeddings/table", "bert/layer_0/kernel", "head/kernel"], 0.5)
        [0.25, 0.5, 1.0]

    Reference:
        Howard and Ruder, 2018, "Universal Language Model Fine-tuning", section 3.2, "discriminative
        fine-tuning". ELECTRA's code gives its top layer layer_decay² where it has layer_decay here.
    """
    if not 0.0 < layer_decay <= 1.0:
        raise ValueError(f"layer_decay={layer_decay}; expected a factor above 0 and at most 1, such as 0.9")
    depths = [depth_of(path) for path in paths]
    known = [depth for depth in depths if depth is not None]
    if not known:
        raise ValueError(
            f"layer_decay={layer_decay}: none of the {len(paths)} weights has `layer_N` or `embeddings` in "
            f"its path; leave it out for this model"
        )
    top = max(known) + 1
    return [layer_decay ** (top - depth) if depth is not None else 1.0 for depth in depths]


def depth_of(path: str) -> int | None:
    """0 for embeddings, N + 1 for `layer_N`, None above the last layer.

    The last such name in the path counts: those before it may be of models around, which users name.
    """
    depth = None
    for part in path.split("/"):
        if part == "embeddings":
            depth = 0
        elif match := _LAYER.fullmatch(part):
            depth = int(match[1]) + 1
    return depth
