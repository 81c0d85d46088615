"""`hf:org/name` and `keras:preset`: names of checkpoints on the internet, which become folders here."""

import functools
import os
from pathlib import Path

from absl import logging

from kbert.errors import InputError
from kbert.whole_files import check_local

#: All that is fetched from Hugging Face: no pickles, whose loading can run any code. The second line are the
#: files of Keras Hub's presets, of which there are copies at Hugging Face, the last those that
#: sentence-transformers adds.
_FILES = (
    *("config.json", "model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
    *("metadata.json", "model.weights.h5", "task.json", "task.weights.h5", "assets/tokenizer/vocabulary.txt"),
    *("vocab.txt", "tokenizer.json", "tokenizer_config.json"),
    *("modules.json", "*_Pooling/config.json"),
)


def resolve(path_or_name: str | os.PathLike) -> Path:
    """The folder that a path or a name stands for; one that a name stands for is downloaded, once.

    Args:
        path_or_name: A path, which comes back as it is; `hf:org/name`, a model at huggingface.co, through the
            package huggingface_hub; or `keras:preset`, one of Keras Hub's, through keras-nlp.

    Returns:
        The folder. Downloads stay in the caches of the two packages.

    Raises:
        InputError: The package is missing, the name is unknown, or the network is out of reach; the message
            says how to download the folder by hand.

    Example:
        >>> resolve("my/bert").as_posix()
        'my/bert'
    """
    name = os.fspath(path_or_name)
    for prefix, download in (("hf:", _from_huggingface), ("keras:", _from_keras_hub)):
        if name.startswith(prefix):
            return download(name.removeprefix(prefix))
    check_local(name)
    return Path(path_or_name)


# Asked for several times in one run (config, vocabulary, weights), and each time costs the network a round.
@functools.cache
def _from_huggingface(name: str) -> Path:
    by_hand = (
        f"download config.json, model.safetensors, vocab.txt and tokenizer_config.json from "
        f"https://huggingface.co/{name}/tree/main into a folder and give the folder"
    )
    try:
        import huggingface_hub
    except ImportError as error:
        raise _unavailable(f"hf:{name}", f"pip install huggingface_hub, or {by_hand}", error) from error
    try:
        folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=list(_FILES)))
    # Errors of the hub, of its HTTP client and of sockets have no base class in common, but one remedy.
    except Exception as error:
        raise _unavailable(f"hf:{name}", by_hand, error) from error
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.h5")):
        raise InputError(
            f"hf:{name}: has no safetensors; pickled weights can run any code when they are loaded. Load it "
            f"with transformers, write it with model.save_pretrained(FOLDER), and give the folder"
        )
    logging.info("hf:%s is %s", name, folder)
    return folder


@functools.cache
def _from_keras_hub(name: str) -> Path:
    try:
        import kagglehub
        import keras_hub
    except ImportError as error:
        by_hand = f"pip install keras-nlp, or {_by_hand_from_kaggle(f'keras/bert/keras/{name}')}"
        raise _unavailable(f"keras:{name}", by_hand, error) from error
    # Those of a task come with those of the encoder, from which any task can be started.
    presets = dict(keras_hub.models.BertTextClassifier.presets)
    if hasattr(keras_hub.models, "BertTextEmbedder"):  # 0.25, the last one for Python 3.10, has none.
        presets |= keras_hub.models.BertTextEmbedder.presets
    if name not in presets:
        raise InputError(f"keras:{name}: Keras Hub has no such BERT; expected one of {', '.join(presets)}")
    handle = presets[name]["kaggle_handle"].removeprefix("kaggle://")
    try:
        folder = Path(kagglehub.model_download(handle))
    # As above: Kaggle's errors, those of its HTTP client and of sockets.
    except Exception as error:
        raise _unavailable(f"keras:{name}", _by_hand_from_kaggle(handle), error) from error
    logging.info("keras:%s is %s", name, folder)
    return folder


def _by_hand_from_kaggle(handle: str) -> str:
    return f"download https://www.kaggle.com/models/{handle}, unpack it into a folder and give the folder"


def _unavailable(name: str, remedy: str, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[:1] or [""]
    return InputError(f"{name}: cannot be downloaded ({type(error).__name__}: {reason[0]}); {remedy}")
