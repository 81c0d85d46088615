"""The self-test of an export: a stand-alone program that loads it the way TF Serving does.

Usage: `python self_test.py FOLDER [PATH ...]`, with the version folder and paths that must not occur in
its graph. It imports nothing of kbert and nothing of Keras: what it can answer, a server can answer. The
last line on stdout is a JSON object; a failure is the last line on stderr, and the exit code is 1.

`tf.saved_model.load` would not do: it repairs what the TF1 session loader, and so TF Serving, stumbles over.
"""

import base64
import json
import os
import re
import sys
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from google.protobuf.message import Message
from tensorflow.core.protobuf import saved_model_pb2

# All ops of TensorFlow itself, listed before tensorflow-text adds its own.
CORE_OPS = frozenset(dir(tf.raw_ops))

import tensorflow_text  # noqa: E402, F401 (registers the ops; must come after the list above)

#: Ops of tensorflow-text 2.20, which TF Serving 2.20 links, that the tokenizer may use.
TEXT_OPS = frozenset(
    {
        "FastWordpieceTokenizeWithOffsets",
        "NormalizeUTF8",
        "NormalizeUTF8WithOffsetsMap",
        "RegexSplitWithOffsets",
    }
)

#: Ops of core TensorFlow that no server can run.
PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})

#: What an export in 8 bits multiplies with: TensorFlow's own, in all builds with oneDNN.
INT8_OPS = frozenset({"_QuantizedMatMul"})

#: Of a float, absolute up to 1 and relative beyond, by the precision of the products; and the share of rows
#: that may be answered otherwise. Where numbers are rounded coarsely, another order of sums becomes another
#: step here and there, which decides what was a tie.
TOLERANCES = {"float32": (1e-5, 0.0), "bfloat16": (0.05, 0.2), "int8": (0.05, 0.2)}

#: What stands behind the end of a row that is shorter than others, by NumPy's kind of dtype.
FILLINGS = {"O": "", "i": -1, "f": 0.0, "b": False}


class Failure(Exception):
    """A check that did not hold."""


class Export:
    """A SavedModel in a TF1 session.

    Args:
        folder: The version folder.
    """

    def __init__(self, folder: str):
        with open(os.path.join(folder, "assets.extra", "kbert.json"), encoding="utf-8") as file:
            self.description = json.load(file)
        self.folder = folder
        self.precision = self.description.get("precision", "float32")
        self.graph = tf.Graph()
        self.session = tf.compat.v1.Session(graph=self.graph)
        loader = tf.compat.v1.saved_model.loader
        with self.graph.as_default():
            self.meta_graph = loader.load(self.session, [tf.saved_model.SERVING], folder)

    def samples(self):
        """(signature name, inputs as arrays of bytes, outputs as arrays) of each sample."""
        for sample in self.description["samples"]:
            inputs = {name: _texts(texts) for name, texts in sample["inputs"].items()}
            described = self.description["signatures"][sample["signature"]]["outputs"]
            outputs = {
                name: _rectangle(values, described.get(name, {"dtype": "object"})["dtype"])
                for name, values in sample["outputs"].items()
            }
            yield sample["signature"], inputs, outputs

    def first_requests(self) -> dict:
        """Signature name -> inputs of its first sample."""
        first = {}
        for signature, inputs, _ in self.samples():
            first.setdefault(signature, inputs)
        return first

    def answer(self, signature: str, inputs: dict, scope: str = "", feeds: dict | None = None) -> dict:
        """Runs a signature; with `scope` and `feeds`, in a copy of the graph with other placeholders."""
        definition = self.meta_graph.signature_def[signature]
        prefix = scope and scope + "/"
        fetches = {name: prefix + info.name for name, info in definition.outputs.items()}
        feed = {
            (feeds or {}).get(name, definition.inputs[name].name): value for name, value in inputs.items()
        }
        outputs = self.session.run(fetches, feed)
        return {name: _decoded(value) for name, value in outputs.items()}


def _texts(texts):
    return np.array([_bytes(text) for text in texts], object)


def _bytes(text):
    if isinstance(text, list):
        return [_bytes(part) for part in text]
    return base64.b64decode(text["b64"]) if isinstance(text, dict) else text.encode()


def _decoded(array):
    if array.dtype != object:
        return array
    return np.array([text.decode() for text in array.ravel()], object).reshape(array.shape)


def _rectangle(rows, dtype: str) -> np.ndarray:
    """Values of rows as one array; lists of unlike length are filled up as the graph does it."""
    kind = np.dtype(object if dtype == "string" else dtype)
    if not isinstance(rows[0], list):
        return np.array(rows, kind)
    shapes = [np.shape(values) for values in rows if values]
    longest = [max(sizes) for sizes in zip(*shapes, strict=True)] or [0]
    array = np.full((len(rows), *longest), FILLINGS[kind.kind], kind)
    for row, values in enumerate(rows):
        if values:
            array[(row, *map(slice, np.shape(values)))] = values
    return array


