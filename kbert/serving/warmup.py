"""The warm-up records of an export: requests that are run before the first client comes.

The first run of a signature optimises its graph, which takes a hundred times as long as the second. TF
Serving therefore replays `assets.extra/tf_serving_warmup_requests` while it loads, and refuses the version if
a record fails; so does the local server.

Reference:
    https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

# pyright: reportAttributeAccessIssue=false
# (generated protobuf modules define their names at run time)

from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from kbert.errors import InputError
from kbert.serving.loaded_model import LoadedModel
from kbert.serving.protos import read_inputs
from kbert.serving.status import ServingError

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")


def run_warmup(model: LoadedModel) -> int:
    """Runs the recorded predict requests of a model, if it has any.

    Args:
        model: The loaded model.

    Returns:
        How many requests were run; records of other APIs are passed over.

    Raises:
        InputError: The file cannot be read or is damaged, or a recorded request fails.
    """
    file = model.path / WARMUP_FILE
    count = 0
    try:
        if not file.exists():
            return 0
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") == "predict_log":
                request = log.predict_log.request
                signature = request.model_spec.signature_name
                model.predict(signature, read_inputs(request.inputs), request.output_filter)
                count += 1
    except ServingError as error:
        raise InputError(
            f"{file}: warm-up request {count + 1} fails: {error}; export the model again"
        ) from error
    except (tf.errors.DataLossError, DecodeError) as error:
        raise InputError(f"{file}: not a file of PredictionLog records: {error}; export again") from error
    except (OSError, tf.errors.OpError) as error:
        reason = error.message if isinstance(error, tf.errors.OpError) else error.strerror
        raise InputError(f"{file}: cannot be read: {reason}") from error
    return count
