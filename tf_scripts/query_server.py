"""Asks a served model: one JSON object of outputs per text, on stdout, in the order of the texts.

    python tf_scripts/query_server.py --url=http://127.0.0.1:8501 --model=quickstart --text="a nice day"
    python tf_scripts/query_server.py --url=grpc://127.0.0.1:8500 --model=answers --question=Who? --context=I.
    python tf_scripts/query_server.py --model=quickstart --input=texts.txt --typed > answers.jsonl

--input is a file with a text in each line, or, if it ends in .jsonl, the inputs of a row by name, such as
{"text": "a nice day", "text_pair": "an awful one"}; - is stdin. Answers are written while it is read. With
--typed they are those of the client's typed methods, such as entities beside the words (docs/client.md).
"""

import codecs
import dataclasses
import itertools
import json
import sys
from base64 import b64encode
from collections.abc import Iterator

from absl import flags

from kbert import entry
from kbert.errors import InputError
from kbert.serving import Client, RefusedError, TlsFiles
from kbert.serving.client.rows import checked_rows, question_rows, text_rows

_URL = flags.DEFINE_string(
    "url", "http://127.0.0.1:8501", "The server: http[s]://HOST:PORT or grpc[s]://HOST:PORT"
)
_MODEL = flags.DEFINE_string("model", None, "The model's name on the server", required=True)
_VERSION = flags.DEFINE_integer("version", None, "One of its versions; without it the newest", lower_bound=0)
_LABEL = flags.DEFINE_string("label", None, "A label of a version, such as canary, instead of its number")
_SIGNATURE = flags.DEFINE_string("signature", "serving_default", "Which of the model's signatures to ask")
_TEXT = flags.DEFINE_multi_string("text", None, "Text to ask about; repeat for more")
_TEXT_PAIR = flags.DEFINE_multi_string("text_pair", None, "Second text of a pair; one for each --text")
_QUESTION = flags.DEFINE_multi_string("question", None, "Question on a passage; repeat for more")
_CONTEXT = flags.DEFINE_multi_string("context", None, "The passage; one for each --question")
_INPUT = flags.DEFINE_string("input", None, "File of texts (one a line) or rows (.jsonl); - is stdin")
_FORMAT = flags.DEFINE_enum(
    "input_format", None, ["text", "jsonl"], "What --input holds; else its name tells"
)
_TYPED = flags.DEFINE_boolean("typed", False, "Write answers by the model's task, not its bare outputs")
_TIMEOUT = flags.DEFINE_float("timeout", 30.0, "Seconds for a request of --max_batch rows, with all tries")
_MAX_BATCH = flags.DEFINE_integer("max_batch", 32, "Rows of one request", lower_bound=1)
_SSL_CA = flags.DEFINE_string("ssl_ca", None, "PEM file of who vouches for the server, for https and grpcs")
_SSL_CERT = flags.DEFINE_string("ssl_cert", None, "PEM file of the client's own certificate")
_SSL_KEY = flags.DEFINE_string("ssl_key", None, "PEM file of its private key")

#: A row and where it is from, such as "texts.txt:7"; "" for the command line.
Row = tuple[str, dict]


def main() -> None:
    """Sends the rows in batches and prints the answers in their order."""
    rows = _rows()
    with Client(
        _URL.value,
        _MODEL.value,
        version=_VERSION.value,
        label=_LABEL.value,
        signature=_SIGNATURE.value,
        timeout_seconds=_TIMEOUT.value,
        max_batch=_MAX_BATCH.value,
        tls=TlsFiles(_SSL_CA.value, _SSL_CERT.value, _SSL_KEY.value),
    ) as client:
        ask = client.ask if _TYPED.value else client.predict_rows
        while batch := list(itertools.islice(rows, _MAX_BATCH.value)):
            _answer(batch, ask)


def _answer(batch: list[Row], ask) -> None:
    """Prints the answers to some rows; if they are refused, those to the rows before the wrong one."""
    try:
        answers = ask([row for _, row in batch])
    except RefusedError as error:
        if error.code not in ("400", "INVALID_ARGUMENT"):
            raise
        if len(batch) > 1:
            for row in batch:
                _answer([row], ask)
            return
        place = batch[0][0]
        raise InputError(f"{place}: {error}" if place else str(error)) from error
    for answer in answers:
        print(json.dumps(answer, ensure_ascii=False, default=_plain))
    sys.stdout.flush()


def _plain(value):
    if isinstance(value, bytes):
        return {"b64": b64encode(value).decode()}
    return dataclasses.asdict(value)


def _rows() -> Iterator[Row]:
    """What is asked, from one of the three sources."""
    given = [flag.name for flag in (_TEXT, _QUESTION, _INPUT) if flag.value is not None]
    for flag, other in ((_TEXT_PAIR, _TEXT), (_CONTEXT, _QUESTION)):
        if flag.value is not None and other.value is None:
            raise InputError(f"--{flag.name} without --{other.name}; give one of each for a row")
    if len(given) != 1:
        came = " and ".join(f"--{name}" for name in given) or "nothing to ask"
        raise InputError(f"{came}; give one of --text, --question with --context, or --input")
    if _INPUT.value is not None:
        return _rows_of_file(_INPUT.value)
    if _TEXT.value is not None:
        rows = text_rows(_TEXT.value, _TEXT_PAIR.value)
    else:
        rows = question_rows(_QUESTION.value or [], _CONTEXT.value or [])
    return iter([("", row) for row in rows])


def _rows_of_file(path: str) -> Iterator[Row]:
    is_json = _FORMAT.value == "jsonl" or (_FORMAT.value is None and path.endswith((".jsonl", ".json")))
    first = None
    with open(path, "rb") if path != "-" else open(0, "rb", closefd=False) as lines:
        for number, line in enumerate(lines, 1):
            place = f"{'stdin' if path == '-' else path}:{number}"
            line = line.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").rstrip(b"\r\n")
            if is_json and not line.strip():
                continue
            try:
                row = json.loads(line) if is_json else {"text": line.decode()}
                if not isinstance(row, dict):
                    raise InputError(f"{row!r:.60}; expected an object with the inputs by name")
                first = first or row
                if row.keys() != first.keys():
                    raise InputError(f"inputs {sorted(row)}; the first row has {sorted(first)}")
                checked_rows([row])
            except (InputError, ValueError) as error:
                raise InputError(f"{place}: {error}") from error
            yield place, row


if __name__ == "__main__":
    entry.run(main)
