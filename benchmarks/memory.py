"""Memory: of loading an encoder, and of a classifier that answers texts; kbert beside Keras Hub.

Every figure is of a fresh process, in MiB: what it holds once its libraries are imported, the most that it
ever held while loading, and what it holds afterwards; then the most while answering, and afterwards. Both
start from the same Hugging Face folder; kbert answers as it is served, by an export in a session of
TensorFlow, Keras Hub by `predict`, its only way from texts to labels. Training's memory is in the tables of
run.py.

  python benchmarks/memory.py --init=FOLDER
"""

import importlib.util
import json
import subprocess
import sys
import tempfile

import serving_candidates  # beside this script
from absl import flags, logging

from kbert import entry
from kbert.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("init", None, "Hugging Face folder of an encoder.", required=True)
flags.DEFINE_integer("batch_size", 16, "Texts of a request.", lower_bound=1)
flags.DEFINE_integer("requests", 20, "Requests of 128 pieces a text, all of the same words.", lower_bound=1)

_BEGIN = """
import json, resource, sys
folder, batch_size, requests = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
texts = [" ".join(["film"] * 126)] * batch_size
figures = {}
def held():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20
def peak():  # Of Linux; `ru_maxrss` would be that of the parent, where it is more.
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))
"""

_LOADED = """
figures |= {"most while loading": peak(), "loaded": held()}
"""

_ANSWERED = """
for _ in range(requests):
    answers = answer(texts)
assert len(answers) == batch_size
figures |= {"most while answering": peak(), "answered": held()}
"""

_END = """
print(json.dumps(figures))
"""

_KBERT = """
import keras, tensorflow, tensorflow_text
from kbert import checkpoints
from kbert.models import Bert, BertClassifier
figures["imported"] = held()
"""

_KERAS_HUB = """
import keras, keras_hub
figures["imported"] = held()
"""

_LOAD_KBERT = """
model = Bert(checkpoints.read_config(folder))
model.build()
checkpoints.load_encoder_into(model, folder)
"""

_LOAD_KERAS_HUB = """
model = keras_hub.models.BertBackbone.from_preset(folder, dtype="float32")
"""

_SERVE_KBERT = """
import numpy as np, tensorflow as tf
session = tf.compat.v1.Session(graph=tf.Graph())
with session.graph.as_default():
    graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
signature = graph.signature_def["serving_default"]
fetches = signature.outputs["probabilities"].name
place = signature.inputs["text"].name
def answer(texts):
    return session.run(fetches, {place: np.array([text.encode() for text in texts], object)})
"""

_SERVE_KERAS_HUB = """
model = keras_hub.models.BertTextClassifier.from_preset(folder, num_classes=2, dtype="float32")
model.preprocessor.sequence_length = 128
def answer(texts):
    return model.predict(texts, batch_size=batch_size, verbose=0)
"""

CODE = {
    "kbert, load": _BEGIN + _KBERT + _LOAD_KBERT + _LOADED + _END,
    "Keras Hub, load": _BEGIN + _KERAS_HUB + _LOAD_KERAS_HUB + _LOADED + _END,
    "kbert, serve": _BEGIN + _KBERT + _SERVE_KBERT + _LOADED + _ANSWERED + _END,
    "Keras Hub, serve": _BEGIN + _KERAS_HUB + _SERVE_KERAS_HUB + _LOADED + _ANSWERED + _END,
}


def figures_of(name, export):
    """Name -> MiB, of one fresh process."""
    folder = f"{export}/1" if name == "kbert, serve" else FLAGS.init
    command = [sys.executable, "-c", CODE[name], folder, str(FLAGS.batch_size), str(FLAGS.requests)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{name}: ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Prints a line for each kind of process."""
    names = list(CODE)
    if importlib.util.find_spec("keras_hub") is None:
        logging.info("without Keras Hub: keras_hub is missing; pip install '.[bench]' in the source folder")
        names = [name for name in names if not name.startswith("Keras Hub")]
    with tempfile.TemporaryDirectory() as folder:
        serving_candidates.write_export(FLAGS.init, f"{folder}/export")
        for name in names:
            figures = figures_of(name, f"{folder}/export")
            told = ", ".join(f"{what} {mib:,.0f}" for what, mib in figures.items())
            print(f"{name:18}{told}", flush=True)


if __name__ == "__main__":
    entry.run(main)
