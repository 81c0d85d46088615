"""A model from a folder of any supported form: all its weights used, and all the model's filled."""

import os
from pathlib import Path
from typing import Any

from absl import logging

from kbert.checkpoints import folder as kbert_folder
from kbert.checkpoints import sentence_transformers, vocabulary
from kbert.checkpoints.checkpoint import HEADS, Checkpoint
from kbert.checkpoints.filling import fill
from kbert.checkpoints.forms import detect, find_vocab, first_layers, read_lowercase
from kbert.config import BertConfig
from kbert.errors import InputError
from kbert.models import Bert, BertEmbedder, BertMaskedLM
from kbert.models.blank import blank
from kbert.models.paths import weight_paths
from kbert.vocab_file import read_entries

#: Fields of BertConfig in which an encoder and the checkpoint that fills it must agree. Some of them leave no
#: trace in any shape, so that a difference would give a working model with wrong numbers.
_ARITHMETIC = (
    "vocab_size",
    "hidden_dim",
    "num_layers",
    "num_heads",
    "intermediate_dim",
    "max_length",
    "num_segments",
    "activation",
    "layer_norm_epsilon",
)


def load(
    path: str | os.PathLike,
    model: type | None = None,
    *,
    new_heads: str | None = None,
    num_hidden_layers_used: int | None = None,
    dtype: str | None = None,
    **head: Any,
):
    """The model that a checkpoint holds, or another one that starts from it.

    All its weights are used, and all the model's are filled, or there is an error that lists which are not;
    what a form holds besides weights (optimizer moments, position numbers) is left alone and logged.

    Args:
        path: A folder: a `--model_dir` of kbert, Google's TF1 form, Hugging Face's, a preset of Keras Hub, or
            a checkpoint of TensorFlow's Model Garden; or a name, `hf:org/name` or `keras:preset`.
        model: A class of `kbert.models`; None for the one that the checkpoint holds. With another one, heads
            of the checkpoint that it has not are left alone.
        new_heads: `"init"` lets heads that the checkpoint lacks start at random, which is logged; None makes
            that an error.
        num_hidden_layers_used: Take only the first n blocks of the checkpoint; None for all.
        dtype: Keras dtype policy, such as `"mixed_bfloat16"`; None for Keras's default.
        **head: Arguments of the model's constructor, where the checkpoint does not say them, such as
            `num_tags=9`. The pooling of a `BertEmbedder` is told by what sentence-transformers has written.

    Returns:
        A built `keras.Model` with `.config`. Without `model`, the class in `kbert.models` that has the
        checkpoint's heads; `Bert` for a bare encoder, without pooler if the checkpoint has none.

    Raises:
        InputError: No form is recognised, a file is missing or damaged, or arrays, vocabulary and model do
            not match one to one.

    Example:
        >>> import tempfile
        >>> from kbert.checkpoints import save_folder
        >>> from kbert.models import Bert, BertTagger
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_folder(folder, Bert(BertConfig.preset("tiny", vocab_size=100)))
        ...     tagger = load(folder, BertTagger, new_heads="init", num_tags=9)
        >>> tagger.config.num_layers
        2
    """
    if new_heads not in (None, "init"):
        raise ValueError(f'new_heads={new_heads!r}; expected None or "init"')
    folder, form = detect(path)
    checkpoint = form.open_checkpoint(folder)
    model_class = model or _class_of(checkpoint)
    own = model_class.__name__ == checkpoint.model
    arguments = {**_arguments(checkpoint, model_class.__name__), **head}
    has_pooler = checkpoint.holds("bert/pooler/dense/kernel")
    if model_class is Bert or (own and model_class is BertMaskedLM):
        arguments.setdefault("pooler", has_pooler)
    if model_class is BertEmbedder and (pooling := sentence_transformers.read_pooling(folder)):
        arguments.setdefault("pooling", pooling)
    config = first_layers(checkpoint.config, num_hidden_layers_used, checkpoint.config_file)
    try:
        built = blank(model_class, config, has_pooler=has_pooler, dtype=dtype, **arguments)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{checkpoint.config_file}: head={arguments} does not fit {model_class.__name__}: {error}"
        ) from error
    fill(
        weight_paths(built),
        checkpoint,
        num_layers=config.num_layers,
        other_heads=not own,
        new_heads=new_heads == "init",
        problems=_vocab_problems(folder, checkpoint.config),
    )
    return built


def load_encoder_into(model, path: str | os.PathLike, *, num_hidden_layers_used: int | None = None) -> None:
    """Starts the encoder of a model from a checkpoint, whatever heads either of them has.

    Heads of the checkpoint are left alone and logged once; the model's own heads keep their values.

    Args:
        model: A `Bert`, or a model that holds one as its `bert`; built here if it is not yet.
        path: As for `load`.
        num_hidden_layers_used: As for `load`; the model has that many blocks.

    Raises:
        InputError: As for `load`, or the model's config has other sizes or another arithmetic.
    """
    folder, form = detect(path)
    checkpoint = form.open_checkpoint(folder)
    config = first_layers(checkpoint.config, num_hidden_layers_used, checkpoint.config_file)
    differing = [
        f"{name} {getattr(config, name)!r}, not {getattr(model.config, name)!r}"
        for name in _ARITHMETIC
        if getattr(config, name) != getattr(model.config, name)
    ]
    if differing:
        raise InputError(
            f"{checkpoint.config_file}: has {'; '.join(differing)} as the model; build the model with the "
            f"config of the checkpoint, kbert.checkpoints.read_config({str(path)!r})"
        )
    model.build()
    encoder = {name: weight for name, weight in weight_paths(model).items() if name.startswith("bert/")}
    fill(
        encoder,
        checkpoint,
        num_layers=config.num_layers,
        other_heads=True,
        new_heads=True,
        problems=_vocab_problems(folder, checkpoint.config),
    )
    logging.info("the encoder starts from %s", path)


def _class_of(checkpoint: Checkpoint) -> type:
    """The class that a checkpoint holds.

    Raises:
        InputError: kbert has none of that name.
    """
    if checkpoint.model not in kbert_folder.MODELS:
        raise InputError(
            f"{checkpoint.config_file}: names the model {checkpoint.model!r}; kbert has "
            f"{', '.join(kbert_folder.MODELS)}; name one of them to load, or take the encoder alone by "
            f"--init or load_encoder_into"
        )
    return kbert_folder.MODELS[checkpoint.model]


def _arguments(checkpoint: Checkpoint, model: str) -> dict[str, Any]:
    """What a checkpoint says of the arguments of a class: if it is its own, or shares a head with it."""
    if model == checkpoint.model:
        return checkpoint.head
    if set(HEADS.get(model, ())) & set(HEADS.get(checkpoint.model, ())):
        # Where the class cannot be told how that head computes, its constructor refuses. The pooler is no
        # part of the head.
        return {key: v for key, v in checkpoint.head.items() if v is not None and key != "pooler"}
    return {}


def _vocab_problems(folder: Path, config: BertConfig) -> list[str]:
    """What is wrong with the vocabulary of a checkpoint; that its case is in doubt is only logged."""
    lowercase = read_lowercase(folder)  # A tokenizer that kbert has not is warned of, vocab.txt or not.
    vocab = find_vocab(folder)
    if vocab is None:
        return []
    tokens = read_entries(vocab)
    if lowercase is not None:
        vocabulary.warn_of_case(vocab, tokens, lowercase)
    problem = vocabulary.misfit(vocab, tokens, config)
    return [problem] if problem else []
