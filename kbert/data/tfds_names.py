"""Datasets known to tensorflow_datasets by their names, `tfds:NAME` where a file could stand."""

from kbert.errors import InputError


def prepared_builder(name: str, data_dir: str | None = None):
    """The `tfds.core.DatasetBuilder` of a dataset, which is downloaded and prepared where it is not yet.

    Args:
        name: Without `tfds:`.
        data_dir: Folder of prepared datasets; by default `TFDS_DATA_DIR` or ~/tensorflow_datasets.

    Raises:
        InputError: There is none of that name, or it cannot be prepared.
    """
    # Imported here: it takes seconds, and most inputs are files.
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
        builder.download_and_prepare()
    except ValueError as error:
        raise InputError(f"tfds:{name}: {str(error).splitlines()[0]}") from error
    # Errors of the download, of its HTTP client, of packages that the dataset needs: no base class in common.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(
            f"tfds:{name}: cannot be prepared ({reason}); prepare it where that works and let TFDS_DATA_DIR "
            f"name its folder, or give a file"
        ) from error
    return builder
