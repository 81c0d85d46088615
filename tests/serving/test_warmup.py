import errno
import pathlib
import shutil

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from kbert.errors import InputError
from kbert.serving.loaded_model import LoadedModel
from kbert.serving.warmup import WARMUP_FILE, run_warmup

pytestmark = pytest.mark.serving


def predict_log(signature, **inputs):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = signature
    for name, value in inputs.items():
        log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return log.SerializeToString()


def warm_up(tiny_export, folder, records):
    shutil.copytree(tiny_export / "1", folder / "1")
    file = folder / "1" / WARMUP_FILE
    file.parent.mkdir()
    if isinstance(records, bytes):
        file.write_bytes(records)
    else:
        with tf.io.TFRecordWriter(str(file)) as writer:
            for record in records:
                writer.write(record)
    model = LoadedModel(folder / "1", "k")
    try:
        return run_warmup(model)
    finally:
        model.close()


def test_runs_the_predict_records(tiny_export, tmp_path):
    other = prediction_log_pb2.PredictionLog()
    other.classify_log.request.model_spec.signature_name = "classify"
    records = [predict_log("", text=["a"]), other.SerializeToString(), predict_log("tag", text=["a b", "c"])]
    assert warm_up(tiny_export, tmp_path, records) == 2


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            [predict_log("", text=["a"]), predict_log("zz", text=["a"])],
            "warm-up request 2 fails: .*not found",
        ),
        ([b"\xff\xff"], "not a file of PredictionLog records"),
        (b"garbage that is no record file", "not a file of PredictionLog records"),
    ],
)
def test_a_record_that_fails_refuses_the_version(tiny_export, tmp_path, records, message):
    with pytest.raises(InputError, match=message):
        warm_up(tiny_export, tmp_path, records)


def test_what_cannot_be_read_refuses_the_version(tiny_export, tmp_path, monkeypatch):
    model = LoadedModel(tiny_export / "1", "k")
    model.path = tmp_path
    (tmp_path / WARMUP_FILE).mkdir(parents=True)
    with pytest.raises(InputError, match="tf_serving_warmup_requests: cannot be read: .*directory"):
        run_warmup(model)

    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "exists", refused)
        with pytest.raises(InputError, match="tf_serving_warmup_requests: cannot be read: Permission denied"):
            run_warmup(model)
    model.close()


def test_an_export_without_records_is_fine(tiny_export):
    model = LoadedModel(tiny_export / "1", "k")
    assert run_warmup(model) == 0
    model.close()
