"""The rules that keep the code readable: who imports whom, sizes, names, registration."""

import ast
import graphlib
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import kbert

ROOT = Path(__file__).resolve().parent.parent

# Part of kbert -> the parts it may import besides itself. `errors` and the like are everyone's; the
# modules at the top that are missing here (inference, manifest, ...) may import anything.
MAY_IMPORT = {
    "config": set(),
    "features": set(),
    "layers": set(),
    "models": {"layers", "config", "features"},
    "text": {"features", "vocab_file"},
    "data": {"text", "features", "config", "tag_schemes"},
    "training": {"config"},
    "evaluation": {"features", "tag_schemes"},
    "checkpoints": {"models", "config", "vocab_file"},
    "tasks": {"data", "text", "models", "layers", "evaluation", "features", "config", "tag_schemes"},
    "export": {"tasks", "text", "features", "evaluation", "tag_schemes"},
    "serving": {"features", "tag_schemes"},
}
EVERYONES = {"errors", "version", "whole_files"}

# Part of kbert -> packages it must do without.
#: What other backends do in plain Keras operations, or, as leaving padding out, do without.
OF_ONE_BACKEND = {
    f"kbert/layers/{name}.py": {"tensorflow"}
    for name in ("attention_gradient", "faster_ops", "onednn", "traced_once", "unpadding")
}

MUST_NOT_IMPORT = {
    "config": {"tensorflow", "tensorflow_text", "keras", "numpy"},
    "features": {"tensorflow", "tensorflow_text", "keras", "numpy"},
    "tag_schemes": {"tensorflow", "tensorflow_text", "keras", "numpy"},
    "layers": {"tensorflow", "tensorflow_text"},
    "models": {"tensorflow", "tensorflow_text"},
    "evaluation": {"tensorflow", "tensorflow_text", "keras"},
}

SOURCES = sorted((ROOT / "kbert").rglob("*.py"))
SCRIPTS = sorted((ROOT / "tf_scripts").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def name_of(path):
    return str(path.relative_to(ROOT))


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=name_of)


