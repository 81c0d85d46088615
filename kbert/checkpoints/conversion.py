"""`convert`: a checkpoint of any form, written in another."""

import os
import shutil
from pathlib import Path

from kbert.checkpoints import folder as kbert_folder
from kbert.checkpoints import google, huggingface
from kbert.checkpoints.configs import write_json
from kbert.checkpoints.loading import find_vocab, load, read_lowercase
from kbert.checkpoints.staging import staged
from kbert.errors import InputError

FORMS = ("google", "huggingface", "kbert")


def convert(source: str | os.PathLike, target: str | os.PathLike, form: str) -> None:
    """Writes a checkpoint in another form, with its vocabulary and what is known of lower-casing.

    The arrays are the same, bit for bit; float16 and bfloat16 become float32.

    Args:
        source: As for `load`.
        target: A folder that is empty or does not exist; it appears whole or not at all.
        form: `"google"`, `"huggingface"` or `"kbert"`.

    Raises:
        InputError: `source` cannot be loaded, `target` holds something, or `form` cannot express the model.
    """
    if form not in FORMS:
        raise InputError(f"form {form!r} is unknown; expected one of {', '.join(FORMS)}")
    target = Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: already holds something; name a new folder")
    model = load(source)
    is_own = (Path(source) / kbert_folder.SPEC_FILE).is_file()
    task = kbert_folder.read_spec(source)["task"] if is_own else None
    vocab, lowercase = find_vocab(source), read_lowercase(source)
    with staged(target) as staging:
        if form == "kbert":
            kbert_folder.save_folder(staging, model, task)
        elif form == "huggingface":
            huggingface.write(staging, model, labels=(task or {}).get("labels"))
        else:
            google.write(staging, model)
        if vocab is not None:
            shutil.copyfile(vocab, staging / kbert_folder.VOCAB_FILE)
        if lowercase is not None:
            tokenizer = {"do_lower_case": lowercase, "tokenizer_class": "BertTokenizer"}
            write_json(staging / huggingface.TOKENIZER_FILE, tokenizer)
