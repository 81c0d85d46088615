import os

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from kbert.errors import InputError
from kbert.export import export
from kbert.export.warmup import MAX_WIDTHS, WARMUP_PATH, inputs_of_all_widths
from kbert.export.widths import all_widths


@pytest.mark.parametrize("pair", [False, True])
def test_one_request_fills_each_width(make_module, pair):
    module = make_module(pair)
    requests = inputs_of_all_widths(module)
    assert all(set(request) == set(module.inputs) for request in requests)
    counts = [
        int(module.answer(*(tf.constant(request[name]) for name in module.inputs))["num_tokens"][0])
        for request in requests
    ]
    assert counts == [8, 16, 24, 32, 40]


def test_no_more_requests_than_a_server_should_run(make_module, monkeypatch):
    assert len(all_widths(512)) == MAX_WIDTHS  # One more, and only every other width would be warm.
    monkeypatch.setattr("kbert.export.warmup.MAX_WIDTHS", 1)
    assert len(inputs_of_all_widths(make_module())) == 1


@pytest.mark.slow
def test_filters_are_recorded_and_wrong_ones_leave_nothing(make_module, tmp_path):
    module = make_module()
    with pytest.raises(InputError, match="no output 'scores'; it has label, label_id, num_tokens"):
        export(module, tmp_path / "e", warmup_filters=[["label", "scores"]])
    assert not (tmp_path / "e").exists()
    path = export(module, tmp_path / "e", warmup_filters=[["label"], ["score", "label"]])
    records = tf.data.TFRecordDataset(os.path.join(path, WARMUP_PATH)).as_numpy_iterator()
    requests = [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]
    filters = [list(request.output_filter) for request in requests if request.output_filter]
    assert filters == [["label"], ["score", "label"]]
