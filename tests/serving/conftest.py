"""The tiny model and its server, for all tests of serving."""

from tests.tiny_server import server, tiny_export  # noqa: F401  fixtures
