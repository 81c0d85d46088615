"""A stand-alone program that answers as TF Serving would: it has never heard of kbert or Keras.

Usage: `python -I session_answers.py ASKED ANSWERS`. ASKED is a JSON file, name -> {"folder": the folder of a
version, "inputs": {name: values}}; into ANSWERS goes name -> {output: values}.
"""

import json
import sys

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401 (registers the ops)


def plain(array):
    """Values for JSON; texts are UTF-8."""
    if array.dtype == object:
        array = np.array([text.decode() for text in array.ravel()], object).reshape(array.shape)
    return array.tolist()


def answer(folder, inputs):
    """What `serving_default` of a version folder says, through the loader of TensorFlow 1."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta_graph = tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], folder)
        signature = meta_graph.signature_def["serving_default"]
        fetches = {name: info.name for name, info in signature.outputs.items()}
        # Placeholders of texts take bytes; np.array keeps rows of choices as a rectangle.
        feeds = {
            signature.inputs[name].name: np.vectorize(str.encode, otypes=[object])(np.array(values, object))
            for name, values in inputs.items()
        }
        return {name: plain(values) for name, values in session.run(fetches, feeds).items()}


def main(asked_path, answers_path):
    with open(asked_path, encoding="utf-8") as file:
        asked = json.load(file)
    answers = {name: answer(**request) for name, request in asked.items()}
    assert not {"kbert", "keras_hub"} & set(sys.modules), "the process knows kbert"
    with open(answers_path, "w", encoding="utf-8") as file:
        json.dump(answers, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
