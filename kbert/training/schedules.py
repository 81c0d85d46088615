"""How the learning rate moves over a run."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kbert")
class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 to the peak over the warm-up, then linear to 0 at the last step.

    The update of step 0 has rate 0 where there is a warm-up, and every step beyond `total_steps` has
    rate 0.

    Args:
        peak: Highest learning rate.
        total_steps: Optimizer steps of the whole run, warm-up included.
        warmup_steps: Optimizer steps of the warm-up.
        decay_from_start: Google's form. There the decay is counted from step 0, so the rate falls from
            `peak` to `peak·(1 - warmup/total)` at the moment the warm-up ends. Default: the continuous
            form, which starts to decay at the peak.

    Example:
        >>> schedule = LinearWarmup(1.0, total_steps=10, warmup_steps=2)
        >>> [round(float(schedule(step)), 3) for step in (0, 1, 2, 6, 10, 11)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]

    Reference:
        google-research/bert, optimization.py, `create_optimizer`.
    """

    def __init__(self, peak: float, total_steps: int, warmup_steps: int = 0, decay_from_start: bool = False):
        if not 0 <= warmup_steps <= total_steps or total_steps < 1:
            raise ValueError(
                f"warmup_steps={warmup_steps}, total_steps={total_steps}; expected 0 <= warmup_steps <= "
                f"total_steps and at least one step"
            )
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.decay_from_start = decay_from_start

    def __call__(self, step):
        step = ops.cast(step, "float32")
        begin = 0 if self.decay_from_start else self.warmup_steps
        remaining = (self.total_steps - step) / max(1, self.total_steps - begin)
        decayed = self.peak * ops.clip(remaining, 0.0, 1.0)
        warming = self.peak * step / max(1, self.warmup_steps)
        return ops.where(step < self.warmup_steps, warming, decayed)

    def get_config(self):
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "decay_from_start": self.decay_from_start,
        }
