"""Tokenization: megabytes of text per second of kbert, of Hugging Face's tokenizers (Rust) and of Keras Hub.

Batches of 1,000 lines; those that are too few for a last one are not timed. The ids of kbert and of Hugging
Face are compared, and lines on which they differ (there Hugging Face departs from Google's rules) are
counted. One thread each, then two: kbert and Keras Hub under `tf.data` with two parallel calls, Hugging Face
with its own two threads. Rounds alternate; medians.

  python benchmarks/tokenization.py --vocab=bert-base-uncased.txt --text=corpus.txt
  python benchmarks/tokenization.py --vocab=bert-base-chinese.txt --text=zh.txt

The file is not called tokenize.py: that would hide Python's own module from all scripts beside it.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time

from absl import flags

from kbert import entry
from kbert.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("vocab", None, "vocab.txt.", required=True)
flags.DEFINE_string("text", None, "Text file; its non-empty lines are the texts.", required=True)
flags.DEFINE_bool("lowercase", True, "Lower-case and strip accents.")
flags.DEFINE_integer("rounds", 5, "Runs of each candidate.", lower_bound=1)
flags.DEFINE_integer("lines", 0, "Use the first so many lines; 0 for all.", lower_bound=0)
flags.DEFINE_string("only", None, "CANDIDATE:THREADS, one run of one candidate (used by the script itself).")

BATCH = 1000
#: Seconds that a timed run takes at least; the text is gone through as often as it needs.
LEAST_SECONDS = 2.0


def read_batches():
    """Lists of 1,000 lines, and of those that are left."""
    with open(FLAGS.text, encoding="utf-8") as file:
        lines = [line.strip("\n") for line in file if line.strip()][: FLAGS.lines or None]
    if len(lines) < BATCH:
        raise InputError(f"{FLAGS.text}: {len(lines)} lines; at least {BATCH} are needed")
    return [lines[i : i + BATCH] for i in range(0, len(lines), BATCH)]


def whole(batches):
    """Without the last one, where it is shorter: every batch that is timed is one tensor."""
    return [batch for batch in batches if len(batch) == BATCH]


def kbert_run(batches, threads):
    """A function that tokenizes everything once and returns how many ids there are."""
    from kbert.text import WordPieceTokenizer

    return _tf_data_run(WordPieceTokenizer(FLAGS.vocab, FLAGS.lowercase).tokenize, batches, threads)


def offsets_run(batches, threads):
    """The same with character offsets, which Hugging Face always computes and Keras Hub cannot."""
    from kbert.text import WordPieceTokenizer

    tokenizer = WordPieceTokenizer(FLAGS.vocab, FLAGS.lowercase)
    return _tf_data_run(lambda texts: tokenizer.tokenize_with_offsets(texts)[0], batches, threads)


def keras_hub_run(batches, threads):
    """Keras Hub's BertTokenizer, which keras_nlp names too."""
    import keras_hub

    return _tf_data_run(
        keras_hub.tokenizers.BertTokenizer(FLAGS.vocab, lowercase=FLAGS.lowercase), batches, threads
    )


def _tf_data_run(tokenize, batches, threads):
    import tensorflow as tf

    texts = tf.data.Dataset.from_tensor_slices(batches)
    ids = texts.map(lambda batch: tf.size(tokenize(batch).flat_values), num_parallel_calls=threads).prefetch(
        2
    )
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    ids = ids.with_options(options)
    return lambda: sum(int(count) for count in ids.as_numpy_iterator())


def hugging_face_run(batches, threads):
    """`BertWordPieceTokenizer.encode_batch`."""
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(FLAGS.vocab, lowercase=FLAGS.lowercase)

    def run():
        return sum(
            len(found.ids) for b in batches for found in tokenizer.encode_batch(b, add_special_tokens=False)
        )

    return run


CANDIDATES = {
    "kbert": kbert_run,
    "kbert with offsets": offsets_run,
    "tokenizers": hugging_face_run,
    "keras_hub": keras_hub_run,
}


def megabytes_per_second(candidate, threads, batches):
    """Of one candidate in this process."""
    run = CANDIDATES[candidate](batches, threads)
    size = sum(len(line.encode()) for batch in batches for line in batch) / 1e6
    run()
    rounds, started = 0, time.perf_counter()
    while time.perf_counter() - started < LEAST_SECONDS:
        run()
        rounds += 1
    return size * rounds / (time.perf_counter() - started)


def lines_that_differ(batches):
    """Name of a peer -> how many of the lines have other ids with it than with kbert."""
    import keras_hub
    from tokenizers import BertWordPieceTokenizer

    from kbert.text import WordPieceTokenizer

    ours = WordPieceTokenizer(FLAGS.vocab, FLAGS.lowercase)
    rust = BertWordPieceTokenizer(FLAGS.vocab, lowercase=FLAGS.lowercase)
    hub = keras_hub.tokenizers.BertTokenizer(FLAGS.vocab, lowercase=FLAGS.lowercase)
    differing = {"tokenizers": 0, "keras_hub": 0}
    for batch in batches:
        ids = ours.tokenize(batch).to_list()
        theirs = {
            "tokenizers": [found.ids for found in rust.encode_batch(batch, add_special_tokens=False)],
            "keras_hub": [list(row) for row in hub(batch)],
        }
        for name, rows in theirs.items():
            differing[name] += sum(mine != row for mine, row in zip(ids, rows, strict=True))
    return differing


def one_run(candidate, threads):
    """The figure of one candidate, measured in a process that has that many threads."""
    environment = {
        **os.environ,
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false" if threads == 1 else "true",
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": str(threads),
    }
    command = [sys.executable, *sys.argv, f"--only={candidate}:{threads}"]
    # One core for one thread, so that no helper thread of a library is counted for nothing.
    can_choose = threads == 1 and hasattr(os, "sched_setaffinity")
    core = {min(os.sched_getaffinity(0))} if can_choose else None
    output = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=core and (lambda: os.sched_setaffinity(0, core)),
    ).stdout
    return float(output.splitlines()[-1])


def main():
    """Prints one JSON object: for each number of threads and candidate the median and all figures in MB/s."""
    batches = read_batches()
    if FLAGS.only:
        candidate, threads = FLAGS.only.split(":")
        print(megabytes_per_second(candidate, int(threads), whole(batches)))
        return
    found = {(threads, name): [] for threads in (1, 2) for name in CANDIDATES}
    for _, (threads, name) in itertools.product(range(FLAGS.rounds), found):
        found[threads, name].append(round(one_run(name, threads), 3))
    medians = {case: statistics.median(figures) for case, figures in found.items()}
    print(
        json.dumps(
            {
                "lines": sum(map(len, batches)),
                "lines that are timed": BATCH * len(whole(batches)),
                "lines with other ids": lines_that_differ(batches),
                "MB/s": {
                    f"{name}, {threads} thread(s)": figures for (threads, name), figures in found.items()
                },
                "kbert / tokenizers": {
                    t: round(medians[t, "kbert"] / medians[t, "tokenizers"], 2) for t in (1, 2)
                },
                "kbert / keras_hub": {
                    t: round(medians[t, "kbert"] / medians[t, "keras_hub"], 2) for t in (1, 2)
                },
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    entry.run(main)
