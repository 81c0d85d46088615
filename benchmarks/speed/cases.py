"""What is timed: the cases, and their rows."""

import dataclasses
import pathlib

import numpy as np

from kbert.errors import InputError

#: Ids of whole words and pieces in BERT's vocabularies; below are the special tokens and rare characters.
FIRST_WORD, PAST_WORDS = 2000, 20000
MASK_RATE, CLS, SEP, MASK = 0.15, 101, 102, 103
SEED = 20181011

#: Who trains. `padded` is kbert made to fill up all rows to the greatest length, as Keras Hub does.
TRAINERS = (
    "kbert bfloat16",
    "kbert float32",
    "Keras Hub bfloat16",
    "Keras Hub bfloat16 XLA",
    "Keras Hub float32",
    "Keras Hub float32 XLA",
    "transformers bfloat16",
    "transformers float32",
)
_OF_LENGTHS = ("kbert bfloat16 padded", "kbert float32 padded", *TRAINERS)


@dataclasses.dataclass(frozen=True)
class TrainingCase:
    """Optimizer steps of a model on rows of certain lengths.

    Args:
        encoder: `init`, that of --init, or `base`, 12 layers of 768 with random weights.
        objective: `mlm`, 15 % of the places hidden, or `classification` of two classes.
        batch_size: Rows of a step.
        steps: Of a turn.
        max_length: In pieces; that of all rows where `texts` is None.
        texts: File of the data folder whose rows give the lengths.
        text_column: Its column, where the name is no customary one.
        vocab: That the rows are cut into pieces with, of the data folder.
        candidates: Names.
        apart: Whether candidates start one by one: together they would take 30 GB and more.
    """

    encoder: str
    objective: str
    batch_size: int
    steps: int
    max_length: int
    texts: str | None = None
    text_column: str | None = None
    vocab: str = "bert-base-uncased"
    candidates: tuple[str, ...] = TRAINERS
    apart: bool = False


TRAINING = {
    "train-minilm-128": TrainingCase("init", "mlm", 16, 16, 128),
    "train-base-128": TrainingCase("base", "mlm", 16, 3, 128),
    "train-sst2": TrainingCase(
        "init", "classification", 32, 32, 128, "sst2/train.tsv", candidates=_OF_LENGTHS
    ),
    "train-chnsenticorp": TrainingCase(
        "init", "classification", 32, 8, 256, "chnsenticorp/train.tsv", text_column="text_a",
        vocab="bert-base-chinese", candidates=_OF_LENGTHS,
    ),  # fmt: skip
    "train-squad": TrainingCase(
        "init", "classification", 32, 6, 384, "squad-v1.1/train.json", candidates=_OF_LENGTHS, apart=True
    ),
    "train-base-512": TrainingCase(
        "base", "mlm", 8, 1, 512, apart=True,
        candidates=("kbert bfloat16 remat", "kbert float32 remat", *TRAINERS),
    ),
}  # fmt: skip

#: Who answers. `SavedModel` is kbert's export in a session of TensorFlow, as TF Serving runs it.
ANSWERERS = (
    "SavedModel",
    "SavedModel bfloat16",
    "SavedModel int8",
    "ONNX Runtime",
    "ONNX Runtime int8",
    "transformers",
    "transformers bfloat16",
)


@dataclasses.dataclass(frozen=True)
class InferenceCase:
    """From texts to the probabilities of two labels, tokenization included.

    Args:
        batch_size: Texts of a request.
        requests: Of a turn.
        pieces: Of each text, made of whole words; None: the texts of a file.
        texts: File of the data folder with a column `sentence`.
        candidates: Names.
    """

    batch_size: int
    requests: int
    pieces: int | None = None
    texts: str | None = None
    candidates: tuple[str, ...] = ANSWERERS


INFERENCE = {
    "infer-minilm-128": InferenceCase(16, 4, pieces=128),
    "infer-one-20": InferenceCase(1, 40, pieces=20),
    "infer-sst2": InferenceCase(32, 27, texts="sst2/dev.tsv"),
}


