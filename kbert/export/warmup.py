"""Warm-up records: requests that TF Serving runs while it loads, before it takes real ones."""

# pyright: reportAttributeAccessIssue=false
# (generated protobuf modules define their names at run time)

import os

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

#: The place and the name that TF Serving looks for, below a version folder.
WARMUP_PATH = os.path.join("assets.extra", "tf_serving_warmup_requests")


def write_warmup(folder: str, samples: list[dict]) -> None:
    """Writes one record for each sample request.

    The first request of each shape is slow (graph optimisation, buffers), and a record that fails makes
    the load fail: a second self-test, on the server itself.

    Args:
        folder: The version folder; `assets.extra` must exist.
        samples: Of `kbert.export.samples.answered`.

    Reference:
        TensorFlow Serving, g3doc/saved_model_warmup.md.
    """
    with tf.io.TFRecordWriter(os.path.join(folder, WARMUP_PATH)) as writer:
        for sample in samples:
            # The model's name is ignored: the record belongs to the model it lies in.
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = sample["signature"]
            for name, texts in sample["inputs"].items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(texts, dtype=tf.string))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
