"""The training cases: who trains, whether all have the same encoder, and what their turns come to."""

import functools
import importlib.util
import pathlib
import statistics
import tempfile

import numpy as np
from absl import logging

from kbert.errors import InputError
from speed import cases, limits, train_kbert, train_keras_hub, train_transformers

PEAK = "peak"
_KBERT, _KERAS_HUB = train_kbert.train, train_keras_hub.train
_TRANSFORMERS = train_transformers.train
CANDIDATES = {
    "kbert bfloat16": functools.partial(_KBERT, bfloat16=True),
    "kbert bfloat16 padded": functools.partial(_KBERT, bfloat16=True, fill_up=True),
    "kbert bfloat16 remat": functools.partial(_KBERT, bfloat16=True, remat=True),
    "kbert float32": functools.partial(_KBERT, bfloat16=False),
    "Keras Hub bfloat16": functools.partial(_KERAS_HUB, bfloat16=True, xla=False),
    "Keras Hub bfloat16 XLA": functools.partial(_KERAS_HUB, bfloat16=True, xla=True),
    "Keras Hub float32": functools.partial(_KERAS_HUB, bfloat16=False, xla=False),
    "Keras Hub float32 XLA": functools.partial(_KERAS_HUB, bfloat16=False, xla=True),
    "transformers bfloat16": functools.partial(_TRANSFORMERS, bfloat16=True),
    "transformers float32": functools.partial(_TRANSFORMERS, bfloat16=False),
}
#: Of hidden states, which are about 1: of float32, as Keras Hub takes the tanh form of gelu; of bfloat16.
_TOLERANCES = {"float32": 0.01, "bfloat16": 0.15}


def encoder_folder(case, flags):
    """The Hugging Face folder that the encoder of a case is loaded from; `base` is made once, if need be."""
    if case.encoder == "init":
        return flags.init
    folder = pathlib.Path(flags.base or f"{flags.output}/base")
    if not folder.is_dir():
        from kbert import BertConfig, checkpoints
        from kbert.models import Bert

        model = Bert(BertConfig.preset("base"))
        model.build()
        with tempfile.TemporaryDirectory(dir=flags.output) as own:
            vocab = f"{flags.data}/vocab/bert-base-uncased.txt"
            checkpoints.save_folder(own, model, vocab_path=vocab)
            checkpoints.convert(own, folder, "huggingface")
    return str(folder)


def work_off(case, flags, turns):
    """A candidate's process."""
    if flags.role == PEAK:
        return limits.work_off_peak(turns)
    if flags.role.startswith("transformers"):
        import torch

        torch.set_num_threads(flags.threads)
    rows = cases.rows_of(case, flags.data, flags.steps or case.steps)
    return CANDIDATES[flags.role](case, encoder_folder(case, flags), rows, turns)


def installed(names) -> list[str]:
    """The candidates whose packages are there; of others a line is logged."""
    packages = {"Keras Hub": "keras_hub", "transformers": "torch"}
    missing = {who for who, package in packages.items() if importlib.util.find_spec(package) is None}
    for who in sorted(missing):
        logging.info("without %s: %s is not installed; pip install 'kbert[bench]'", who, packages[who])
    return [name for name in names if not name.startswith(tuple(missing))]


def check_equal(introductions: dict):
    """Compares the hidden states.

    Raises:
        InputError: They are not those of one encoder.
    """
    hidden = {name: np.array(said["hidden"]) for name, said in introductions.items() if "hidden" in said}
    first = next((name for name in hidden if "float32" in name), next(iter(hidden)))
    for name, values in hidden.items():
        gap = float(np.abs(values - hidden[first]).max())
        exact = "float32" in name and "float32" in first
        if not gap <= _TOLERANCES["float32" if exact else "bfloat16"]:
            raise InputError(
                f"{name} and {first} have other hidden states, by {gap:.2g}; not the same weights"
            )


def results(case, init, rows, introductions, turns) -> dict:
    """Name of a candidate -> its figures; `peak` -> the rates of matrix products.

    Of the real tokens a second: the median, and the slowest and the fastest turn.
    """
    from kbert import checkpoints

    lengths = [len(row) for row in rows]
    mask_rate = cases.MASK_RATE if case.objective == "mlm" else 0
    flop = limits.training_flop(checkpoints.read_config(init), lengths, mask_rate)
    peaks = {
        name: statistics.median(turn[f"{name}_flops"] for turn in turns[PEAK])
        for name in ("float32", "bfloat16")
    }
    found = {PEAK: {f"{name}_gflops": rate / 1e9 for name, rate in peaks.items()}}
    for name, of_name in turns.items():
        if name == PEAK:
            continue
        rates = sorted(sum(lengths) / turn["seconds"] for turn in of_name)
        median = statistics.median(rates)
        found[name] = {
            "real_tokens_per_second": median,
            "slowest": rates[0],
            "fastest": rates[-1],
            "padded_tokens_per_second": median * introductions[name]["padded_tokens"] / sum(lengths),
            "share_of_peak": median * flop / peaks["bfloat16" if "bfloat16" in name else "float32"],
            "peak_mib": of_name[-1]["peak_mib"],
            "loss": of_name[-1]["loss"],
            "seconds": [turn["seconds"] for turn in of_name],
        }
    return found
