"""Counts and times of requests in Prometheus' text form, under TF Serving's names.

Reference:
    tensorflow/serving, util/prometheus_exporter.cc and servables/tensorflow/util.cc: names, labels, buckets.
"""

import bisect
import itertools
import threading
from collections import defaultdict

#: Where TF Serving's example configuration puts them, on the REST port.
METRICS_PATH = "/monitoring/prometheus/metrics"

#: Upper ends of the buckets of times, in microseconds: 10 times powers of 1.8, to about 20 minutes.
TIME_BUCKETS = tuple(10 * 1.8**power for power in range(33))

#: Upper ends of the buckets of batch sizes.
SIZE_BUCKETS = tuple(float(2**power) for power in range(15))

_Labels = tuple[tuple[str, str], ...]


class Histogram:
    """How often a value fell between two limits, their sum and their number."""

    def __init__(self, limits: tuple[float, ...]):
        self.limits = limits
        self.counts = [0] * (len(limits) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Counts one value."""
        # A limit belongs to the bucket above it.
        self.counts[bisect.bisect_right(self.limits, value)] += 1
        self.sum += value


class Metrics:
    """The metrics of one server; safe to use from several threads.

    Example:
        >>> metrics = Metrics()
        >>> metrics.count_request("k", "OK")
        >>> print(metrics.text())
        # TYPE :tensorflow:serving:request_count counter
        :tensorflow:serving:request_count{model_name="k",status="OK"} 1
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._counters: dict[str, dict[_Labels, int]] = defaultdict(lambda: defaultdict(int))
        self._histograms: dict[str, dict[_Labels, Histogram]] = defaultdict(dict)

    def count_request(self, model: str, status: str) -> None:
        """Counts an answer by its canonical code."""
        self._count("request_count", (("model_name", model), ("status", status)), 1)

    def add_request_time(self, model: str, api: str, entrypoint: str, seconds: float) -> None:
        """Adds the time of an answered request: `api` such as predict, `entrypoint` REST or GRPC."""
        labels = (("model_name", model), ("API", api), ("entrypoint", entrypoint))
        self._add("request_latency", labels, seconds * 1e6, TIME_BUCKETS)

    def add_run_time(self, model: str, api: str, seconds: float) -> None:
        """Adds the time that TensorFlow took of it."""
        labels = (("model_name", model), ("API", api), ("runtime", "TF1"))
        self._add("runtime_latency", labels, seconds * 1e6, TIME_BUCKETS)

    def add_rows(self, model: str, count: int) -> None:
        """Adds the rows of a request."""
        self._count("request_example_count_total", (("model", model),), count)
        self._add("request_example_counts", (("model", model),), count, SIZE_BUCKETS)

    def add_warmup_time(self, path: str, status: str, seconds: float) -> None:
        """Adds the time of a version's warm-up."""
        labels = (("model_path", path), ("status", status))
        self._add("model_warmup_latency", labels, seconds * 1e6, TIME_BUCKETS)

    def _count(self, name: str, labels: _Labels, amount: int) -> None:
        with self._lock:
            self._counters[name][labels] += amount

    def _add(self, name: str, labels: _Labels, value: float, limits: tuple[float, ...]) -> None:
        with self._lock:
            self._histograms[name].setdefault(labels, Histogram(limits)).add(value)

    def text(self) -> str:
        """All metrics, one sample a line."""
        with self._lock:
            lines = [*self._counter_lines(), *self._histogram_lines()]
        return "\n".join(lines)

    def _counter_lines(self) -> list[str]:
        lines = []
        for name, samples in sorted(self._counters.items()):
            lines.append(f"# TYPE :tensorflow:serving:{name} counter")
            lines += [f":tensorflow:serving:{name}{{{_show(key)}}} {count}" for key, count in samples.items()]
        return lines

    def _histogram_lines(self) -> list[str]:
        lines = []
        for name, samples in sorted(self._histograms.items()):
            full = f":tensorflow:serving:{name}"
            lines.append(f"# TYPE {full} histogram")
            for key, histogram in samples.items():
                labels = _show(key)
                limits = [*(f"{limit:.6g}" for limit in histogram.limits), "+Inf"]
                sums = list(itertools.accumulate(histogram.counts))
                lines += [
                    f'{full}_bucket{{{labels},le="{limit}"}} {count}'
                    for limit, count in zip(limits, sums, strict=True)
                ]
                lines += [
                    f"{full}_sum{{{labels}}} {histogram.sum:.6g}",
                    f"{full}_count{{{labels}}} {sums[-1]}",
                ]
        return lines


def _show(labels: _Labels) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in labels)


def _escape(value: str) -> str:
    value = value.encode("utf-8", "replace").decode()
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
