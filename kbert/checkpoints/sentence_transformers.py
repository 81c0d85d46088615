"""What sentence-transformers keeps beside an encoder: how the vectors of a text's pieces become one."""

from pathlib import Path

from kbert.checkpoints.configs import read_json, read_json_list, warn_once

MODULES_FILE = "modules.json"
_CONFIG_FILE = "config.json"

#: Key of a pooling module -> how `BertEmbedder` calls it.
_POOLINGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "first",
    "pooling_mode_max_tokens": "max",
}
#: Of the modules, the encoder and what `BertEmbedder` does.
_KNOWN = ("Transformer", "Pooling", "Normalize")


def read_pooling(folder: Path) -> str | None:
    """How a folder pools, as `BertEmbedder` calls it; None where it does not say, or pools in another way.

    What its modules do besides is warned of.

    Raises:
        InputError: A file is damaged.
    """
    path = folder / MODULES_FILE
    if not path.is_file():
        return None
    modules = [module for module in read_json_list(path) if isinstance(module, dict)]
    # "sentence_transformers.models.Pooling", and longer names in newer versions.
    folders = {str(m.get("type")).rpartition(".")[2]: str(m.get("path", "")) for m in modules}
    others = [kind for kind in folders if kind not in _KNOWN]
    if others:
        warn_once(f"{path}: names {', '.join(others)}, which kbert has not; its vectors are those without")
    return _pooling_in(folder / folders["Pooling"] / _CONFIG_FILE) if "Pooling" in folders else None


def _pooling_in(path: Path) -> str | None:
    values = read_json(path) if path.is_file() else {}
    modes = [key for key, value in values.items() if key.startswith("pooling_mode") and value is True]
    if len(modes) == 1 and modes[0] in _POOLINGS:
        return _POOLINGS[modes[0]]
    found = " and ".join(modes) or "no mode of pooling"
    warn_once(f"{path}: has {found}; kbert pools by one of {', '.join(_POOLINGS.values())}")
    return None
