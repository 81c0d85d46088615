"""Start: how long it takes until kbert is imported, and until an export gives its first answer.

Every figure is of fresh processes, one after the other, of which the first is left out: median and range.

  import kbert      by itself: TensorFlow is not imported before it is needed
  the rest of it    models, text, training and tasks, once TensorFlow, tensorflow-text and Keras are there
  load              the export into a session, as TF Serving loads it; its libraries are there already
  first answer      of that session; TF Serving hides it behind the warm-up records of the export
  second answer     to the same text

  python benchmarks/start.py --export=EXPORT_FOLDER/1 --text="a very good film !"
"""

import json
import statistics
import subprocess
import sys

from absl import flags

from kbert import entry
from kbert.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("export", None, "A version folder of export_model.py.", required=True)
flags.DEFINE_string("text", "a very good film !", "What is asked, for every text that the signature takes.")
flags.DEFINE_integer("rounds", 5, "Processes of each kind that are timed.", lower_bound=1)

_IMPORTS = """
import json, time
times = {}
began = time.perf_counter()
import kbert
times["import kbert"] = time.perf_counter() - began
import keras, tensorflow, tensorflow_text
began = time.perf_counter()
import kbert.inference, kbert.models, kbert.tasks, kbert.text, kbert.training
times["the rest of it"] = time.perf_counter() - began
print(json.dumps(times))
"""

_ANSWERS = """
import json, sys, time
import numpy as np, tensorflow as tf, tensorflow_text
folder, text = sys.argv[1:]
times = {}
began = time.perf_counter()
with tf.compat.v1.Session(graph=tf.Graph()) as session, session.graph.as_default():
    graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
    times["load"] = time.perf_counter() - began
    signature = graph.signature_def["serving_default"]
    fetches = [info.name for info in signature.outputs.values()]
    feeds = {info.name: np.array([text.encode()], object) for info in signature.inputs.values()}
    for name in ("first answer", "second answer"):
        began = time.perf_counter()
        session.run(fetches, feeds)
        times[name] = time.perf_counter() - began
print(json.dumps(times))
"""


def times_of(code, *arguments):
    """Name -> seconds, of one fresh process."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"a process ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Prints a line for each figure."""
    found: dict[str, list[float]] = {}
    for round_ in range(FLAGS.rounds + 1):
        times = times_of(_IMPORTS) | times_of(_ANSWERS, FLAGS.export, FLAGS.text)
        for name, seconds in times.items():
            found.setdefault(name, []).extend([seconds] if round_ else [])
    for name, seconds in found.items():
        print(f"{name:16}{statistics.median(seconds):8.3f} s ({min(seconds):.3f} to {max(seconds):.3f})")


if __name__ == "__main__":
    entry.run(main)
