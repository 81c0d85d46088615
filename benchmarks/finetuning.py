"""Fine-tuning on the benchmarks that people compare by: kbert beside transformers on torch.

Both start from the same encoder and, with a seed, from the same head, which kbert draws: how large it comes
out decides how fast the encoder learns in its first hundred steps. Rows, optimizer, schedule, clipping,
dropout and batch size are the same, and outputs are decoded and scored by the same code. Both get the same
batches, drawn at random, as transformers' Trainer draws them, and padded to the longest row of each. kbert
computes as its default says (bfloat16 where that is fast); transformers in float32, and with the first seed
in bfloat16 by autocast (left out where torch is far slower in it), or with --nopeer_float32 in bfloat16
alone, with all seeds. Two things are as each has them by default: Adam's epsilon, 1e-6 in kbert and 1e-8 in
torch, and that kbert answers the dev rows in float32, transformers as it trained.
Seconds are those of training and of answering the dev rows, for kbert after each epoch, without start-up,
reading and tokenizing. Each run is in results.json as soon as it is done; the same command goes on where it
was stopped.

  python benchmarks/finetuning.py --init=FOLDER --data=../shared/data --sets=rte,mrpc --seeds=1,2,3 \
      --output=FOLDER --peer_python=PYTHON_WITH_TORCH
"""

import dataclasses
import json
import os
import pathlib
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from absl import flags, logging
from finetuning_peer import Settings, train_and_answer  # beside this script
from finetuning_sets import SETS
from kept_results import KeptResults, settings_of_flags
from speed import limits

from kbert import entry
from kbert.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("init", None, "Hugging Face folder of an encoder.", required=True)
flags.DEFINE_string("data", None, "Folder of the data sets.", required=True)
flags.DEFINE_string("output", None, "Folder for results.json.", required=True)
flags.DEFINE_list("sets", "rte,mrpc,stsb,cola,trec", "Data sets.")
flags.DEFINE_list("seeds", "1,2,3", "Seeds of the runs.")
flags.DEFINE_integer("limit", None, "Training rows at most, for a trial.", lower_bound=1)
flags.DEFINE_string(
    "peer_python", sys.executable, "Interpreter that has absl, numpy, torch and transformers."
)
flags.DEFINE_bool("autocast", True, "Runs the peer in bfloat16 too, with the first seed.")
flags.DEFINE_bool("peer_float32", True, "Runs the peer in float32; without, in bfloat16 with all seeds.")
flags.DEFINE_bool("peer_bfloat16", False, "Autocast in the peer (used by the script itself).")
flags.DEFINE_string("role", None, "A part of it (used by the script itself).")
flags.DEFINE_string("work", None, "Folder of the parts (used by the script itself).")

SCRIPT = pathlib.Path(__file__).resolve()
SETTINGS = Settings()
FLOAT32, BFLOAT16 = "transformers", "transformers bfloat16"


def _task(benchmark):
    """The task, its training rows and its dev rows."""
    from kbert.start import starting_point
    from kbert.tasks import Columns, task_class
    from kbert.text import WordPieceTokenizer

    kind, columns = task_class(benchmark.task), Columns(names=benchmark.names)
    train, dev = (kind.read(f"{FLAGS.data}/{name}", columns) for name in benchmark.files)
    start = starting_point(init=FLAGS.init)
    tokenizer = WordPieceTokenizer(start.vocab_path, lowercase=start.lowercase)
    train = train[: FLAGS.limit] if FLAGS.limit else train
    return kind.learn(train, tokenizer, benchmark.max_length), start, train, dev


def run_kbert(benchmark, seed, work):
    """Trains and answers as a user would."""
    from kbert import fine_tuning, training
    from kbert.run_settings import RunSettings

    parts = training.share_cores()
    task, start, train, dev = _task(benchmark)
    encoded = task.encode(train)
    settings = RunSettings(
        epochs=benchmark.epochs, seed=seed, keep="last", **dataclasses.asdict(SETTINGS),
    )  # fmt: skip
    started, cpu_started = time.perf_counter(), time.process_time()
    folder = work / f"model-{seed}"
    done = fine_tuning.fine_tune(
        task, start, encoded, dev, init=FLAGS.init, settings=settings, model_dir=folder, parts=parts
    )
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu_started,
        "score": done.scores[benchmark.score],
    }


