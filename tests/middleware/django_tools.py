"""Django for tests: configured once in a process, whichever test comes first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import django  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]
from django.test.utils import override_settings  # type: ignore[import-untyped]


@contextmanager
def django_for(module: str, *, middleware: tuple[str, ...] = ()) -> Iterator[None]:
    """Settings whose URLs are those of `module`; handlers are made inside."""
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None, SECRET_KEY="for tests")
        django.setup()
    with override_settings(ROOT_URLCONF=module, MIDDLEWARE=list(middleware)):
        yield
