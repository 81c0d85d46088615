"""The benchmarks of this folder, one after the other, with what they need made first.

What each prints is in NAME.txt of the folder once it is done, its files beside it in NAME/; the same command
goes on after the last one that is done, and those that go on by themselves inside of one. One that fails is
told at the end and the others are run. All of it takes many hours on two cores: --list says what there is,
--only chooses, --trial runs each for a moment (recipes for minutes) to see that it works, in a folder of its
own, trial/.

  python benchmarks/everything.py --init=FOLDER --data=../shared/data --output=FOLDER
  python benchmarks/everything.py --init=FOLDER --data=../shared/data --output=FOLDER --only=records,layouts
"""

import dataclasses
import importlib.util
import json
import pathlib
import subprocess
import sys
import time

import children  # beside this script
from absl import flags, logging
from kept_results import check_settings, settings_of_flags

from kbert import entry
from kbert.errors import InputError
from kbert.whole_files import write_whole

FLAGS = flags.FLAGS
flags.DEFINE_string("init", None, "Hugging Face folder of an encoder, with vocab.txt.", required=True)
flags.DEFINE_string("data", None, "Folder of the data sets.", required=True)
flags.DEFINE_string("output", None, "Folder for the results.", required=True)
flags.DEFINE_list("only", None, "Some of them, in the order of --list; default: all.")
flags.DEFINE_bool("list", False, "Prints their names and commands, and runs nothing.")
flags.DEFINE_bool("trial", False, "Each for a moment, in the folder trial/ of the results.")

ROOT = pathlib.Path(__file__).resolve().parent.parent
TORCH = ("torch", "transformers")


def results_folder():
    """Where results go; those of a trial must not be taken for the real ones."""
    return pathlib.Path(FLAGS.output, *(["trial"] if FLAGS.trial else []))


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """One command: a script, its flags, those that make it short, and packages that it cannot do without.

    In flags `{init}` and `{data}` stand for what was given, `{output}` for the folder of the results, and
    `{here}` for the folder of its own.
    """

    script: str
    flags: tuple[str, ...]
    trial: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def command(self, name, trial):
        """Arguments of its process; what is given twice counts as it stands last."""
        places = {"init": FLAGS.init, "data": FLAGS.data, "output": results_folder()}
        places["here"] = results_folder() / name
        chosen = (*self.flags, *(self.trial if trial else ()))
        return [sys.executable, str(ROOT / self.script), *(flag.format(**places) for flag in chosen)]

    def missing(self):
        """Those of its packages that are not installed."""
        return [package for package in self.packages if importlib.util.find_spec(package) is None]


def _pretraining(size, *more):
    flags_of_size = ("--data={data}", f"--size={size}", "--output={here}", *more)
    short = ("--size=tiny", "--seconds=2", "--slice_seconds=1", "--held_out_rows=16", "--batch_size=2")
    return Benchmark("benchmarks/pretraining.py", flags_of_size, short)


def _tokenization(vocab, text):
    flags_of_language = (f"--vocab={{data}}/vocab/{vocab}.txt", f"--text={{data}}/corpora/{text}.txt")
    short = ("--rounds=1", "--lines=2000")
    return Benchmark("benchmarks/tokenization.py", flags_of_language, short, ("tokenizers", "keras_hub"))


def _chinese_records(*more):
    flags_of_all = (
        "--input={output}/chinese-corpus.txt", "--vocab={output}/chinese-vocab.txt", "--max_length=128",
        "--output_dir={here}", *more,
    )  # fmt: skip
    return Benchmark("tf_scripts/build_pretraining_data.py", flags_of_all)


def _chinese_pretraining(*more):
    flags_of_all = (
        "--vocab={output}/chinese-vocab.txt", "--learning_rate=1e-3", "--mask_rate=0.2",
        "--warmup_ratio=0.05", "--model_dir={here}", *more,
    )  # fmt: skip
    return Benchmark("tf_scripts/pretrain.py", flags_of_all, ("--steps=2", "--batch_size=2"))