def _widened(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rows as long as in another batch of that shape, along each of their axes."""
    missing = [max(0, other - own) for other, own in zip(shape[1:], array.shape[1:], strict=True)]
    padding = [(0, 0), *((0, number) for number in missing)]
    return np.pad(array, padding, constant_values=FILLINGS[array.dtype.kind])


class Comparison:
    """How far answers are from those that are expected.

    Args:
        precision: Of the products of the export.
    """

    def __init__(self, precision: str):
        self.tolerance, self.share = TOLERANCES[precision]
        self.rows, self.failures, self.gaps = 0, [], [0.0]

    def add(self, expected: dict, outputs: dict) -> None:
        """Compares a batch, row by row where single rows may differ."""
        count = len(next(iter(expected.values())))
        parts = [slice(row, row + 1) for row in range(count)] if self.share else [slice(None)]
        for part in parts:
            self.rows += 1
            try:
                want, have = ({name: of[name][part] for name in of} for of in (expected, outputs))
                self.gaps.append(difference(want, have, self.tolerance))
            except Failure as failure:
                self.failures.append(failure)
                if len(self.failures) > self.share * max(self.rows, 20):
                    raise

    def largest(self) -> float:
        """The largest gap of those within the tolerance.

        Raises:
            Failure: More rows than allowed are beyond it.
        """
        if len(self.failures) > self.share * self.rows:
            raise self.failures[-1]
        return max(self.gaps)


def difference(expected: dict, outputs: dict, tolerance: float = TOLERANCES["float32"][0]) -> float:
    """The largest difference of two answers; texts, whole numbers and truth values must be equal."""
    if set(expected) != set(outputs):
        raise Failure(f"outputs {sorted(outputs)}; expected {sorted(expected)}")
    largest = 0.0
    for name, want in expected.items():
        have = outputs[name]
        if len(want) == len(have) and not want.size and not have.size:
            continue
        if want.ndim == have.ndim > 1:
            # Rows of words, say, are as long as the longest of their batch.
            want, have = _widened(want, have.shape), _widened(have, want.shape)
        if want.shape != have.shape:
            raise Failure(f"{name} has the shape {have.shape}; expected {want.shape}")
        if have.dtype.kind != "f":
            if not np.array_equal(want, have):
                raise Failure(f"{name} is {have.tolist()}; expected {want.tolist()}")
            continue
        gap = float(np.max(np.abs(want - have) / np.maximum(1.0, np.abs(want)), initial=0.0))
        if not gap <= tolerance:  # not `gap > tolerance`, which NaN would pass
            raise Failure(f"{name} differs by {gap:.2g}; allowed {tolerance}")
        largest = max(largest, gap)
    return largest


def check_answers(export: Export) -> float:
    """Every sample request gets the answer of the Keras model."""
    comparison = Comparison(export.precision)
    for signature, inputs, want in export.samples():
        comparison.add(want, export.answer(signature, inputs))
    return comparison.largest()


def check_batches(export: Export) -> None:
    """Each text alone gets the answer that it gets in a batch, and an empty batch an empty answer."""
    comparison = Comparison(export.precision)
    for signature, inputs, _ in export.samples():
        batch = export.answer(signature, inputs)
        for row in range(len(next(iter(inputs.values())))):
            alone = export.answer(signature, {name: texts[row : row + 1] for name, texts in inputs.items()})
            comparison.add({name: values[row : row + 1] for name, values in batch.items()}, alone)
        empty = export.answer(signature, {name: texts[:0] for name, texts in inputs.items()})
        difference({name: values[:0] for name, values in batch.items()}, empty, comparison.tolerance)
    comparison.largest()


def check_huge_text(export: Export) -> None:
    """A text of a megabyte is answered, and marked as truncated."""
    for signature, inputs in export.first_requests().items():
        if "truncated" not in export.meta_graph.signature_def[signature].outputs:
            continue
        text = b"word " * 200_000
        huge = {name: np.full((1, *rows.shape[1:]), text, object) for name, rows in inputs.items()}
        if not export.answer(signature, huge)["truncated"].all():
            raise Failure("a text of a megabyte is not marked as truncated")


def check_bad_shapes(export: Export) -> None:
    """A wrong rank, or inputs of different length, is an error in the graph itself.

    Python's `Session.run` compares feeds with the placeholders' shapes, which the sessions of a server do
    not. So the graph is imported once more over placeholders without any shape; the variables are shared.
    """
    for signature, inputs in export.first_requests().items():
        scope = f"unchecked_{signature}"
        feeds = _import_without_shapes(export, signature, scope)
        for name in inputs:
            for case, bad in (("of a lower rank", inputs[name][0]), ("of a higher rank", inputs[name][None])):
                _expect_refusal(export, signature, {**inputs, name: bad}, f"{name} {case}", scope, feeds)
            if len(inputs) > 1:
                longer = np.concatenate([inputs[name], inputs[name]])
                _expect_refusal(export, signature, {**inputs, name: longer}, f"{name} longer", scope, feeds)


def _import_without_shapes(export: Export, signature: str, scope: str) -> dict:
    feeds, replaced = {}, {}
    with export.graph.as_default():
        for name, info in export.meta_graph.signature_def[signature].inputs.items():
            feeds[name] = tf.compat.v1.placeholder(tf.string, shape=None)
            replaced[info.name] = feeds[name]
        tf.import_graph_def(export.meta_graph.graph_def, input_map=replaced, name=scope)
    return feeds


def _expect_refusal(export, signature, inputs, case, scope, feeds) -> None:
    try:
        export.answer(signature, inputs, scope, feeds)
    except tf.errors.InvalidArgumentError:
        return
    except tf.errors.OpError as error:
        raise Failure(f"{case} gives {type(error).__name__}; expected InvalidArgumentError") from error
    raise Failure(f"{case} is answered; expected InvalidArgumentError")


def check_ops(export: Export) -> None:
    """Every op is one that TF Serving 2.20 links, and nothing demands XLA."""
    graph = export.meta_graph.graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    functions = {function.signature.name for function in graph.library.function}
    known = CORE_OPS | TEXT_OPS | functions | (INT8_OPS if export.precision == "int8" else frozenset())
    unknown = {node.op for node in nodes} - known
    unknown |= {node.op for node in nodes if node.op in PYTHON_OPS or node.op.startswith(("Xla", "_Mkl"))}
    if unknown:
        raise Failure(f"ops that TF Serving does not have: {', '.join(sorted(unknown))}")
    if any(item.attr["_XlaMustCompile"].b for item in [*nodes, *graph.library.function]):
        raise Failure("a function is marked jit_compile, which TF Serving refuses by default")


def check_weights(export: Export) -> None:
    """The checkpoint holds every weight once."""
    reader = tf.train.load_checkpoint(os.path.join(export.folder, "variables", "variables"))
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    stored = sum(
        int(np.prod(shape)) * dtypes[name].size
        for name, shape in shapes.items()
        if dtypes[name] != tf.string  # the object graph
    )
    expected = export.description["weights"]["bytes"]
    if abs(stored - expected) > 0.01 * expected:
        raise Failure(f"the checkpoint holds {stored} bytes of tensors; the weights have {expected}")


def check_paths(export: Export, paths: list[str]) -> None:
    """The graph tells nothing about the machine it was made on."""
    with open(os.path.join(export.folder, "saved_model.pb"), "rb") as file:
        values = set(_values(saved_model_pb2.SavedModel.FromString(file.read())))
    for path in paths:
        if path.strip(os.sep) and any(holds_path(value, path) for value in values):
            raise Failure(f"saved_model.pb contains the local path {path}")


def holds_path(value: bytes, folder: str) -> bool:
    """Whether a string of the graph names the folder or what is in it.

    Before a path stands nothing, or what ends no part of a name: `/bert/` in `model/bert/layer_0` is none. An
    underscore could end one, but TensorFlow also makes the names of tables of it and a path.
    """
    start = re.escape(os.fsencode(os.path.join(folder, "")))
    return re.search(rb"(?<![A-Za-z0-9.>-])" + start, value) is not None


def _values(message) -> Iterator[bytes]:
    """All strings in a message: constants, attributes, names, assets, collections.

    One by one, not the file as a whole, in which a string's length, a byte like any letter, stands before it.
    """
    for field, value in message.ListFields():
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if is_map:
            value = [*value, *value.values()]
        for item in value if is_map or field.is_repeated else [value]:
            if isinstance(item, str):
                yield item.encode()
            elif isinstance(item, bytes):
                yield item
            elif isinstance(item, Message):
                yield from _values(item)


def main(folder: str, paths: list[str]) -> int:
    """Runs all checks, those that may kill the process last."""
    report = {}

    def run(name, check, *arguments):
        sys.stderr.write(f"check: {name}\n")
        sys.stderr.flush()
        report[name] = check(*arguments)
        return report[name]

    try:
        export = run("loads", Export, folder)
        run("local paths", check_paths, export, paths)
        run("ops", check_ops, export)
        run("weights stored once", check_weights, export)
        gap = run("answers", check_answers, export)
        run("batches", check_batches, export)
        run("huge text", check_huge_text, export)
        run("bad shapes", check_bad_shapes, export)
    except (Failure, tf.errors.OpError, KeyError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write(json.dumps({"ok": True, "checks": len(report), "difference": gap}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
