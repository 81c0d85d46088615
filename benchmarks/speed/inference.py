"""The inference cases: one classifier in all forms, and what the turns of its forms come to."""

import pathlib
import statistics
import time

import numpy as np
import serving_candidates  # in the folder above

from speed import cases, limits

#: Of probabilities, of another order of sums, of bfloat16 and of 8 bits.
TOLERANCES = {"float32": 1e-4, "bfloat16": 0.05, "int8": 0.2}
#: Whose texts the ranges of 8 bits are measured on.
CALIBRATION = "infer-sst2"
PREPARE = "prepare"


def work_off(case, flags, turns):
    """A candidate's process, or the one that writes the models."""
    work = models_folder(flags)
    if flags.role == PREPARE:
        work.mkdir(parents=True)
        texts = _texts(cases.INFERENCE[CALIBRATION], flags)
        serving_candidates.write_models(flags.init, str(work), texts[:256])
        return
    texts = _texts(case, flags)
    batches = [texts[i : i + case.batch_size] for i in range(0, len(texts), case.batch_size)]
    with serving_candidates.CANDIDATES[flags.role](str(work), flags.threads) as answer:
        turns.introduce(compared=np.asarray(answer(batches[0])).tolist())
        while True:
            milliseconds = []
            for batch in batches:
                began = time.perf_counter()
                answer(batch)
                milliseconds.append(1000 * (time.perf_counter() - began))
            turns.end(milliseconds=milliseconds)


def _texts(case, flags):
    return cases.texts_of(case, flags.data, f"{flags.init}/vocab.txt", flags.steps or case.requests)


def models_folder(flags) -> pathlib.Path:
    """Where the classifier is, in all forms: a folder that no one else has, for each run makes it anew."""
    return pathlib.Path(flags.output, "classifier-of-run")


def results(case, flags, introductions, turns) -> dict:
    """Name of a candidate -> its figures; `peak` -> the rates of matrix products."""
    from kbert import checkpoints
    from kbert.text import WordPieceTokenizer

    tokenizer = WordPieceTokenizer(f"{flags.init}/vocab.txt", lowercase=True)
    pieces = tokenizer.tokenize(_texts(case, flags)).row_lengths()
    lengths = [min(int(length) + 2, serving_candidates.MAX_LENGTH) for length in pieces]
    flop = limits.training_flop(checkpoints.read_config(flags.init), lengths, 0) / 3
    found = {limits.PEAK: limits.median_peaks(turns[limits.PEAK])}
    for name, of_name in turns.items():
        if name == limits.PEAK:
            continue
        times = [value for turn in of_name for value in turn["milliseconds"]]
        found[name] = {
            **limits.rates(of_name, lengths, flop, found[limits.PEAK], "bfloat16" in name),
            "milliseconds": statistics.median(times),
            "milliseconds_95": float(np.percentile(times, 95)),
        }
    return found
