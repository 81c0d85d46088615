from kbert.serving.metrics import TIME_BUCKETS, Metrics


def samples(metrics):
    lines = [line for line in metrics.text().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_a_histogram_adds_up():
    metrics = Metrics()
    for microseconds in (5, 10, 17, 1e12):
        metrics.add_request_time("k", "predict", "REST", microseconds / 1e6)
    found = samples(metrics)
    name = ":tensorflow:serving:request_latency"
    labels = 'model_name="k",API="predict",entrypoint="REST"'
    assert found[f'{name}_bucket{{{labels},le="10"}}'] == 1
    assert found[f'{name}_bucket{{{labels},le="18"}}'] == 3
    assert found[f'{name}_bucket{{{labels},le="{TIME_BUCKETS[-1]:.6g}"}}'] == 3
    assert found[f'{name}_bucket{{{labels},le="+Inf"}}'] == found[f"{name}_count{{{labels}}}"] == 4
    assert found[f"{name}_sum{{{labels}}}"] == 1e12
    assert len(found) == len(TIME_BUCKETS) + 3


def test_counters_and_types():
    metrics = Metrics()
    metrics.count_request("k", "OK")
    metrics.count_request("k", "OK")
    metrics.count_request("k", "NOT_FOUND")
    metrics.add_rows("k", 3)
    text = metrics.text()
    assert ':tensorflow:serving:request_count{model_name="k",status="OK"} 2' in text
    assert ':tensorflow:serving:request_count{model_name="k",status="NOT_FOUND"} 1' in text
    assert ':tensorflow:serving:request_example_count_total{model="k"} 3' in text
    assert text.count("# TYPE :tensorflow:serving:request_count counter") == 1
    assert "# TYPE :tensorflow:serving:request_example_counts histogram" in text


def test_names_cannot_break_the_format():
    metrics = Metrics()
    metrics.count_request('a"b\\c\nd\udcff', "OK")
    (line,) = metrics.text().splitlines()[1:]
    assert line == ':tensorflow:serving:request_count{model_name="a\\"b\\\\c\\nd?",status="OK"} 1'
