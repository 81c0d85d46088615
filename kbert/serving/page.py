"""The page on which the local server's models can be tried: files of the package, by the path of the URL.

The files are plain HTML, CSS and JavaScript: nothing is built, and nothing comes from another address. They
find the models by `/models.json` and by TF Serving's own metadata, so the page knows no more than any client.
"""

import functools
from pathlib import Path

#: Sent as the header Content-Security-Policy with the page. Scripts, styles and requests are the server's
#: own or they are refused; data cannot become markup where the browser knows trusted types.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
)

_FOLDER = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


def find_page(path: str) -> tuple[bytes, str] | None:
    """A file of the page.

    Args:
        path: Path of the URL without the query, such as "/" or "/page.js".

    Returns:
        Its content and its media type; None for any other path.

    Example:
        >>> find_page("/page.css")[1]
        'text/css; charset=utf-8'
        >>> find_page("/page.py") is None
        True
    """
    return _files().get(path)


@functools.cache
def _files() -> dict[str, tuple[bytes, str]]:
    """Path of the URL -> content and type; nothing else can be asked for, wherever a path leads."""
    files = {
        f"/{file.name}": (file.read_bytes(), _TYPES[file.suffix])
        for file in sorted(_FOLDER.iterdir())
        if file.suffix in _TYPES
    }
    return {**files, "/": files["/index.html"]}