#: Those that make something come before those that use it.
BENCHMARKS = {
    "records": Benchmark(
        "tf_scripts/build_pretraining_data.py",
        (
            "--input={data}/corpora/brown.train.txt", "--vocab={data}/vocab/bert-base-uncased.txt",
            "--max_length=512", "--output_dir={here}",
        ),
    ),
    "classifier": Benchmark(
        "tf_scripts/finetune.py",
        (
            "--task=classification", "--train={data}/sst2/train.tsv", "--dev={data}/sst2/dev.tsv",
            "--init={init}", "--epochs=1", "--batch_size=32", "--learning_rate=5e-5", "--model_dir={here}",
        ),
        ("--train={data}/sst2/dev.tsv",),
    ),
    "export": Benchmark(
        "tf_scripts/export_model.py", ("--model_dir={output}/classifier", "--export_dir={here}")
    ),
    "chinese_corpus": Benchmark(
        "benchmarks/chinese_corpus.py", ("--data={data}", "--output={output}/chinese-corpus.txt")
    ),
    "chinese_vocab": Benchmark(
        "tf_scripts/build_vocab.py",
        ("--input={output}/chinese-corpus.txt", "--vocab_size=6000", "--output={output}/chinese-vocab.txt"),
        ("--vocab_size=80",),
    ),
    "chinese_records": _chinese_records("--next_sentence=none"),
    "chinese_pairs": _chinese_records("--next_sentence=nsp", "--passes=5"),
    # Masks first: with pairs from the start `mini` knew but the tokens' frequencies after 2,100 steps.
    "chinese_masks": _chinese_pretraining(
        "--data_dir={output}/chinese_records", "--steps=8000", "--batch_size=16", "--size=mini"
    ),
    "chinese_pretrained": _chinese_pretraining(
        "--data_dir={output}/chinese_pairs", "--steps=4500", "--batch_size=32",
        "--init={output}/chinese_masks",
    ),
    "run": Benchmark(
        "benchmarks/run.py",
        ("--init={init}", "--data={data}", "--output={here}"),
        (
            "--cases=train-sst2,infer-sst2", "--candidates=kbert bfloat16,SavedModel", "--steps=1",
            "--rounds=1", "--warmup=0",
        ),
    ),
    "start": Benchmark("benchmarks/start.py", ("--export={output}/export/1",), ("--rounds=1",)),
    "memory": Benchmark("benchmarks/memory.py", ("--init={init}",), ("--requests=1",)),
    "load": Benchmark("benchmarks/load_checkpoint.py", (), ("--size=tiny", "--rounds=1")),
    "remat": Benchmark(
        "benchmarks/remat_memory.py",
        ("--size=mini", "--batch_size=8", "--length=512"),
        ("--size=tiny", "--batch_size=2", "--length=16", "--steps=1"),
    ),
    "tokenization": _tokenization("bert-base-uncased", "brown.train"),
    "tokenization_chinese": _tokenization("bert-base-chinese", "zh.train"),
    "layouts": Benchmark(
        "benchmarks/record_layouts.py",
        ("--data_dir={output}/records", "--vocab={data}/vocab/bert-base-uncased.txt"),
        ("--batch_size=2",),
    ),
    "pretraining_mini": _pretraining("mini"),
    "pretraining_small": _pretraining(
        "small", "--learning_rate=3e-4", "--seconds=180", "--slice_seconds=45", "--held_out_rows=256"
    ),
    "weak_scaling": Benchmark(
        "benchmarks/weak_scaling.py",
        (
            "--data_dir={output}/pretraining_mini/records-train",
            "--vocab={data}/vocab/bert-base-uncased.txt", "--sizes=tiny,mini", "--accumulate=4",
        ),
        ("--batch_size=2", "--steps=2", "--rounds=1"),
    ),
    "serving": Benchmark(
        "benchmarks/serving.py",
        ("--init={init}", "--text={data}/sst2/dev.tsv"),
        ("--rows=8", "--rounds=1"),
        ("onnx", "onnxruntime", *TORCH),
    ),
    "serving_load": Benchmark(
        "benchmarks/serving_load.py",
        ("--model={output}/export", "--text={data}/sst2/dev.tsv"),
        ("--clients=4", "--seconds=3"),
    ),
    "finetuning": Benchmark(
        "benchmarks/finetuning.py",
        (
            "--init={init}", "--data={data}", "--sets=rte,mrpc,stsb,cola,trec,sst2,conll2003,squad",
            "--output={here}",
        ),
        ("--sets=trec", "--seeds=1", "--limit=64", "--nopeer_float32"),
        TORCH,
    ),
    "padding": Benchmark(
        "benchmarks/padding.py",
        ("--init={init}", "--data={data}", "--sets=conll2003,mrpc,trec"),
        ("--sets=sst2", "--steps=2", "--rounds=1"),
    ),
    "recipes": Benchmark(
        "benchmarks/recipes.py",
        ("--init={init}", "--data={data}", "--sets=trec,rte", "--output={here}"),
        ("--sets=trec", "--seeds=1", "--recipes=faster"),
    ),
    "chinese": Benchmark(
        "benchmarks/chinese.py",
        (
            "--init={output}/chinese_pretrained", "--data={data}", "--epochs=3", "--learning_rate=3e-4",
            "--output={here}",
        ),
        ("--sets=chnsenticorp", "--size=tiny", "--seeds=1", "--epochs=1", "--max_length=16"),
    ),
    "gpu": Benchmark(
        "benchmarks/gpu.py",
        ("--output={here}",),
        ("--cases=answer-128", "--size=tiny", "--batch_size=2", "--steps=1", "--rounds=1", "--warmup=0"),
    ),
}  # fmt: skip


