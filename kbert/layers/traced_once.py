"""`TracedOnce`: layers that differ in their weights alone, traced for a graph as one."""

import tensorflow as tf


class TracedOnce:
    """Calls layers of the same kind one after the other; a graph is made of the first and used for all.

    To trace a block takes longer than to compute it a hundred times, and its gradient as long again. Here the
    weights, and the seeds of dropout, come in as tensors, so what was traced for one block serves the next.
    TensorFlow puts the operations of each in place before it runs any: the numbers and the speed are those of
    blocks that were traced one by one.

    To be made and called in one graph; tensors of that graph may be in `options`.

    Args:
        options: Keyword arguments of each call.
    """

    def __init__(self, **options):
        self._options = options
        self._graphs = {}

    def __call__(self, layer, inputs, *tensors):
        """The layer's outputs for float inputs and for further tensors, or None, that all layers are given.

        The outputs have the inputs' shape.
        """
        weights = [
            [tf.convert_to_tensor(v.value) for v in of_kind]
            for of_kind in (layer.trainable_variables, layer.non_trainable_variables)
        ]
        form = str([[(w.shape, w.dtype) for w in of_kind] for of_kind in weights])  # Some may be frozen.
        if form not in self._graphs:
            self._graphs[form] = self._traced(layer, inputs, tensors, weights)
        outputs, seeds = self._graphs[form](inputs, *weights)
        for variable, seed in zip(layer.non_trainable_variables, seeds, strict=True):
            variable.assign(seed)
        return tf.ensure_shape(outputs, inputs.shape)

    def _traced(self, layer, inputs, tensors, weights):
        def call(inputs, trainable, others):
            return layer.stateless_call(trainable, others, inputs, *tensors, **self._options)

        function = tf.function(call, autograph=False)
        return function.get_concrete_function(tf.TensorSpec(inputs.shape, inputs.dtype), *weights)
