"""`convert`: a checkpoint of any form, written in another."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from kbert.checkpoints import folder as kbert_folder
from kbert.checkpoints import (
    google,
    huggingface,
    keras_hub,
    keras_hub_tokenizer,
    sentence_transformers,
    tokenizer_files,
    vocabulary,
)
from kbert.checkpoints.forms import detect, read_lowercase, read_task, read_tokens
from kbert.checkpoints.loading import load
from kbert.checkpoints.staging import staged
from kbert.errors import InputError
from kbert.whole_files import check_local

FORMS = ("google", "huggingface", "keras_hub", "kbert")


def convert(source: str | os.PathLike, target: str | os.PathLike, form: str, *, pair: bool = False) -> None:
    """Writes a checkpoint in another form, with its vocabulary, its labels and its casing.

    The arrays are the same, bit for bit; float16 and bfloat16 become float32. Only kbert's own form can say
    in which unit a regression answers: in others that is a part of its head. Where the source does not say
    whether texts are lower-cased, its vocabulary tells. The tokenizer cuts texts where the task did. What a
    form does not keep is named in a warning.

    Args:
        source: As for `load`.
        target: A folder that is empty or does not exist; it appears whole or not at all.
        form: `"google"`, `"huggingface"`, `"keras_hub"` or `"kbert"`.
        pair: Whether a classifier from Hugging Face takes pairs of texts; its files do not say.

    Raises:
        InputError: `source` cannot be loaded, or is none that may take pairs; `target` holds something; or
            `form` cannot express the model.
    """
    if form not in FORMS:
        raise InputError(f"form {form!r} is unknown; expected one of {', '.join(FORMS)}")
    check_local(target)
    target = Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: already holds something; name a new folder")
    model, task, tokens, lowercase = (
        load(source),
        read_task(source),
        read_tokens(source),
        read_lowercase(source),
    )
    if pair:
        task = _of_pairs(source, task)
    if lowercase is None and tokens:
        lowercase = vocabulary.is_lowercase(tokens)
    labels = task.get("labels") or task.get("tags") if task else None
    if left := _left_behind(source, model):
        logging.warning("%s: leaves behind %s", target, "; ".join(left))
    with staged(target) as staging:
        if form == "kbert":
            kbert_folder.save_folder(staging, model, task)
        else:
            _answer_in_unit(model, task or {})
            if form == "huggingface":
                pad_id = tokens.index("[PAD]") if tokens and "[PAD]" in tokens else 0
                huggingface.write(staging, model, labels, pad_id=pad_id)
            else:
                (google if form == "google" else keras_hub).write(staging, model)
            if lost := _not_kept(form, model, task or {}):
                logging.warning("%s: this form does not keep %s", target, "; ".join(lost))
        if tokens is not None:
            tokenizer = keras_hub_tokenizer if form == "keras_hub" else tokenizer_files
            tokenizer.write_tokenizer(staging, tokens, lowercase is not False, _longest(model, task or {}))
        else:
            logging.warning("%s: no vocabulary came with %s; copy its vocab.txt there", target, source)


def _left_behind(source: str | os.PathLike, model) -> list[str]:
    """What a checkpoint says or holds besides the model that is made of it, in words."""
    folder, form = detect(source)
    left, name = [], type(model).__name__
    stored = form.open_checkpoint(folder).holds("bert/pooler/dense/kernel")
    if stored and getattr(model, "bert", model).pooler is None:
        left.append(f"the pooler, which a {name} has not")
    pooling = sentence_transformers.read_pooling(folder)
    if name == "Bert" and pooling not in (None, "mean"):
        left.append(f"the pooling of sentence-transformers; give --pooling={pooling} to finetune.py")
    return left


def _of_pairs(source: str | os.PathLike, task: dict[str, Any] | None) -> dict[str, Any]:
    if not task or "pair" not in task:
        raise InputError(
            f"{source}: --pair says nothing to it; it is for classifiers and regressions of Hugging Face"
        )
    return {**task, "pair": True}


def _longest(model, task: dict[str, Any]) -> int:
    """Most pieces of a text; of pretraining that is no matter of the task, whose records may be short."""
    limit = model.config.max_length
    return limit if task.get("name") == "pretraining" else min(task.get("max_length", limit), limit)


def _answer_in_unit(model, task: dict[str, Any]) -> None:
    """Makes the head of a regression give what its task makes of it: logits · deviation + mean."""
    if task.get("name") != "regression":
        return
    mean, deviation = task.get("mean", 0.0), task.get("deviation", 1.0)
    head = model.classifier
    head.kernel.assign(np.asarray(head.kernel) * deviation)
    head.bias.assign(np.asarray(head.bias) * deviation + mean)


def _not_kept(form: str, model, task: dict[str, Any]) -> list[str]:
    """What a foreign form cannot say of a model and its task, in words."""
    labels = task.get("labels") or task.get("tags")
    lost = [f"the labels {', '.join(labels)}"] if labels and form != "huggingface" else []
    said, name = {**model.get_config(), **task}, task.get("name")
    # What is taken where a form does not say it. (Sentence vectors are trained on pairs, and made of texts.)
    customary: dict[str, Any] = {"threshold": 0.5, "null_threshold": None, "pair": name == "embedding"}
    if "long_text" in task:
        of_long_texts = "windows" if name == "tagging" else "truncate"
        customary |= {"long_text": of_long_texts, "stride": None, "window_pooling": "mean"}
    if form != "keras_hub":
        customary |= {"pooling": "mean", "normalize": True}
    for key, value in customary.items():
        own = said.get(key, value)
        if own != value:
            lost.append(f"{key}={own:.3g}" if isinstance(own, float) else f"{key}={own}")
    if form == "google" and getattr(model, "kind", None) == "multi":
        read_as = "regression" if model.num_classes == 1 else "single"
        lost.append(f"kind='multi', and is read as {read_as!r}")
    return lost
