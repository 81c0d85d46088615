"""How every script starts and fails: `run(main)` is absl's `app.run` with kbert's exit codes."""

import errno
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags
from absl import logging as absl_logging

from kbert.errors import InputError


def quieten_tensorflow() -> None:
    """Hides TensorFlow's start-up chatter, not its errors; call before TensorFlow is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def run(main: Callable[[], None], backend: str = "tensorflow") -> None:
    """Parses the flags, runs `main()` and exits: 0 done, 2 wrong input, 130 interrupted.

    Keras gets its `backend` here, whatever KERAS_BACKEND or a keras.json says that is meant for other work.

    An `InputError`, an `OSError` with a file name or of a full disk, quota or file, and a wrong flag become
    one line on stderr and exit code 2; a loss that is no number and a lost worker one line and exit code 1; a
    process that failed one line and its exit code. Anything else is a defect and keeps its traceback (exit
    code 1).
    """
    quieten_tensorflow()
    os.environ["KERAS_BACKEND"] = backend
    app.run(lambda argv: _guarded(main, argv), flags_parser=_parse_flags)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        message = str(error).strip()
    _fail(f"{message}; --help lists the flags")


def _guarded(main: Callable[[], None], argv: list[str]) -> None:
    if len(argv) > 1:
        _fail(f"unexpected argument {argv[1]!r}; every option is a --flag, --help lists them")
    absl_logging.set_verbosity(absl_logging.INFO)
    absl_logging.use_absl_handler()
    absl_logging.get_absl_handler().setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    try:
        main()
    except InputError as error:
        _fail(str(error))
    except (ConnectionError, FloatingPointError) as error:
        _fail(str(error), code=1)
    except subprocess.CalledProcessError as error:  # It has told why.
        _fail(f"{_name_of(error.cmd)} ended with code {error.returncode}", code=max(error.returncode, 1))
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        _fail(f"{error.filename or 'what was to be written'}: {error.strerror}")
    except UnicodeEncodeError as error:
        # So Python keeps bytes of a path that are none in the encoding of the system.
        if error.encoding == "utf-8" and not "\udc80" <= error.object[error.start] <= "\udcff":
            raise
        text = error.object[: error.end].encode("ascii", "backslashreplace").decode()
        _fail(
            f"{text[-100:]}: cannot be written in {error.encoding}; set PYTHONUTF8=1, and name paths in UTF-8"
        )
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


def _name_of(command: str | Sequence[str]) -> str:
    """Of a script that Python runs, the script."""
    words = command.split() if isinstance(command, str) else command
    return next((word for word in words if word.endswith(".py")), words[0])


def _fail(message: str, code: int = 2) -> NoReturn:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.exit(code)
