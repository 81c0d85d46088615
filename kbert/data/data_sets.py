"""Data sets of `tensorflow_datasets`: what goes wrong before their first row, told in one line."""

import contextlib
from collections.abc import Iterator

from kbert.errors import InputError


@contextlib.contextmanager
def data_set_errors(source: str) -> Iterator[None]:
    """Around what finds a data set, downloads it and opens it; `tensorflow_datasets` is imported already.

    Args:
        source: Its name, as `tfds:glue/sst2`.

    Raises:
        InputError: There is no such data set or split, or it could not be downloaded or stored.
    """
    from tensorflow_datasets.core.download import download_manager, util

    try:
        yield
    # What is not there is a ValueError, no network and a full disk an OSError.
    except (ValueError, OSError, util.DownloadError, download_manager.NonMatchingChecksumError) as error:
        raise InputError(f"{source}: {(str(error) or repr(error)).splitlines()[0]}") from error
