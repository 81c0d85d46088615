"""The whole path on the data in this repository: text, vocabulary, BERT, classifier, server, answers.

Every stage is one of the other scripts, run as anybody would run it; its command is shown first.
"""

import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

from absl import flags, logging

from kbert import entry
from kbert.errors import InputError
from kbert.whole_files import check_writable

FLAGS = flags.FLAGS
flags.DEFINE_string("work_dir", "runs/quickstart", "Folder for everything but the export.")
flags.DEFINE_string("export_dir", "saved_models/quickstart", "Folder of versions to export to.")
flags.DEFINE_integer("pretraining_steps", 400, "Optimizer steps of pretraining.", lower_bound=1)
flags.DEFINE_integer("epochs", 20, "Passes over the labelled sentences.", lower_bound=1)

HERE = Path(__file__).resolve().parent
SENTENCES = (
    "The nurse took my temperature and gave me two pills.",
    "Our train to the coast leaves from platform four.",
    "The bank raised the interest on my savings account.",
    "这家餐厅的红烧肉又香又软。",
    "新手机的电池可以用两天。",
    "他们在最后一分钟进了一个球。",
)


def write_corpus(path):
    """Python's reference text, one document a topic, and the labelled sentences, one a label."""
    from pydoc_data.topics import topics

    from kbert.data import read_examples

    documents = []
    for text in topics.values():
        paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
        documents.append([s for p in paragraphs for s in re.split(r"(?<=[.:;]) ", p) if len(s) > 3])
    by_label: dict[str, list[str]] = {}
    for example in read_examples(str(HERE / "sample_data/sentences.train.tsv")):
        by_label.setdefault(f"{example.label} {example.text.isascii()}", []).append(example.text)
    documents += by_label.values()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join("\n".join(document) for document in documents) + "\n", encoding="utf-8")
    return sum(map(len, documents)), len(documents)


def stage(number, title, script, **arguments):
    """Runs a script with its progress lines shown and everything it says in a log; returns its stdout."""
    command = [sys.executable, str(HERE / script), *(f"--{key}={value}" for key, value in arguments.items())]
    shown = [f"tf_scripts/{script}", *command[2:]]
    logging.info("[%d/8] %s\n         python %s", number, title, shlex.join(shown))
    started, log = time.monotonic(), Path(FLAGS.work_dir) / f"{number}-{Path(script).stem}.log"
    with (
        open(log, "w", encoding="utf-8") as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
        ) as process,
    ):
        lines = []
        for line in process.stdout or ():
            file.write(line)
            lines.append(line.rstrip())
            if re.match(r"\d\d:\d\d:\d\d ", line):
                logging.info("      %s", line[9:].rstrip())
    if process.returncode:
        raise InputError(f"{script} ended with {process.returncode}: {lines[-1] if lines else ''}; see {log}")
    logging.info("[%d/8] done in %.0f s", number, time.monotonic() - started)
    return lines


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve_and_ask(work):
    """Starts the server, sends the sentences over HTTP, prints the answers, stops the server."""
    from kbert.serving import Client

    rest_port, command = free_port(), [sys.executable, str(HERE / "serve.py"), f"--model={FLAGS.export_dir}"]
    command += ["--name=quickstart", f"--rest_port={rest_port}", "--grpc_port=0"]
    with open(work / "8-serve.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(command, stderr=log)
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", rest_port)) == 0:
                    break
            time.sleep(0.2)
        else:
            raise InputError(f"the server did not start; see {work / '8-serve.log'}")
        answers = Client(f"http://127.0.0.1:{rest_port}", "quickstart").predict(SENTENCES)
        for text, answer in zip(SENTENCES, answers, strict=True):
            print(f"  {answer['label']:<11}{answer['score']:.3f}  {text}", flush=True)
    finally:
        server.terminate()
        server.wait(timeout=30)


def main():
    from kbert.serving.versions import find_latest_version

    started, work, data = time.monotonic(), Path(FLAGS.work_dir), HERE / "sample_data"
    check_writable(work)
    sentences, documents = write_corpus(work / "corpus.txt")
    logging.info("[1/8] corpus: %d sentences in %d documents, %s", sentences, documents, work / "corpus.txt")
    vocab, records = work / "vocab.txt", work / "records"
    pretrained, model, export = work / "pretrained", work / "classifier", FLAGS.export_dir
    stage(2, "vocabulary", "build_vocab.py", input=work / "corpus.txt", vocab_size=4000, output=vocab)
    stage(3, "pretraining records", "build_pretraining_data.py",
          input=work / "corpus.txt", vocab=vocab, max_length=64, output_dir=records, passes=2)  # fmt: skip
    stage(4, "pretraining a tiny BERT", "pretrain.py", data_dir=records, vocab=vocab, size="tiny",
          steps=FLAGS.pretraining_steps, batch_size=32, learning_rate=1e-3, model_dir=pretrained)  # fmt: skip
    stage(5, "fine-tuning it as a classifier", "finetune.py", task="classification",
          train=data / "sentences.train.tsv", dev=data / "sentences.dev.tsv", init=pretrained,
          epochs=FLAGS.epochs, batch_size=16, learning_rate=5e-4, max_length=64, model_dir=model)  # fmt: skip
    metrics = stage(6, "evaluating it", "evaluate.py", model_dir=model, data=data / "sentences.dev.tsv",
                    output_dir=work / "dev")[-1]  # fmt: skip
    stage(7, "exporting it", "export_model.py", model_dir=model, export_dir=export)
    logging.info("[8/8] serving it on loopback and asking over HTTP")
    serve_and_ask(work)
    query = '--url=http://127.0.0.1:8501 --model=quickstart --text="我的银行卡丢了"'
    finetune = f"--train=YOUR.tsv --dev=YOUR_DEV.tsv --init={pretrained} --model_dir=runs/mine"
    print(f"""
Done in {time.monotonic() - started:.0f} s.
  made     {pretrained}: a BERT pretrained on Python's reference text
           {model}: the classifier (food, health, money, sport, technology, travel)
           {find_latest_version(export)}: its export, raw text in, for TF Serving
  measured {metrics}
  next     python tf_scripts/serve.py --model={export} &
           (when it says that it is serving)
           python tf_scripts/query_server.py {query}
           python tf_scripts/finetune.py {finetune}
""")


if __name__ == "__main__":
    entry.run(main)
