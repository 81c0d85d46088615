"""serve.py in a process of its own, as users start it, for the benchmarks of serving."""

import collections
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading

from kbert.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parent.parent


class ServeProcess:
    """A server of the model "m" at free ports; a context manager that stops it as an operator would.

    Args:
        model: Folder of versions.
        threads: Of an operation; None for all processors.

    Raises:
        InputError: It ended before it served.
    """

    def __init__(self, model: str, threads: int | None = None):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if threads is not None:
            environment["TF_NUM_INTRAOP_THREADS"] = str(threads)
        command = [sys.executable, str(ROOT / "tf_scripts/serve.py"), f"--model={model}", "--name=m"]
        command += ["--rest_port=0", "--grpc_port=0"]
        self._process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        told = collections.deque(maxlen=1)
        for line in self._process.stderr:
            told.append(line)
            found = re.search(r"serving m version \d+ at http://(\S+?)/\S* and grpc (\S+)", line)
            if found:
                self.rest_address, self.grpc_address = found.groups()
                break
        else:
            raise InputError(f"serve.py ended before it served: {''.join(told).strip()}")
        # What it says later must be read, or its pipe fills up and it stands still.
        threading.Thread(target=collections.deque, args=(self._process.stderr, 0), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def resident_mib(self) -> float:
        """Memory that it holds now."""
        with open(f"/proc/{self._process.pid}/status", encoding="utf-8") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def rest_client(server: ServeProcess):
    """A function of texts to the outputs of each by name, over a connection of its own.

    Raises:
        RuntimeError: The server refused, or did not answer each text.
    """
    connection = http.client.HTTPConnection(server.rest_address, timeout=60)

    def ask(texts):
        connection.request("POST", "/v1/models/m:predict", json.dumps({"instances": texts}))
        response = connection.getresponse()
        body = json.load(response)
        if response.status != 200 or len(body["predictions"]) != len(texts):
            raise RuntimeError(f"REST {response.status}: {str(body)[:200]}")
        return body["predictions"]

    return ask


def grpc_client(server: ServeProcess):
    """The same over gRPC, but to arrays over all texts by output."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    # Without an option of its own, channels of one process to one address share a connection.
    channel = grpc.insecure_channel(server.grpc_address, [("grpc.use_local_subchannel_pool", 1)])
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask(texts):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.inputs["text"].CopyFrom(tf.make_tensor_proto(texts, tf.string))
        outputs = stub.Predict(request, timeout=60).outputs
        answer = {name: tf.make_ndarray(proto) for name, proto in outputs.items()}
        if any(len(values) != len(texts) for values in answer.values()):
            raise RuntimeError("gRPC: not as many answers as texts")
        return answer

    return ask
