"""The training cases: who trains, whether all have the same encoder, and what their turns come to."""

import functools
import pathlib
import tempfile

from speed import cases, limits, train_kbert, train_keras_hub, train_transformers

_KBERT, _KERAS_HUB = train_kbert.train, train_keras_hub.train
_TRANSFORMERS = train_transformers.train
CANDIDATES = {
    "kbert bfloat16": functools.partial(_KBERT, bfloat16=True),
    "kbert bfloat16 padded": functools.partial(_KBERT, bfloat16=True, fill_up=True),
    "kbert bfloat16 remat": functools.partial(_KBERT, bfloat16=True, remat=True),
    "kbert float32": functools.partial(_KBERT, bfloat16=False),
    "kbert float32 padded": functools.partial(_KBERT, bfloat16=False, fill_up=True),
    "kbert float32 remat": functools.partial(_KBERT, bfloat16=False, remat=True),
    "Keras Hub bfloat16": functools.partial(_KERAS_HUB, bfloat16=True, xla=False),
    "Keras Hub bfloat16 XLA": functools.partial(_KERAS_HUB, bfloat16=True, xla=True),
    "Keras Hub float32": functools.partial(_KERAS_HUB, bfloat16=False, xla=False),
    "Keras Hub float32 XLA": functools.partial(_KERAS_HUB, bfloat16=False, xla=True),
    "transformers bfloat16": functools.partial(_TRANSFORMERS, bfloat16=True),
    "transformers float32": functools.partial(_TRANSFORMERS, bfloat16=False),
}
#: Of hidden states, which are about 1: of float32, as Keras Hub takes the tanh form of gelu; of bfloat16.
TOLERANCES = {"float32": 0.01, "bfloat16": 0.15}


def encoder_folder(case, flags):
    """The Hugging Face folder that the encoder of a case is loaded from; `base` is made once, if need be."""
    if case.encoder == "init":
        return flags.init
    folder = pathlib.Path(flags.base or f"{flags.output}/base")
    if not folder.is_dir():
        import keras

        from kbert import BertConfig, checkpoints
        from kbert.models import Bert

        keras.utils.set_random_seed(cases.SEED)
        model = Bert(BertConfig.preset("base"))
        model.build()
        with tempfile.TemporaryDirectory(dir=flags.output) as own:
            vocab = f"{flags.data}/vocab/bert-base-uncased.txt"
            checkpoints.save_folder(own, model, vocab_path=vocab)
            checkpoints.convert(own, folder, "huggingface")
    return str(folder)


def work_off(case, flags, turns):
    """A candidate's process."""
    rows = cases.rows_of(case, flags.data, flags.steps or case.steps)
    return CANDIDATES[flags.role](case, encoder_folder(case, flags), rows, turns)


def results(case, flags, introductions, turns) -> dict:
    """Name of a candidate -> its figures; `peak` -> the rates of matrix products."""
    from kbert import checkpoints

    rows = cases.rows_of(case, flags.data, flags.steps or case.steps)
    lengths = [len(row) for row in rows]
    mask_rate = cases.MASK_RATE if case.objective == "mlm" else 0
    config = checkpoints.read_config(encoder_folder(case, flags))
    flop = limits.training_flop(config, lengths, mask_rate)
    found = {limits.PEAK: limits.median_peaks(turns[limits.PEAK])}
    for name, of_name in turns.items():
        if name == limits.PEAK:
            continue
        of_rates = limits.rates(of_name, lengths, flop, found[limits.PEAK], "bfloat16" in name)
        padding = introductions[name]["padded_tokens"] / sum(lengths)
        found[name] = {
            **of_rates,
            "padded_tokens_per_second": of_rates["real_tokens_per_second"] * padding,
            "loss": of_name[-1]["loss"],
        }
    return found