def texts_of(case: InferenceCase, data: str, vocab: str, requests: int) -> list[str]:
    """The texts of a turn of so many requests, in the order of the file."""
    number = case.batch_size * requests
    if case.texts is None:
        words = pathlib.Path(vocab).read_text(encoding="utf-8").split("\n")
        words = [word for word in words if word.isascii() and word.isalpha() and len(word) > 2]
        rng = np.random.default_rng(SEED)
        return [" ".join(rng.choice(words, case.pieces - 2)) for _ in range(number)]
    return sentences_of(f"{data}/{case.texts}")[:number]


def sentences_of(path: str | pathlib.Path) -> list[str]:
    """The column `sentence` of a TSV file.

    Raises:
        InputError: It has none.
    """
    with open(path, encoding="utf-8") as file:
        columns = file.readline().rstrip("\n").split("\t")
        if "sentence" not in columns:
            raise InputError(f"{path}:1: columns {', '.join(columns)}; expected one called sentence")
        place = columns.index("sentence")
        return [line.rstrip("\n").split("\t")[place] for line in file]


def rows_of(case: TrainingCase, data: str, steps: int) -> list[np.ndarray]:
    """The ids of the rows of a turn, int32, [CLS] and [SEP] included, padding not."""
    number = steps * case.batch_size
    rng = np.random.default_rng(SEED)
    if case.texts is None:
        middle = rng.integers(FIRST_WORD, PAST_WORDS, [number, case.max_length - 2], dtype=np.int32)
        return [np.concatenate([[CLS], row, [SEP]]).astype(np.int32) for row in middle]
    return _tokenized(case, data, number, rng)


def _tokenized(case, data, number, rng):
    """Rows of a file, drawn at random, as the task reads them that the file is for."""
    from kbert.tasks import Columns, task_class
    from kbert.text import WordPieceTokenizer

    kind = task_class("question_answering" if case.texts.endswith(".json") else "classification")
    rows = kind.read(f"{data}/{case.texts}", Columns(text=case.text_column))
    chosen = [rows[place] for place in rng.choice(len(rows), min(number, len(rows)), replace=False)]
    tokenizer = WordPieceTokenizer(f"{data}/vocab/{case.vocab}.txt", lowercase=True)
    encoded = kind.learn(rows, tokenizer, case.max_length).encode(chosen)
    # A passage may be several windows, each of them a row.
    return [row.astype(np.int32) for row in encoded.inputs["token_ids"].numpy()[:number]]


def hidden_places(row: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The places of a row that are to be guessed, int32, in order."""
    count = round(MASK_RATE * len(row))
    return np.sort(rng.choice(np.arange(1, len(row) - 1), count, replace=False)).astype(np.int32)


def masked(rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Rows of one length with hidden places, as kbert names them: int32, `mask_weights` float32."""
    rng = np.random.default_rng(SEED)
    token_ids = np.stack(rows)
    places = np.stack([hidden_places(row, rng) for row in rows])
    mask_ids = np.take_along_axis(token_ids, places, 1)
    np.put_along_axis(token_ids, places, MASK, 1)
    return {
        "token_ids": token_ids,
        "mask_positions": places,
        "mask_ids": mask_ids,
        "mask_weights": np.ones(places.shape, np.float32),
    }


def labels_of(rows: list[np.ndarray]) -> np.ndarray:
    """Labels of two classes, drawn: the time does not depend on them."""
    return np.random.default_rng(SEED).integers(0, 2, len(rows)).astype(np.int32)


def padded(rows: list[np.ndarray], length: int | None = None) -> np.ndarray:
    """int32 (rows, length); the length of the longest if none is given."""
    length = length or max(map(len, rows))
    return np.stack([np.pad(row, (0, length - len(row))) for row in rows])


def digest(hidden, token_ids: np.ndarray) -> list[list[float]]:
    """What is compared of hidden states: the first 16 numbers of the first and the last piece of each row.

    Args:
        hidden: (rows, pieces, H), of any float type.
        token_ids: int32 (rows, pieces), 0 for padding.
    """
    hidden = np.asarray(hidden, np.float32)
    last = (token_ids > 0).sum(1) - 1
    ends = np.stack([hidden[:, 0, :16], hidden[np.arange(len(last)), last, :16]], 1)
    return ends.reshape(-1, 16).tolist()