def run(name, command, folder):
    """Runs one; what it prints is in its file when all of it is there. Gives the exit status."""
    partial = folder / f".{name}.txt.partial"
    with open(partial, "w", encoding="utf-8") as file:
        try:
            children.run(command, stdout=file)
        except subprocess.CalledProcessError as error:
            return error.returncode
    partial.replace(folder / f"{name}.txt")
    return 0


def prepare(folder):
    """Makes the folder; what is in it must be of the same --init, --data and version.

    Raises:
        InputError: It is not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, settings = folder / "settings.json", settings_of_flags()
    if path.exists():
        check_settings(path, json.loads(path.read_text(encoding="utf-8")), settings)
    write_whole(path, json.dumps(settings, indent=1) + "\n")


def main():
    """Runs what was asked for and is not done."""
    wanted = FLAGS.only or list(BENCHMARKS)
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        raise InputError(f"--only={','.join(unknown)} is not known; choose of {', '.join(BENCHMARKS)}")
    commands = {name: of.command(name, FLAGS.trial) for name, of in BENCHMARKS.items() if name in wanted}
    if FLAGS.list:
        print("\n".join(f"{name}: {' '.join(command)}" for name, command in commands.items()))
        return
    folder, failed = results_folder(), []
    prepare(folder)
    for number, (name, command) in enumerate(commands.items(), 1):
        if (folder / f"{name}.txt").exists():
            logging.info("%d of %d: %s is done", number, len(commands), name)
            continue
        missing = BENCHMARKS[name].missing()
        if missing:
            logging.info(
                "without %s: pip install '.[bench]' in the source folder for %s", name, ", ".join(missing)
            )
            continue
        logging.info("%d of %d: %s", number, len(commands), name)
        started = time.perf_counter()
        status = run(name, command, folder)
        logging.info("%s: %.0f s, exit status %d", name, time.perf_counter() - started, status)
        if status:
            failed.append(name)
    if failed:
        sys.exit(f"error: {', '.join(failed)} failed, see above; the same command runs them again")


if __name__ == "__main__":
    entry.run(main)
