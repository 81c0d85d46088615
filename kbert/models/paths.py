"""`weight_paths`: the names of a model's weights, wherever the model was built."""

import keras


def weight_paths(model: keras.Model) -> dict[str, keras.Variable]:
    """Name in kbert -> variable, of every weight of a built model.

    A name is the weight's path below the model, with the encoder always under `bert/`: a bare `Bert` and the
    `Bert` inside a head model have the same names. What a weight's path has before that tells which models
    were being built around this one.

    Args:
        model: A `Bert`, or a model that holds one as its `bert`.

    Example:
        >>> from kbert import BertConfig
        >>> from kbert.models import BertClassifier
        >>> model = BertClassifier(BertConfig.preset("tiny", vocab_size=100), num_classes=2)
        >>> model.build()
        >>> list(weight_paths(model))[-1]
        'classifier/bias'
        >>> list(weight_paths(model))[:-2] == list(weight_paths(model.bert))
        True
    """
    encoder = getattr(model, "bert", model)
    names = {id(weight): "bert/" + _below(encoder, weight) for weight in encoder.weights}
    return {names.get(id(weight)) or _below(model, weight): weight for weight in model.weights}


def _below(layer, weight):
    return weight.path.removeprefix(f"{layer.path}/")