def imports(path):
    """Every module a file imports, at its top, in functions or for types; with the names after `from`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the whole name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part_of(path):
    """`layers` for kbert/layers/masks.py, `config` for kbert/config.py."""
    return path.relative_to(ROOT / "kbert").with_suffix("").parts[0]


@each(SOURCES)
def test_imports_point_in_the_allowed_direction(path):
    part = part_of(path)
    if part not in MAY_IMPORT:
        assert path.parent == ROOT / "kbert", (
            f"kbert/{part} is no package of the design; add it to MAY_IMPORT"
        )
        return
    names = [name.split(".") for name in imports(path)]
    parts = {name[1] if len(name) > 1 else "all of kbert" for name in names if name[0] == "kbert"}
    wrong = parts - MAY_IMPORT[part] - EVERYONES - {part}
    assert not wrong, f"{name_of(path)} may not import {sorted(wrong)}; allowed: {sorted(MAY_IMPORT[part])}"


@each(SOURCES)
def test_no_import_by_string(path):
    """`importlib` would hide an arrow; only the lazy names of `kbert` and `kbert.text` need it."""
    if path not in (ROOT / "kbert" / "__init__.py", ROOT / "kbert" / "text" / "__init__.py"):
        assert not {name for name in imports(path) if name.split(".")[0] == "importlib"} - {
            "importlib.metadata"
        }


@each(SOURCES)
def test_foreign_packages_stay_where_they_belong(path):
    names = imports(path)
    tops = {name.split(".")[0] for name in names}
    own = OF_ONE_BACKEND.get(path.relative_to(ROOT).as_posix(), set())
    assert not tops & (MUST_NOT_IMPORT.get(part_of(path), set()) - own)
    assert not tops & {"tf_scripts", "tests", "benchmarks"}, "the library does not know its users"
    assert not {name for name in names if name.startswith("keras.src")}, "keras.src is private"


def test_modules_import_downward_only():
    """No module reaches itself through its imports; a package's modules do not import the package."""
    modules = {module_name(path): path for path in SOURCES if path != ROOT / "kbert" / "__init__.py"}
    graph = {
        module: {target for name in imports(path) if (target := known_module(name, modules)) is not None}
        for module, path in modules.items()
    }
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"import cycle: {' <- '.join(error.args[1])}")


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def known_module(name, modules):
    """The module that `from package.module import name` or `import package.module` means."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


@each(SOURCES + SCRIPTS)
def test_files_and_functions_keep_their_size(path):
    text = path.read_text(encoding="utf-8")
    cap = 150 if path in SCRIPTS else 400
    assert len(text.splitlines()) <= cap, f"more than {cap} lines: split it by meaning"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 80, f"{node.name} has {lines} lines"


@each(SOURCES)
def test_no_print_and_no_flags_in_the_library(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "print" not in names, "log with absl"
    if path not in (ROOT / "kbert" / "entry.py", ROOT / "kbert" / "dataclass_flags.py"):
        assert not {"absl.flags", "absl.app"} & imports(path), "library functions take arguments"


def test_modules_are_named_for_what_they_hold():
    assert not [name_of(path) for path in SOURCES if path.stem in {"utils", "helpers", "common", "misc"}]


@each([path for path in SOURCES if path.name == "__init__.py"])
def test_packages_have_a_docstring(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def keras_objects():
    """Every class of layers, models and training that Keras may have to find again in a saved file."""
    kinds = (
        keras.layers.Layer,
        keras.losses.Loss,
        keras.metrics.Metric,
        keras.initializers.Initializer,
        keras.optimizers.Optimizer,
        keras.optimizers.schedules.LearningRateSchedule,
    )
    for part in ("layers", "models", "training"):
        package = importlib.import_module(f"kbert.{part}")
        for info in pkgutil.walk_packages(package.__path__, f"kbert.{part}."):
            module = importlib.import_module(info.name)
            for _, value in inspect.getmembers(module, inspect.isclass):
                if value.__module__ == module.__name__ and issubclass(value, kinds):
                    yield value


def test_keras_classes_are_registered():
    classes = list(keras_objects())
    assert classes
    wrong = [c.__name__ for c in classes if keras.saving.get_registered_name(c) != f"kbert>{c.__name__}"]
    assert not wrong, f'without @keras.saving.register_keras_serializable(package="kbert"): {wrong}'


def test_every_test_file_is_collected():
    """A file that is no `test_*.py` must be a conftest, or be used by its name in another file of tests."""
    texts = {path: path.read_text(encoding="utf-8") for path in TESTS}
    for path in TESTS:
        if path.stem in {"conftest", "__init__"} or path.match("golden/make_*.py"):
            continue
        if path.name.startswith("test_"):
            tree = ast.parse(texts[path])
            functions = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
            assert any(name.startswith("test_") for name in functions), f"{name_of(path)} tests nothing"
        else:
            users = [other for other in TESTS if other != path and path.stem in texts[other]]
            assert users, f"{name_of(path)} is neither collected nor used"


def test_nothing_names_a_place_on_one_machine():
    folders = re.compile(r"/(home|root|work|Users)/\w")
    suffixes = {".py", ".md", ".toml", ".yaml", ".json", ".txt", ".cfg", ""}
    places = [ROOT / name for name in ("kbert", "tf_scripts", "tests", "docs", "benchmarks", ".ci")]
    files = [*ROOT.glob("*"), *(path for place in places for path in place.rglob("*"))]
    found = [
        f"{name_of(path)}:{number}"
        for path in files
        if path.is_file() and path.suffix in suffixes
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if folders.search(line)
    ]
    assert not found


def test_public_names_exist():
    for name in kbert.__all__:
        assert getattr(kbert, name) is not None


def test_import_kbert_waits_for_tensorflow():
    """Nor for Keras: `--help` of a script must come at once."""
    code = "import sys, kbert, kbert.entry; kbert.BertConfig; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"tensorflow", "keras", "numpy"} & set(output.split())
