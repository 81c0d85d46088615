"""Requests that no client should send, made of a source of random numbers: for the tests that send them."""

import gzip
import random

from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2

BODIES = [
    b'{"instances": ["a film to remember", "b"]}',
    b'{"inputs": {"text": ["a", "b"]}, "signature_name": "tokenize"}',
    b'{"signature_name": "similarity", "instances": [{"text": "a", "text_pair": {"b64": "YQ=="}}]}',
    b'{"signature_name": "features", "inputs": {"input_ids": [[1, 2]], "segment_ids": [[0, 0]],'
    b' "input_mask": [[1, 1]]}}',
    b'{"signature_name": "answer", "inputs": {"question": ["who?"], "context": ["\xc3\xbcber \\u00fc"]}}',
    b'{"signature_name": "classify", "context": {"x": 1.5}, "examples": [{"text": "a"}, {"text": ["b"]}]}',
]
PIECES = [
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b":",
        b'"',
        b"\\",
        b"\\u",
        b"\\ud800",
        b"\\ud83d\\ude00",
        b"\x00",
        b"\xff",
    ),
    *(b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-0", b"1" * 400, b"0.1e-400", b"2147483648"),
    *(b'"instances"', b'"inputs"', b'"text"', b'"b64"', b'"signature_name"', b'"examples"', b'"regress"'),
    *(b'{"b64": "*"}', b"[" * 300, b'{"a":' * 150, b"[" * 90 + b"]" * 90, b"\xef\xbb\xbf", b" " * 3000),
    *(b"18446744073709551616", b"__saved_model_init_op", "😀".encode(), b"\xed\xa0\x80", b"/* */"),
]
NUMBERS = [
    "0",
    "-1",
    "+1",
    "1e3",
    "",
    " 7",
    "9" * 30,
    "0x10",
    "1_0",
    "²",
    "1,1",
    "0" * 25 + "9" * 12,
    "9" * 5000,
]
VERBS = [
    "GET",
    "POST",
    "PUT",
    "HEAD",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "TRACE",
    "get",
    "P\xd6ST",
    "",
    "X" * 70000,
]
PATHS = [
    *("/v1/models/k:predict", "/v1/models/k/versions/1:classify", "/v1/models/k/labels/x:regress", "/"),
    *(
        "/v1/models/k/metadata",
        "/v1/models/k",
        "/v1/models",
        "/models.json",
        "/monitoring/prometheus/metrics",
    ),
    *(
        "/v1/models/%00:predict",
        "/v1/models/%ff%zz/metadata",
        "/v1/models/k/labels/%E2%82:predict",
        "*",
        "//",
    ),
    *(
        "http://x/v1/models/k:predict",
        "/../../etc/passwd",
        "/v1/models/k/versions/-1",
        "/\xff\xfe",
        "/page.js?x",
    ),
    *(f"/v1/models/k/versions/{'9' * digits}{end}" for digits in (18, 19, 5000) for end in ("", ":predict")),
]


def mutated(body: bytes, rng: random.Random) -> bytes:
    """A body with some of its bytes changed, moved, repeated or lost."""
    for _ in range(rng.randint(1, 4)):
        at, to = sorted(rng.randrange(len(body) + 1) for _ in range(2))
        piece = rng.choice([rng.choice(PIECES), rng.randbytes(rng.randint(1, 4))])
        lost, repeated, cut = body[:at] + body[to:], body[:to] + body[at:], body[:at]
        body = rng.choice([lost, repeated, cut, cut + piece + body[at:], cut + piece + body[to:]])
    return body


def malformed_body(rng: random.Random) -> bytes:
    if rng.random() < 0.1:
        return rng.randbytes(rng.randrange(2000))
    if rng.random() < 0.1:
        return b"".join(rng.choices(PIECES, k=rng.randint(1, 10)))
    return mutated(rng.choice(BODIES), rng)


def chunked(body: bytes, rng: random.Random) -> bytes:
    """A body in chunks, some of which have a wrong size or wrong ends."""
    parts = []
    while body:
        size = rng.randint(1, 40)
        said = rng.choice([f"{size:x}", f"{size:X};x=y", *NUMBERS]) if rng.random() < 0.1 else f"{size:x}"
        parts += [said.encode("latin-1"), rng.choice([b"\r\n"] * 20 + [b"\n", b""]), body[:size], b"\r\n"]
        body = body[size:]
    return b"".join(parts) + rng.choice([b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"", b"-1\r\n\r\n", b"0"])


