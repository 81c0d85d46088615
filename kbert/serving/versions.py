"""The versions of a model: subfolders with integer names."""

from pathlib import Path

from kbert.errors import InputError


def find_latest_version(folder: str | Path) -> Path:
    """The subfolder with the highest integer name; other names are ignored, as TF Serving ignores them.

    Args:
        folder: Contains one subfolder per version.

    Returns:
        The folder of that version.

    Raises:
        InputError: There is no folder, no version in it, or no SavedModel in the version.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder that contains the exported versions")
    versions = [
        path for path in folder.iterdir() if path.is_dir() and path.name.isascii() and path.name.isdigit()
    ]
    if not versions:
        hint = (
            f"; {folder.parent} looks like the folder to give" if (folder / "saved_model.pb").exists() else ""
        )
        raise InputError(f"{folder}: no version, that is no subfolder with an integer name such as 1{hint}")
    newest = max(versions, key=lambda path: int(path.name))
    if not (newest / "saved_model.pb").exists():
        raise InputError(f"{newest}: no saved_model.pb; export the model again or remove this folder")
    return newest
