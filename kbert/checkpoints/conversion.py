"""`convert`: a checkpoint of any form, written in another."""

import os
from pathlib import Path

from absl import logging

from kbert.checkpoints import folder as kbert_folder
from kbert.checkpoints import (
    google,
    huggingface,
    keras_hub,
    keras_hub_tokenizer,
    tokenizer_files,
    vocabulary,
)
from kbert.checkpoints.forms import read_lowercase, read_task, read_tokens
from kbert.checkpoints.loading import load
from kbert.checkpoints.staging import staged
from kbert.errors import InputError

FORMS = ("google", "huggingface", "keras_hub", "kbert")


def convert(source: str | os.PathLike, target: str | os.PathLike, form: str, *, pair: bool = False) -> None:
    """Writes a checkpoint in another form, with its vocabulary, its labels and its casing.

    The arrays are the same, bit for bit; float16 and bfloat16 become float32. Where the source does not say
    whether texts are lower-cased, its vocabulary tells.

    Args:
        source: As for `load`.
        target: A folder that is empty or does not exist; it appears whole or not at all.
        form: `"google"`, `"huggingface"`, `"keras_hub"` or `"kbert"`.
        pair: Whether a classifier from Hugging Face takes pairs of texts; its files do not say.

    Raises:
        InputError: `source` cannot be loaded, `target` holds something, or `form` cannot express the model.
    """
    if form not in FORMS:
        raise InputError(f"form {form!r} is unknown; expected one of {', '.join(FORMS)}")
    target = Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: already holds something; name a new folder")
    model, task, tokens, lowercase = (
        load(source),
        read_task(source),
        read_tokens(source),
        read_lowercase(source),
    )
    if task and "pair" in task:
        task = {**task, "pair": task["pair"] or pair}
    if lowercase is None and tokens:
        lowercase = vocabulary.is_lowercase(tokens)
    labels = task.get("labels") or task.get("tags") if task else None
    with staged(target) as staging:
        if form == "kbert":
            kbert_folder.save_folder(staging, model, task)
        elif form == "huggingface":
            huggingface.write(staging, model, labels=labels)
        else:
            (google if form == "google" else keras_hub).write(staging, model)
            if labels:
                logging.warning("%s: this form does not keep the labels %s", target, ", ".join(labels))
        if tokens is not None:
            tokenizer = keras_hub_tokenizer if form == "keras_hub" else tokenizer_files
            tokenizer.write_tokenizer(staging, tokens, lowercase is not False, model.config.max_length)
