"""What REST and gRPC share: a request's place in the queue, its deadline, its limits, its model."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kbert.serving.admission import Admission, Deadline
from kbert.serving.loaded_model import LoadedModel
from kbert.serving.metrics import Metrics
from kbert.serving.model_store import ModelStore
from kbert.serving.options import ServerOptions
from kbert.serving.status import ServingError, invalid


class Service:
    """The served models behind their limits.

    Args:
        store: The models.
        metrics: What is counted.
        options: The limits.
    """

    def __init__(self, store: ModelStore, metrics: Metrics, options: ServerOptions):
        self.store = store
        self.metrics = metrics
        self.options = options
        self._admission = Admission(options.num_running, options.max_waiting)

    @contextlib.contextmanager
    def request(
        self, model: str, api: str, entrypoint: str, seconds: float | None = None
    ) -> Iterator["Request"]:
        """A request, from its place in the queue to its last metric.

        Args:
            model: Name of the model asked for.
            api: What is asked, such as predict.
            entrypoint: REST or GRPC.
            seconds: How long the client waits; None if it did not say.

        Raises:
            ServingError: RESOURCE_EXHAUSTED or DEADLINE_EXCEEDED.
        """
        limit = self.options.timeout_seconds
        deadline = Deadline(limit if seconds is None else min(seconds, limit))
        # Clients can ask for any name; each would become a row of metrics.
        known = model if model in self.store.names() else ""
        started, code = time.perf_counter(), "INTERNAL"
        try:
            with self._admission.place(deadline), contextlib.ExitStack() as models:
                yield Request(self, api, deadline, models)
            code = "OK"
            self.metrics.add_request_time(known, api, entrypoint, time.perf_counter() - started)
        except ServingError as error:
            code = error.code
            raise
        finally:
            self.metrics.count_request(known, code)


class Request:
    """One request; what it opens stays in memory until it ends."""

    def __init__(self, service: Service, api: str, deadline: Deadline, models: contextlib.ExitStack):
        self._service = service
        self._api = api
        self._deadline = deadline
        self._models = models

    def open(self, name: str, version: int | None = None, label: str | None = None) -> "Servable":
        """The version that is asked for; arguments and errors as of `ModelStore.using`."""
        model = self._models.enter_context(self._service.store.using(name, version, label))
        return Servable(model, self._run)

    def _run(self, model: LoadedModel, signature: str, inputs: Mapping, output_filter: Sequence[str]) -> dict:
        rows = self._checked_rows(inputs)
        started = time.perf_counter()
        outputs = model.predict(signature, inputs, output_filter, self._deadline.left())
        self._service.metrics.add_run_time(model.name, self._api.capitalize(), time.perf_counter() - started)
        self._service.metrics.add_rows(model.name, rows)
        return outputs

    def _checked_rows(self, inputs: Mapping[str, np.ndarray]) -> int:
        options = self._service.options
        rows = 0
        for name, array in inputs.items():
            rows = max(rows, len(array) if array.ndim else 1)
            if rows > options.max_rows:
                raise invalid(f"Input {name} has {rows} rows; at most {options.max_rows} are taken at once")
            if array.dtype.hasobject:
                longest = max(map(len, array.flat), default=0)
                if longest > options.max_text_bytes:
                    limit = f"at most {options.max_text_bytes} are taken"
                    raise invalid(f"A text of input {name} has {longest} bytes; {limit}")
        return rows


class Servable:
    """A version as one request sees it: its signatures, and `predict` within the request's time."""

    def __init__(self, model: LoadedModel, run):
        self._model = model
        self._run = run
        self.name = model.name
        self.version = model.version
        self.signature_defs = model.signature_defs
        self.input_types = model.input_types

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], output_filter: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Runs a signature; as `LoadedModel.predict`, within the limits of the server.

        Raises:
            ServingError: As there, and INVALID_ARGUMENT for too many rows or too long a text.
        """
        return self._run(self._model, signature, inputs, output_filter)
