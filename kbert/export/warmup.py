"""Warm-up records: requests that TF Serving runs while it loads, before it takes real ones."""

# pyright: reportAttributeAccessIssue=false
# (generated protobuf modules define their names at run time)

import os
from collections.abc import Mapping, Sequence

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from kbert.errors import InputError
from kbert.export.widths import all_widths

#: The place and the name that TF Serving looks for, below a version folder.
WARMUP_PATH = os.path.join("assets.extra", "tf_serving_warmup_requests")


#: The signature that most clients ask.
DEFAULT = "serving_default"

#: TF Serving reads up to 1000 records; each is run before the version answers, so that few are better.
#: 512 positions have that many widths.
MAX_WIDTHS = 36


def write_warmup(
    folder: str, module, samples: list[dict], output_filters: Sequence[Sequence[str]] = ()
) -> None:
    """Writes a record for each sample request, each width of a batch, and each filter in use.

    The first request of each shape is slow (buffers, kernels), and of each signature and filter slower
    (graph optimisation): about a second. A record that fails makes the load fail: a second self-test, on
    the server itself.

    Args:
        folder: The version folder; `assets.extra` must exist.
        module: The exported `TextModule`.
        samples: Of `kbert.export.samples.answered`.
        output_filters: Names of outputs that clients ask for alone, a list for each kind of client.

    Reference:
        TensorFlow Serving, g3doc/saved_model_warmup.md.
    """
    requests = [_request(sample["signature"], sample["inputs"]) for sample in samples]
    requests += [_request(DEFAULT, inputs) for inputs in inputs_of_all_widths(module)]
    first = next(sample for sample in samples if sample["signature"] == DEFAULT)
    requests += [_request(DEFAULT, first["inputs"], names) for names in output_filters]
    with tf.io.TFRecordWriter(os.path.join(folder, WARMUP_PATH)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def check_filters(output_filters: Sequence[Sequence[str]], samples: list[dict]) -> None:
    """Refuses filters of outputs that there are not.

    Args:
        output_filters: Names of outputs of `serving_default`.
        samples: Of `kbert.export.samples.answered`.

    Raises:
        InputError: Says which output is missing.
    """
    outputs = next(sample for sample in samples if sample["signature"] == DEFAULT)["outputs"]
    for names in output_filters:
        unknown = sorted(set(names) - set(outputs))
        if unknown:
            known = ", ".join(sorted(outputs))
            raise InputError(f"warm-up filter: the model has no output {unknown[0]!r}; it has {known}")


def inputs_of_all_widths(module) -> list[dict[str, list[bytes]]]:
    """Requests of one row to `serving_default` that fill batches of each width, at most `MAX_WIDTHS`.

    A word of one letter is one piece with any vocabulary, [UNK] at worst.
    """
    specs = module.contract()[DEFAULT].inputs
    if any(spec.shape.rank != 1 for spec in specs):
        return []
    widths = all_widths(module.max_length)
    *others, last = [spec.name for spec in specs]
    # The last text is the long one (of a question and its passage it is the passage); the others are one
    # piece. Each is followed by [SEP], and [CLS] comes first.
    return [
        {**{name: [b"a"] for name in others}, last: [b" ".join([b"a"] * (width - 2 * len(specs)))]}
        for width in widths[:: -(-len(widths) // MAX_WIDTHS) or 1]
    ]


def _request(signature: str, inputs: Mapping[str, list], output_filter: Sequence[str] = ()):
    # The model's name is ignored: the record belongs to the model it lies in.
    request = predict_pb2.PredictRequest(output_filter=output_filter)
    request.model_spec.signature_name = signature
    for name, texts in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(texts, dtype=tf.string))
    return request
