"""`export`: a module becomes a version folder that TF Serving can load, or nothing at all."""

import base64
import contextlib
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from kbert.errors import InputError
from kbert.export import samples
from kbert.export.warmup import check_filters, write_warmup
from kbert.version import __version__
from kbert.whole_files import check_local, check_no_pattern, process_mark, remove_leavings

#: Version of the names and meanings in `kbert.json` and in the signatures.
SCHEMA = 1


class SelfTestError(RuntimeError):
    """A fresh process could not serve what was written, or answered otherwise than the model."""


def export(module, export_dir: str | os.PathLike, *, warmup_filters: Sequence[Sequence[str]] = ()) -> str:
    """Writes the next version of a model below `export_dir`, after it has passed the self-test.

    Everything is written under a dot-name, which servers ignore, then moved, tested in a process that
    knows only TensorFlow and tensorflow-text, and at last renamed to its version: one more than the
    highest there, 1 in an empty folder. If anything fails, the folder stays as it was.

    Args:
        module: A `TextModule`, of `text_module`.
        export_dir: Folder of versions; made if missing.
        warmup_filters: Outputs of `serving_default` that clients will ask for alone (`output_filter` of
            gRPC), a list for each kind of client: the server is made ready for each.

    Returns:
        Path of the version folder.

    Raises:
        InputError: The folder is an address, or none that TensorFlow reads from; the model answers with NaN;
            or a filter names no output.
        SelfTestError: The self-test failed; the message says in which check.
        OSError: The folder cannot be written, or the disk is full.
    """
    check_local(export_dir)
    export_dir = os.path.abspath(export_dir)
    check_no_pattern(export_dir)
    answered = samples.answered(module)
    check_filters(warmup_filters, answered)
    os.makedirs(export_dir, exist_ok=True)
    remove_leavings(Path(export_dir), ".tmp-", "-.*")
    work = tempfile.mkdtemp(prefix=f".tmp-{process_mark()}-", dir=export_dir)
    try:
        written, moved = os.path.join(work, "written"), os.path.join(work, "moved")
        logging.info("writing the SavedModel, %.1f MB of weights", _num_bytes(module.weights) / 1e6)
        _write(module, answered, written, warmup_filters)
        os.rename(written, moved)
        logging.info("testing it in a fresh process, the way TF Serving loads it")
        report = verify(moved, [export_dir, os.getcwd(), os.path.expanduser("~")])
        logging.info(
            "self-test passed: %d checks, answers within %.1e", report["checks"], report["difference"]
        )
        return _publish(moved, export_dir)
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), export_dir) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def verify(folder: str | os.PathLike, forbidden_paths: Sequence[str] = ()) -> dict[str, Any]:
    """The self-test of a version folder, in a fresh process that loads it as TF Serving does.

    Args:
        folder: Made by `export`, here or elsewhere.
        forbidden_paths: What must not be found in its graph.

    Returns:
        Dict of `checks`, their number, and `difference`, the largest of an answer to the one in the export.

    Raises:
        InputError: The folder is no export of kbert; or tensorflow-text, which it needs, is missing.
        SelfTestError: A check did not hold; the message says which.
    """
    if not os.path.isfile(os.path.join(folder, "assets.extra", "kbert.json")):
        raise InputError(
            f"{folder}: no assets.extra/kbert.json there; give a version folder that export_model.py made, "
            f"such as saved_models/mine/1"
        )
    try:
        import tensorflow_text  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{folder}: its graph needs tensorflow-text, which is missing; pip install tensorflow-text, on a "
            f"system that has a wheel, and test it there"
        ) from error
    script = os.path.join(os.path.dirname(__file__), "self_test.py")
    # On the CPU, even where there is a GPU: this process may hold all of its memory, and the yardstick was
    # computed on the CPU too.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    process = subprocess.run(
        [sys.executable, script, str(folder), *forbidden_paths],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if process.returncode == 0:
        return json.loads(process.stdout.splitlines()[-1])
    # The process names each check on stderr before it runs it, so a crash is located as well.
    reason = process.stderr.rpartition("check: ")[2].strip()
    raise SelfTestError(f"the self-test failed, exit code {process.returncode}, at: {reason[-2000:]}")


def _write(module, answered: list[dict], folder: str, warmup_filters: Sequence[Sequence[str]] = ()) -> None:
    signatures = module.signatures()
    with _quiet_log():
        tf.saved_model.save(module, folder, signatures=signatures)
    extra = os.path.join(folder, "assets.extra")
    os.mkdir(extra)
    module.tokenizer.vocab.write(os.path.join(extra, "vocab.txt"))
    write_warmup(folder, module, answered, warmup_filters)
    description = {
        "schema": SCHEMA,
        "task": module.task,
        "precision": module.precision,
        "signatures": {name: _describe(function) for name, function in signatures.items()},
        "weights": {"bytes": _num_bytes(module.weights), "sha256": _digest(module.weights)},
        "versions": {
            "kbert": __version__,
            "tensorflow": tf.__version__,
            "tensorflow-text": importlib.metadata.version("tensorflow-text"),
            "keras": keras.__version__,
            "python": platform.python_version(),
        },
        "samples": [{**sample, "inputs": _json_texts(sample["inputs"])} for sample in answered],
    }
    with open(os.path.join(extra, "kbert.json"), "w", encoding="utf-8") as file:
        json.dump(description, file, ensure_ascii=False, indent=1)
        file.write("\n")


@contextlib.contextmanager
def _quiet_log():
    """Keeps back what TensorFlow says about names and files that will be moved a moment later."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _describe(function) -> dict:
    inputs = {spec.name: spec for spec in function.structured_input_signature[0]}
    return {
        direction: {
            name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()} for name, spec in specs.items()
        }
        for direction, specs in (("inputs", inputs), ("outputs", function.structured_outputs))
    }


def _num_bytes(weights) -> int:
    return sum(weight.shape.num_elements() * weight.dtype.size for weight in weights)


def _digest(weights) -> str:
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


def _json_texts(inputs: dict[str, list]) -> dict[str, list]:
    return {name: [_json_text(text) for text in texts] for name, texts in inputs.items()}


def _json_text(text: bytes | list) -> Any:
    if isinstance(text, list):
        return [_json_text(part) for part in text]
    try:
        return text.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(text).decode()}


def _publish(folder: str, export_dir: str) -> str:
    while True:
        versions = [int(name) for name in os.listdir(export_dir) if name.isdecimal()]
        path = os.path.join(export_dir, str(max(versions, default=0) + 1))
        try:
            os.rename(folder, path)
        except OSError:
            # Another export may have taken the number in this moment.
            if not os.path.exists(path):
                raise
        else:
            return path
