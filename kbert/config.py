"""`BertConfig`: the hyper-parameters that determine a BERT encoder's weights and arithmetic."""

import dataclasses
import json
import os
from dataclasses import dataclass
from typing import Any

from kbert.errors import InputError

#: name -> (num_layers, hidden_dim): google-research/bert README, "Smaller BERT Models"; BERT, section 3.
_PRESET_SIZES = {
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
}

ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "silu")


@dataclass(frozen=True)
class BertConfig:
    """Hyper-parameters of a BERT encoder, immutable and strict.

    Two models with equal configs have the same weights, name by name and shape by shape. What belongs
    to a head (number of classes) or to a task (labels, lower-casing) is kept elsewhere.

    Args:
        vocab_size: Rows of the token embedding table.
        hidden_dim: Width of the residual stream.
        num_layers: Number of Transformer blocks.
        num_heads: Attention heads; must divide `hidden_dim`.
        intermediate_dim: Width of the feed-forward layer.
        max_length: Number of trained positions, rows of the position table.
        num_segments: Rows of the segment embedding table.
        dropout: Probability of dropping, after embeddings, attention output and feed-forward output.
        attention_dropout: Probability of dropping an attention weight.
        activation: `"gelu"` (exact, by erf), `"gelu_tanh"` (Google's approximation), `"relu"`, `"silu"`.
        layer_norm_epsilon: Added to the variance in every layer normalization.
        initializer_range: Standard deviation of the truncated normal that starts all matrices.
        extended_length: Longest sequence in pieces where that is more than `max_length`, up to its square:
            the positions beyond the trained ones are composed of them, see `BertEmbeddings`, and no weight
            is added. None for the trained positions alone.

    Raises:
        InputError: A value out of range, or `hidden_dim` not divisible by `num_heads`.

    Example:
        >>> BertConfig.preset("mini").hidden_dim
        256
        >>> BertConfig.preset("mini", extended_length=2048).longest_sequence
        2048

    Reference:
        Devlin et al., 2019, "BERT", section 3; the defaults are BERT-base, uncased English.
    """

    vocab_size: int = 30522
    hidden_dim: int = 768
    num_layers: int = 12
    num_heads: int = 12
    intermediate_dim: int = 3072
    max_length: int = 512
    num_segments: int = 2
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation: str = "gelu"
    layer_norm_epsilon: float = 1e-12
    initializer_range: float = 0.02
    extended_length: int | None = None

    def __post_init__(self):
        for field in dataclasses.fields(self):
            self._check_type(field.name, field.type)
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(
                    f"{name}={getattr(self, name)} is no probability of dropping; expected 0 <= {name} < 1"
                )
        if self.activation not in ACTIVATIONS:
            raise InputError(
                f"activation={self.activation!r} is unknown; expected one of {', '.join(ACTIVATIONS)}"
            )
        if self.hidden_dim % self.num_heads:
            divisors = [n for n in range(1, 65) if self.hidden_dim % n == 0]
            raise InputError(
                f"hidden_dim={self.hidden_dim} is not divisible by num_heads={self.num_heads}; "
                f"choose num_heads in {divisors}"
            )
        if self.extended_length is not None and not (
            self.max_length < self.extended_length <= self.max_length**2
        ):
            raise InputError(
                f"extended_length={self.extended_length}; expected None, or more than max_length="
                f"{self.max_length} and at most its square, {self.max_length**2}"
            )

    @property
    def longest_sequence(self) -> int:
        """Most pieces that a sequence may have, special tokens included."""
        return self.extended_length or self.max_length

    def _check_type(self, name: str, kind: Any) -> None:
        value = getattr(self, name)
        if kind == int | None:
            if value is None:
                return
            kind = int
        if kind is int and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise InputError(f"{name}={value!r} must be a whole number of at least 1")
        if kind is float and (not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0):
            raise InputError(f"{name}={value!r} must be a number of at least 0")

    @classmethod
    def preset(cls, size: str, **overrides: Any) -> "BertConfig":
        """The published size of that name, `tiny` to `large`; keyword arguments replace single values.

        Raises:
            InputError: The name is none of the six.
        """
        if size not in _PRESET_SIZES:
            raise InputError(f"size {size!r} is unknown; expected one of {', '.join(_PRESET_SIZES)}")
        num_layers, hidden_dim = _PRESET_SIZES[size]
        sizes = {
            "num_layers": num_layers,
            "hidden_dim": hidden_dim,
            "num_heads": hidden_dim // 64,
            "intermediate_dim": 4 * hidden_dim,
        }
        return cls.from_dict({**sizes, **overrides})

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = "config") -> "BertConfig":
        """The config with these values; what is missing has its default.

        Args:
            values: Field name -> value.
            source: Named in errors, such as the file the values came from.

        Raises:
            InputError: A key is no field, or a value is out of range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise InputError(
                f"{source}: unknown keys {', '.join(unknown)}; expected some of {', '.join(known)}"
            )
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error

    @classmethod
    def from_json(cls, path: str | os.PathLike) -> "BertConfig":
        """Reads kbert's own JSON form: one object with the fields of this class.

        Raises:
            InputError: The file is missing, is no JSON object, or has an unknown key or a bad value.
        """
        try:
            with open(path, encoding="utf-8-sig") as file:  # Editors on Windows put a mark in front.
                values = json.load(file)
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); expected a JSON file of BertConfig"
            ) from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: is no UTF-8 text ({error.reason}); save it as UTF-8") from error
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{error.lineno}: is no JSON ({error.msg})") from error
        if not isinstance(values, dict):
            raise InputError(f"{path}: holds a {type(values).__name__}; expected one JSON object")
        return cls.from_dict(values, source=str(path))

    def to_dict(self) -> dict[str, Any]:
        """Field name -> value, the inverse of `from_dict`."""
        return dataclasses.asdict(self)

    def to_json(self, path: str | os.PathLike) -> None:
        """Writes the form that `from_json` reads."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.to_dict(), file, indent=2)
            file.write("\n")

    def replace(self, **changes: Any) -> "BertConfig":
        """A copy with these fields changed."""
        return dataclasses.replace(self, **changes)
