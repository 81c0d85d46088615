"""`TracedOnce`: layers that differ in their weights alone, traced for a graph as one."""

import keras
import tensorflow as tf


class TracedOnce:
    """Calls layers of the same kind one after the other; a graph is made of the first and used for all.

    To trace a block takes longer than to compute it a hundred times, and its gradient as long again. Here the
    weights, and the seeds of dropout, come in as tensors, so what was traced for one block serves the next.
    TensorFlow puts the operations of each in place before it runs any: the numbers and the speed are those of
    blocks that were traced one by one.

    To be made and called in one graph; tensors of that graph may be in `options`. To be called in the `call`
    of each layer: there Keras casts weights as it does for this layer, and not as for the one around it.

    Args:
        options: Keyword arguments of each call.
    """

    def __init__(self, **options):
        self._options = options
        self._graphs = {}

    def __call__(self, layer, form, inputs, *tensors):
        """The layer's outputs for float inputs and for further tensors, or None, that all layers are given.

        Args:
            layer: Built.
            form: What its outputs depend on besides weights, inputs and `options`, as a value to compare.
            inputs: float; the outputs have their shape.
            *tensors: Further ones, or None.
        """
        kinds = layer.trainable_variables, layer.non_trainable_variables
        weights = [[tf.convert_to_tensor(v.value) for v in of_kind] for of_kind in kinds]
        trained = [variable.path.removeprefix(layer.path) for variable in kinds[0]]  # Some may be frozen.
        key = str((form, trained, [[(v.shape, v.dtype) for v in of_kind] for of_kind in kinds]))
        if key not in self._graphs:
            self._graphs[key] = self._traced(layer, inputs, tensors, weights)
        outputs, seeds = self._graphs[key](inputs, *weights)
        for variable, seed in zip(_seeds(layer), seeds, strict=True):
            variable.assign(seed)
        return tf.ensure_shape(outputs, inputs.shape)

    def _traced(self, layer, inputs, tensors, weights):
        def call(inputs, trainable, others):
            outputs, after = layer.stateless_call(trainable, others, inputs, *tensors, **self._options)
            of_variable = dict(zip(map(id, layer.non_trainable_variables), after, strict=True))
            return outputs, [of_variable[id(seed)] for seed in _seeds(layer)]

        function = tf.function(call, autograph=False)
        return function.get_concrete_function(tf.TensorSpec(inputs.shape, inputs.dtype), *weights)


def _seeds(layer: keras.layers.Layer) -> list[keras.Variable]:
    """What a call changes: the states of its random numbers, and no frozen weight."""
    weights = {id(weight) for weight in layer.weights}
    return [v for v in layer.non_trainable_variables if id(v) not in weights]
