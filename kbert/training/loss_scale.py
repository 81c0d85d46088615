"""Gradients that fit into float16."""

import keras
import tensorflow as tf


class LossScale:
    """A factor on the loss, as large as the gradients bear, so that small ones do not become 0 in float16.

    A step whose gradients overflow is left out, and the factor halved; after `growth_steps` good steps in
    a row it is doubled. bfloat16 has the exponents of float32 and needs none of this.

    Args:
        initial: First factor.
        growth_steps: Good steps until it is doubled.

    Attributes:
        variables: What a checkpoint must hold.

    Reference:
        Micikevicius et al., 2018, "Mixed Precision Training", section 3.2.
    """

    def __init__(self, initial: float = 2.0**15, growth_steps: int = 2000):
        self.growth_steps = growth_steps
        self.factor = keras.Variable(initial, dtype="float32", trainable=False, name="loss_scale")
        self.good_steps = keras.Variable(0, dtype="int32", trainable=False, name="good_steps")

    @property
    def variables(self) -> list[keras.Variable]:
        return [self.factor, self.good_steps]

    def update(self, finite: tf.Tensor) -> None:
        """Takes note of a step, outside of the replicas.

        Args:
            finite: bool (), the same in all workers: whether all gradients were finite.
        """
        good = tf.where(finite, self.good_steps.value + 1, 0)
        grown = good >= self.growth_steps
        factor = tf.where(grown, self.factor.value * 2.0, self.factor.value)
        self.factor.assign(tf.where(finite, factor, self.factor.value / 2.0))
        self.good_steps.assign(tf.where(grown, 0, good))