def starting_head(task, start, seed):
    """What kbert's head starts with: kernel (hidden, outputs) and bias (outputs)."""
    import keras

    keras.utils.set_random_seed(seed)
    model = task.blank_model(start.config)
    model.build()
    kernel, bias = (weight.numpy() for weight in model.head_weights)
    return kernel, bias


def write_batches(benchmark, seed, work):
    """The batches that the peer trains on and answers, and the head that it starts from, as plain arrays."""
    from kbert import data

    task, start, train, dev = _task(benchmark)
    encoded, encoded_dev = task.encode(train), task.encode(dev)
    training = data.training_batches(encoded, SETTINGS.batch_size, benchmark.epochs, seed)
    batches = list(training.as_numpy_iterator())
    answered = [
        inputs
        for _, inputs, _ in data.evaluation_batches(encoded_dev, SETTINGS.batch_size).as_numpy_iterator()
    ]
    head = starting_head(task, start, seed)
    (work / f"batches-{seed}.pickle").write_bytes(pickle.dumps((batches, answered, head)))
    return {}


def run_transformers(benchmark, seed, work):
    """The usual loop of torch on the same batches; leaves the outputs for the dev rows."""
    batches, answered, head = pickle.loads((work / f"batches-{seed}.pickle").read_bytes())
    found, seconds, cpu_seconds = train_and_answer(
        benchmark.task, FLAGS.init, batches, answered, head, seed, SETTINGS, FLAGS.peer_bfloat16
    )
    (work / f"outputs-{seed}.pickle").write_bytes(pickle.dumps(found))
    return {"seconds": seconds, "cpu_seconds": cpu_seconds}


class _Recorded:
    """Stands for a model: gives the outputs that the peer gave for the batch."""

    crf = None

    def __init__(self, outputs):
        self.outputs = outputs

    def __call__(self, inputs, training=False):
        import tensorflow as tf

        return {name: tf.constant(value) for name, value in self.outputs.items()}

    def decode(self, outputs):
        """The tags of the highest scores, as a tagger without CRF decodes them."""
        import tensorflow as tf

        words = tf.cast(outputs["word_mask"], tf.int32)  # All that the peer gives is float32.
        return tf.argmax(outputs["logits"], -1, output_type=tf.int32) * words


def score_transformers(benchmark, seed, work):
    """What kbert's decoding and measure make of the peer's outputs."""
    from kbert import data

    task, _, _, dev = _task(benchmark)
    encoded = task.encode(dev)
    recorded = pickle.loads((work / f"outputs-{seed}.pickle").read_bytes())
    outputs = {}
    batches = data.evaluation_batches(encoded, SETTINGS.batch_size)
    for (rows, inputs, _), found in zip(batches, recorded, strict=True):
        for name, values in task.predictions(_Recorded(found), inputs).items():
            of_rows = outputs.setdefault(name, [None] * len(encoded))
            for row, value in zip(rows.numpy(), values.numpy(), strict=True):
                of_rows[row] = value
    task.spec.update(task.chosen_on_dev(dev, encoded, outputs))
    return {"score": task.scores(dev, task.answers(dev, encoded, outputs))[benchmark.score]}


def peer_slowdown(*_):
    """How many times as long torch takes in bfloat16."""
    return limits.torch_bfloat16_slowdown()


ROLES = {
    "kbert": run_kbert,
    "batches": write_batches,
    "transformers": run_transformers,
    "scores": score_transformers,
    "slowdown": peer_slowdown,
}
OF_PEER = ("transformers", "slowdown")


def run_role(role, name, seed, work, *more):
    """A part in a process of its own; what it says goes to stderr, what it found comes back."""
    python = FLAGS.peer_python if role in OF_PEER else sys.executable
    command = [
        python, str(SCRIPT), f"--role={role}", f"--sets={name}", f"--seeds={seed}", f"--work={work}",
        f"--init={FLAGS.init}", f"--data={FLAGS.data}", f"--output={FLAGS.output}",
        *more,
    ]  # fmt: skip
    if FLAGS.limit:
        command.append(f"--limit={FLAGS.limit}")
    # The peer's interpreter may lack kbert.
    path = f"{SCRIPT.parent.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def asked():
    """Who is compared -> the seeds of its runs."""
    bfloat16 = FLAGS.seeds[:1] if FLAGS.peer_float32 else FLAGS.seeds
    return {
        "kbert": FLAGS.seeds,
        FLOAT32: FLAGS.seeds if FLAGS.peer_float32 else [],
        BFLOAT16: bfloat16 if FLAGS.autocast else [],
    }


