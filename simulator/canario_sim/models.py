"""A user's own model of a service, in Python, beside the built-in ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator, SeedSequence

from canario.config import ConfigError

from .streams import Bytes, Flags, Floats, Ints, Numbers, generator

__all__ = ["BATCH", "Asked", "Modelled", "ServiceModel", "load_model"]

# How many requests a model is asked about at a time, the last time perhaps fewer. A model may draw
# as it likes for each call, so this is part of what a seed means and no setting.
BATCH = 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """Requests that a model is asked about, as parallel arrays in order of arrival.

    Attributes:
        at: Arrivals, in seconds from the rollout's start.
        key: Numbers of their keys.
        route: Numbers of their routes, in the order in which the scenario lists them.
        payload: Numbers of their payload classes, likewise.
        session: Numbers of their sessions; −1 without sessions.
        seconds: What the model's `base` has drawn for them; 0 without one.
    """

    at: Floats
    key: Ints
    route: Numbers
    payload: Bytes
    session: Ints
    seconds: Floats

    def __len__(self) -> int:
        return len(self.at)


class ServiceModel(Protocol):
    """How long requests take to serve, and which of them fail."""

    def serve(self, asked: Asked, random: Generator) -> tuple[Floats, Flags]:
        """Seconds that each request takes (finite, at least 0), and whether it fails.

        All chance comes from `random`. Every rehearsal, arm and route has an instance of its own,
        which is asked in order and may remember; retries have another. How many it is asked about
        at a time is settled by the scenario and the seed, so what it answers depends on nothing
        else: up to `BATCH` requests, or the retries that are sent next.
        """


class Modelled:
    """An instance of a model, with its own chance; it checks what the model answers."""

    def __init__(self, name: str, make: Callable[[], ServiceModel], seed: SeedSequence) -> None:
        self._name = name
        self._random = generator(seed)
        try:
            self._model = make()
        except Exception as error:
            raise ConfigError(name, "", f"cannot be made: {_words(error)}") from error

    def serve(self, asked: Asked) -> tuple[Floats, Flags]:
        """See `ServiceModel`. Raises `ConfigError` for what is no answer."""
        try:
            answer = self._model.serve(asked, self._random)
        except Exception as error:
            raise ConfigError(self._name, "serve", f"raised {_words(error)}") from error
        try:
            given, failing = answer
            # A copy: the model may keep its array, and payloads and warm-up change this one in
            # place.
            seconds = np.array(given, np.float64)
            failed = np.array(failing)
        except (TypeError, ValueError) as error:
            raise self._wrong("something else", asked) from error
        if seconds.shape != (len(asked),) or failed.shape != (len(asked),):
            raise self._wrong(f"arrays of the shapes {seconds.shape} and {failed.shape}", asked)
        if failed.dtype != np.bool_:
            raise self._wrong(f"failures of the type {failed.dtype}", asked)
        good = np.isfinite(seconds) & (seconds >= 0)
        if not good.all():
            raise self._wrong(f"seconds with {float(seconds[~good][0])!r}", asked)
        return seconds, failed

    def _wrong(self, what: str, asked: Asked) -> ConfigError:
        return ConfigError(
            self._name,
            "serve",
            f"returned {what}; it must return two arrays of {len(asked)}: seconds (finite, at "
            "least 0) and failures (bool)",
        )


def load_model(name: str, folder: str, options: Mapping[str, Any]) -> Callable[[], ServiceModel]:
    """What makes instances of the model `module:Class`.

    The module is a file beside the scenario, in `folder`, or one that can be imported. Running
    its code is what this does: call it for scenarios that are trusted. Raises `ConfigError`.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = _module(module_name, folder)
    except Exception as error:
        raise ConfigError(name, "", f"cannot be imported: {_words(error)}") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise ConfigError(name, "", f"is not there; {module_name} has no class {attribute}")
    return lambda: _made(name, found, options)


def _made(name: str, found: Callable[..., Any], options: Mapping[str, Any]) -> ServiceModel:
    model: ServiceModel = found(**options)
    if not callable(getattr(model, "serve", None)):
        raise TypeError(f"{name.partition(':')[2]} has no method serve")
    return model


# A module runs once in a process: every replication makes instances, and none runs it again.
@cache
def _module(name: str, folder: str) -> ModuleType:
    path = Path(folder, *name.split(".")).with_suffix(".py")
    if not path.is_file():
        return import_module(name)
    # Two folders may each have a module of this name.
    unique = f"_canario_model_{blake2b(str(path).encode(), digest_size=8).hexdigest()}_{path.stem}"
    spec = spec_from_file_location(unique, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # Classes are looked up by their module's name, as dataclasses do.
    sys.modules[unique] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[unique]
        raise
    return module


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