def body_request(rng: random.Random) -> bytes:
    """A request with a proper head: as it is, packed, or in chunks."""
    verb = rng.choice(["predict", "predict", "classify", "regress"])
    body, headers = malformed_body(rng), []
    if rng.random() < 0.15:
        headers.append(b"Content-Encoding: gzip")
        body = gzip.compress(body) if rng.random() < 0.9 else gzip.compress(bytes(8 << 20))
        body = mutated(body, rng) if rng.random() < 0.5 else body
    if rng.random() < 0.15:
        headers.append(b"Transfer-Encoding: chunked")
        body = chunked(body, rng)
    else:
        headers.append(b"Content-Length: %d" % len(body))
    head = b"\r\n".join([b"POST /v1/models/k:%s HTTP/1.1" % verb.encode(), *headers, b"", b""])
    return head + body


def head_request(rng: random.Random) -> bytes:
    """A request whose head is odd: verbs, paths, versions, headers, lengths; perhaps several in one go."""
    version = rng.choice(["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.x", "http/1.1", ""])
    verb = rng.choice(VERBS) if rng.random() < 0.4 else rng.choice(["GET", "POST"])
    lines = [f"{verb} {rng.choice(PATHS)} {version}".strip()]
    for name in ("Content-Length", "Transfer-Encoding", "Content-Encoding", "Origin", "Connection", "Expect"):
        if rng.random() < 0.25:
            words = [
                "chunked",
                "gzip",
                "identity",
                "keep-alive",
                "100-continue",
                "http://x",
                "\xff",
                *NUMBERS,
            ]
            lines.append(f"{name}{rng.choice([':', ': ', ' :', ''])}{rng.choice(words)}")
    if rng.random() < 0.05:
        lines += [f"X-{number}: y" for number in range(rng.choice([5, 150]))]
    head = rng.choice(["\r\n"] * 9 + ["\n"]).join([*lines, "", ""]).encode("latin-1")
    request = head + malformed_body(rng)
    if rng.random() < 0.2:
        request = mutated(request, rng)
    return request + (head_request(rng) if rng.random() < 0.1 else b"")


def random_tensor(tensor, rng: random.Random) -> None:
    """Fills a TensorProto with what does not go together."""
    known = [types_pb2.DT_STRING, types_pb2.DT_INT32, types_pb2.DT_FLOAT, types_pb2.DT_INT64]
    tensor.dtype = rng.choice(known) if rng.random() < 0.6 else rng.choice([*range(32), 99, 101, 107, -1])
    sizes = [0, 1, 1, 2, 3, 5000, -1, -(2**63), 2**24 + 1, 2**31, 2**62, 2**63 - 1]
    for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3, 300])):
        tensor.tensor_shape.dim.add(size=rng.choice(sizes if rng.random() < 0.4 else [1, 2]))
    tensor.tensor_shape.unknown_rank = rng.random() < 0.05
    if rng.random() < 0.4:
        tensor.tensor_content = rng.randbytes(rng.choice([0, 1, 4, 8, 15, 16, 1000]))
    for name in rng.choices(["string_val", "int_val", "float_val", "int64_val", "half_val", "bool_val"], k=2):
        value = rng.randbytes(rng.randrange(9)) if name == "string_val" else rng.choice([0, 1, 65536])
        getattr(tensor, name).extend([value] * rng.choice([0, 1, 1, 2, 3, 1000]))


def tensor_request(rng: random.Random) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = rng.choice(["k"] * 9 + ["", "none", "😀"])
    names = ["", "", "similarity", "features", "tag", "answer", "classify", "__saved_model_init_op", "none"]
    request.model_spec.signature_name = rng.choice(names)
    if rng.random() < 0.1:
        request.model_spec.version.value = rng.choice([1, 0, -1, 2**63 - 1])
    for name in rng.choice(
        [["text"]] * 4
        + [["text", "text_pair"], ["input_ids", "segment_ids", "input_mask"], ["inputs"], [], ["😀"]]
    ):
        random_tensor(request.inputs[name], rng)
    if rng.random() < 0.2:
        request.output_filter.extend(rng.choices(["label", "score", "none", ""], k=2))
    return request.SerializeToString()


def bytes_request(rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return rng.randbytes(rng.randrange(200))
    return mutated(tensor_request(rng)[:5000], rng)