def check_bfloat16():
    """Leaves the peer's bfloat16 out where it would take days: on a processor without instructions for it.

    Raises:
        InputError: Nothing is left to compare with.
    """
    slowdown = run_role("slowdown", FLAGS.sets[0], FLAGS.seeds[0], "")
    if slowdown < limits.TOO_SLOW:
        return
    if not FLAGS.peer_float32:
        raise InputError(
            f"--nopeer_float32: torch takes {slowdown:.0f} times as long in bfloat16 here; leave it out"
        )
    logging.info("without bfloat16 of transformers: it takes %.0f times as long as float32 here", slowdown)
    FLAGS.autocast = False


def compare(results, name, work):
    """Runs both on one set, in turn, seed by seed."""

    def peer(seed, *more):
        if not (work / f"batches-{seed}.pickle").exists():
            run_role("batches", name, seed, work)
        row = run_role("transformers", name, seed, work, *more)
        return row | run_role("scores", name, seed, work)

    for seed in FLAGS.seeds:
        results.add(name, "kbert", seed, lambda seed=seed: run_role("kbert", name, seed, work))
        shutil.rmtree(work / f"model-{seed}", ignore_errors=True)
        if seed in asked()[FLOAT32]:
            results.add(name, FLOAT32, seed, lambda seed=seed: peer(seed))
        if seed in asked()[BFLOAT16]:
            results.add(name, BFLOAT16, seed, lambda seed=seed: peer(seed, "--peer_bfloat16"))


def mean_score(of_seeds):
    """Of the runs of a candidate on a set."""
    return statistics.mean(row["score"] for row in of_seeds.values())


def told(name, found):
    """A line on one set: means over the seeds, the spread of both, and seconds beside the faster peer's."""
    rows = {who: list(of_seeds.values()) for who, of_seeds in found.items()}
    scores = {who: [row["score"] for row in of_who] for who, of_who in rows.items()}
    means = {who: mean_score(of_seeds) for who, of_seeds in found.items()}
    spread = {who: max(values) - min(values) for who, values in scores.items()}
    times = {who: statistics.median(row["seconds"] for row in of_who) for who, of_who in rows.items()}
    ratio = times["kbert"] / min(value for who, value in times.items() if who != "kbert")
    seconds = ", ".join(f"{who} {value:.0f}" for who, value in times.items())
    peer = FLOAT32 if FLOAT32 in rows else BFLOAT16
    scored = ", ".join(f"{who} {means[who]:.4f} (spread {spread[who]:.4f})" for who in ("kbert", peer))
    return f"{name:10s} {SETS[name].score}: {scored}; seconds: {seconds}; {ratio:.2f} of the faster peer's"


def told_of_all(of_sets):
    """The last line: of both, the mean of the sets' means."""
    peer = FLOAT32 if FLOAT32 in of_sets[0] else BFLOAT16
    means = ", ".join(
        f"{who} {statistics.mean(mean_score(of[who]) for of in of_sets):.4f}" for who in ("kbert", peer)
    )
    return f"mean of {len(of_sets)} sets: {means}"


def main():
    """Prints a line for each set, and the mean of several."""
    if FLAGS.role:
        benchmark, work = SETS[FLAGS.sets[0]], pathlib.Path(FLAGS.work)
        print(json.dumps(ROLES[FLAGS.role](benchmark, int(FLAGS.seeds[0]), work)))
        return
    unknown = [name for name in FLAGS.sets if name not in SETS]
    if unknown:
        raise InputError(f"--sets={','.join(unknown)} is not known; choose of {', '.join(SETS)}")
    if not FLAGS.peer_float32 and not FLAGS.autocast:
        raise InputError("--nopeer_float32 and --noautocast leave nothing to compare with; leave out one")
    if FLAGS.autocast:
        check_bfloat16()
    results = KeptResults(FLAGS.output, settings_of_flags("limit") | dataclasses.asdict(SETTINGS))
    for name in FLAGS.sets:
        with tempfile.TemporaryDirectory() as work:
            compare(results, name, pathlib.Path(work))
        print(told(name, results.of(name, asked())), flush=True)
    if len(FLAGS.sets) > 1:
        print(told_of_all([results.of(name, asked()) for name in FLAGS.sets]))


if __name__ == "__main__":
    entry.run(main)
