"""A release through one of the two middlewares."""

from tests.equivalence.release import asgi, wsgi
from tests.equivalence.release.release import Release

__all__ = ["Release", "asgi", "wsgi"]
