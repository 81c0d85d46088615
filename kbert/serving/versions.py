"""The versions of a model: subfolders with integer names."""

from pathlib import Path

from kbert.errors import InputError


def find_versions(folder: str | Path) -> dict[int, Path]:
    """All subfolders with integer names; other names are ignored, as TF Serving ignores them.

    Args:
        folder: Contains one subfolder per version; it may be missing.

    Returns:
        Number -> subfolder, the highest number first.
    """
    try:
        paths = list(Path(folder).iterdir())
    except OSError:
        return {}
    found = {
        int(path.name): path
        for path in paths
        if path.name.isascii() and path.name.isdigit() and len(path.name) < 19 and path.is_dir()
    }
    return dict(sorted(found.items(), reverse=True))


def find_latest_version(folder: str | Path) -> Path:
    """The subfolder with the highest integer name.

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
    newest = next(iter(find_versions(folder).values()), None)
    if newest is None:
        hint = (
            f"; {folder.parent} looks like the folder to give" if (folder / "saved_model.pb").exists() else ""
        )
        raise InputError(f"{folder}: no version, that is no subfolder with an integer name such as 1{hint}")
    if not (newest / "saved_model.pb").exists():
        raise InputError(f"{newest}: no saved_model.pb; export the model again or remove this folder")
    return newest


def fingerprint(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """What tells a version's content of before from that of now: its files, their sizes and times.

    A copy that is under way changes it from look to look.
    """
    files = []
    for path in sorted(folder.rglob("*")):
        try:
            stat = path.stat()
        except OSError:
            continue  # removed in this moment
        files.append((str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns))
    return tuple(files)
