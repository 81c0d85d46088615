"""The requests that every export is tried with, and the answers that it must give."""

import math

from kbert.errors import InputError

SHORT = b"A short sentence."

#: Ordinary text in two scripts, then what has broken tokenizers: nothing, blanks, emoji, invalid UTF-8,
#: NUL and control characters, ligatures and accents, literal special tokens, a word beyond any limit.
TEXTS = (
    b"The film is long, but it never loses its way!",
    "这家酒店的房间很干净，服务也很好。".encode(),
    b"",
    b" \t\n\xe3\x80\x80",
    "I ❤️ it 👍🏽 – mostly 😀😀".encode(),
    b"broken caf\xc3 \xff\xfe bytes \xe4\xb8",
    b"zero\x00byte \x01 and\xe2\x80\x8b more",
    "Ünïcödé ﬁnds ½ of Straße ＡＢＣ".encode(),
    b"[CLS] or [SEP] or [MASK] in a text",
    b"a" * 300,
)

#: Ordinary texts of other lengths: with them a batch is more than one group of rows, see `length_groups`.
MORE = (SHORT, b"It is not a bad film, only a slow one.", b" ".join([SHORT] * 80))

#: 600 words, each at least one piece.
LONG = b" ".join([b"once more the same few words and a comma ,"] * 60)


def requests(inputs: tuple[str, ...], max_length: int) -> list[dict[str, list[bytes]]]:
    """Three requests: one short text, one that fills all positions, one batch of mixed texts.

    Args:
        inputs: Names of the texts of a request. All names get the same long text, else different ones.
        max_length: Longest sequence in pieces.

    Returns:
        One dict of input name -> texts for each request.
    """
    long = b" ".join([LONG] * math.ceil(max_length / 600))
    return [
        {name: [(SHORT, *TEXTS)[place]] for place, name in enumerate(inputs)},
        {name: [long] for name in inputs},
        {name: [*TEXTS[place:], *TEXTS[:place], *MORE] for place, name in enumerate(inputs)},
    ]


def answered(module) -> list[dict]:
    """The requests to all signatures together with the answers of the Keras model.

    Args:
        module: A `TextModule`.

    Returns:
        One dict of `signature`, `inputs` (name -> a value for each row) and `outputs` (the same) for each
        request.

    Raises:
        InputError: The model answers with NaN or infinity.
    """
    samples = []
    for name, signature in module.contract().items():
        for request in signature.requests:
            rows = [signature.reference(*row) for row in zip(*request.values(), strict=True)]
            if not all(_is_finite(row) for row in rows):
                raise InputError(
                    "the model answers with NaN or infinity, so its training diverged; train again with a "
                    "smaller learning rate"
                )
            outputs = {output: [row[output] for row in rows] for output in rows[0]}
            samples.append({"signature": name, "inputs": request, "outputs": outputs})
    return samples


def _is_finite(value) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
