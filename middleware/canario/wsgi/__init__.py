"""Over WSGI: the middleware, and what only this protocol has."""

from .middleware import CanaryMiddleware

__all__ = ["CanaryMiddleware"]
