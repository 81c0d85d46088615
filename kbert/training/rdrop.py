"""`RDrop`: two passes with other units dropped shall say the same."""

from kbert.training.objective import Objective


class RDrop:
    """An objective over two forward passes of each batch: the mean of both losses, and how far they differ.

    Dropout makes of one model many; each pass is one of them. To the objective's own loss comes
    α·½(KL(P₁‖P₂) + KL(P₂‖P₁)), its mean over the rows, as a loss `rdrop`. A step costs two.

    Args:
        objective: With a method `divergence(first, second, targets)`, two passes' outputs to a (sum, weight),
            as kbert's objectives of texts have it.
        alpha: α, above 0; 0.5 to 5 is usual.

    Call arguments:
        outputs: A pair, those of the two passes.
        targets: Of the objective.

    Returns:
        Dict of the objective's terms, each the mean of both passes, and `rdrop`.

    Raises:
        ValueError: `alpha` is not above 0, or the objective has no divergence.

    Reference:
        Liang et al., 2021, "R-Drop: Regularized Dropout for Neural Networks", equation 4. As in its code, the
        mean of both losses is taken, not their sum: the learning rate keeps its meaning.
    """

    #: For `TrainSteps`: how often the model is called, and so how many outputs come.
    passes = 2

    def __init__(self, objective: Objective, alpha: float = 1.0):
        if not alpha > 0:
            raise ValueError(f"alpha={alpha}; expected a number above 0, such as 1.0")
        divergence = getattr(objective, "divergence", None)
        if divergence is None:
            raise ValueError(f"{type(objective).__name__} cannot compare two passes; leave R-Drop out for it")
        self._divergence = divergence
        self.objective = objective
        self.alpha = alpha
        self.losses = (*objective.losses, "rdrop")
        self.metrics = objective.metrics
        self.whole_batch = getattr(objective, "whole_batch", False)
        self.call_options = getattr(objective, "call_options", {})

    def __call__(self, outputs, targets: dict) -> dict:
        first, second = (self.objective(one, targets) for one in outputs)
        means = {name: ((first[name][0] + second[name][0]) / 2, first[name][1]) for name in first}
        difference, weight = self._divergence(*outputs, targets)
        return {**means, "rdrop": (self.alpha * difference, weight)}
