"""Scenarios from files, with the files that they name, checked like plans."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
from msgspec.structs import replace
from numpy.random import SeedSequence

from canario.config import ConfigError
from canario.config.decode import decode, read_document
from canario.limits import MOST
from canario.plan import Plan
from canario_sim.distributions import (
    AllowedModel,
    Empirical,
    Gamma,
    Latency,
    Lognormal,
    Mixture,
    Model,
)
from canario_sim.traffic.recorded_file import read_recording
from canario_sim.traffic.tables import read_points

from .request_kinds import Answer, Route
from .scenario import Scenario
from .service import Service

__all__ = ["filled", "find_scenarios", "library_path", "load_scenario", "scenario_schema"]

LatencyT = TypeVar("LatencyT", bound=Latency | None)

_SUFFIXES = (".toml", ".json")


def load_scenario(path: str | os.PathLike[str], *, models: bool = False) -> Scenario:
    """The scenario in a TOML or JSON file; paths in it are relative to it.

    Args:
        path: The file.
        models: Whether Python code that the file names as a model may run: say so of files that
            you trust as you trust code.

    Raises `ConfigError` for the first thing that is wrong, in the file or in one it names.
    """
    path = Path(path)
    raw = read_document(path)
    raw.setdefault("name", path.stem)
    if isinstance(raw.get("plan"), str):
        raw["plan"] = _plan(path.parent / raw["plan"])
    if isinstance(raw.get("traffic"), dict):
        raw["traffic"] = _traffic(raw["traffic"], path.parent)
    scenario = decode(raw, Scenario, str(path))
    folder = path.parent
    filled_in = replace(
        scenario,
        baseline=filled(scenario.baseline, folder),
        canary=None if scenario.canary is None else filled(scenario.canary, folder),
        routes=tuple(_filled_route(route, folder) for route in scenario.routes),
        dependencies=tuple(
            replace(each, latency=_read(each.latency, folder)) for each in scenario.dependencies
        ),
    )
    return _settled_models(filled_in, path, allowed=models)


def find_scenarios(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The scenario files that are named, and those in the folders that are named, in name order.

    Where there is no folder `scenarios`, paths in it mean the library that comes with canario.
    Raises `ConfigError` for a path that does not exist and for a folder without scenarios.
    """
    found: list[Path] = []
    for named in map(Path, paths):
        path = named
        if not path.exists() and named.parts[:1] == ("scenarios",):
            path = library_path().joinpath(*named.parts[1:])
        if not path.exists():
            raise ConfigError(str(named), "", "does not exist; give scenario files or folders")
        found += _folder(path) if path.is_dir() else [path]
    return found


def library_path() -> Path:
    """The folder of the scenarios that come with canario: in its wheel or in its checkout.

    Raises `ConfigError` when an installation lacks it.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "library", package.parents[1] / "scenarios"):
        if folder.is_dir():
            return folder
    raise ConfigError(str(package / "library"), "", "is missing; install canario again")


def scenario_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a scenario file."""
    schema = msgspec.json.schema(Scenario)
    scenario = schema["$defs"]["Scenario"]
    # What the loader takes beside the value itself: a path, and the file's own name.
    plan = scenario["properties"]["plan"]
    plan["anyOf"] = [{"$ref": plan.pop("$ref")}, {"type": "string"}]
    scenario["required"].remove("name")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "canario scenario",
    } | schema


def _folder(path: Path) -> list[Path]:
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    if not files:
        raise ConfigError(str(path), "", "holds no scenario; they end in .toml or .json")
    return files


def _plan(path: Path) -> dict[str, Any]:
    """A plan file's document, checked here so that errors name that file."""
    raw = read_document(path)
    decode(raw, Plan, str(path))
    return raw


def _traffic(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The traffic's document, with what the file that it names says; checked here so that errors
    name that file."""
    file = raw.get("file")
    if not isinstance(file, str) or not file:
        return raw
    if raw.get("kind") == "replay":
        # Read for its errors alone; `Replay` finds it in the cache.
        read_recording(str(folder / file))
        return raw | {"file": str(folder / file)}
    if raw.get("kind") == "schedule" and "points" not in raw:
        points = read_points(folder / file)
        return {key: value for key, value in raw.items() if key != "file"} | {"points": points}
    return raw


def _filled_route(route: Route, folder: Path) -> Route:
    baseline, canary = (_filled_answer(one, folder) for one in (route.baseline, route.canary))
    return replace(route, baseline=baseline, canary=canary)


def _filled_answer(answer: Answer, folder: Path) -> Answer:
    return replace(answer, latency=_read(answer.latency, folder))


def _settled_models(scenario: Scenario, path: Path, *, allowed: bool) -> Scenario:
    """The same scenario, whose models may run; refused when it has some and may not."""

    def settled(latency: LatencyT, key: str) -> LatencyT:
        if not isinstance(latency, Model):
            return latency
        kept = {name: getattr(latency, name) for name in latency.__struct_fields__}
        made = AllowedModel(**kept, folder=str(path.parent.resolve())) if allowed else latency
        try:
            # Made once here, so that a model that cannot be is refused with its file, not in the
            # midst of a rehearsal.
            made.instance(SeedSequence(0))
        except ConfigError as error:
            raise ConfigError(str(path), f"{key}.latency", str(error)) from error
        return cast("LatencyT", made)

    def service(one: Service, key: str) -> Service:
        return replace(one, latency=settled(one.latency, key))

    def answer(one: Answer, key: str) -> Answer:
        return replace(one, latency=settled(one.latency, key))

    routes = [
        replace(
            route,
            baseline=answer(route.baseline, f"routes[{number}].baseline"),
            canary=answer(route.canary, f"routes[{number}].canary"),
        )
        for number, route in enumerate(scenario.routes)
    ]
    return replace(
        scenario,
        baseline=service(scenario.baseline, "baseline"),
        canary=None if scenario.canary is None else service(scenario.canary, "canary"),
        routes=tuple(routes),
    )


def filled(service: Service, folder: Path) -> Service:
    """The same service, with the values of the files in `folder` that its latency names.

    Raises `ConfigError` for a file that cannot be read, or holds something else.
    """
    return replace(service, latency=_read(service.latency, folder))


def _read(latency: LatencyT, folder: Path) -> LatencyT:
    """The same latency, with the values of its files."""
    return cast("LatencyT", _read_any(latency, folder))


def _read_any(latency: Latency | None, folder: Path) -> Latency | None:
    match latency:
        case Model(base=Lognormal() | Gamma() | Mixture() | Empirical() as base):
            return replace(latency, base=_read(base, folder))
        case Empirical(file=str(name)):
            return Empirical(values_ms=_values(folder / name))
        case Mixture():
            parts = [
                replace(part, latency=_read(part.latency, folder)) for part in latency.components
            ]
            return Mixture(components=tuple(parts))
        case _:
            return latency


def _values(path: Path) -> tuple[float, ...]:
    """The last column of a CSV file, without its heading."""
    try:
        # Spreadsheets begin a file with a byte order mark, which would make its first value none.
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", f"cannot be read: {error}") from error
    values = []
    for number, row in enumerate(rows, start=1):
        value = _number(row)
        if value is not None:
            values.append(value)
        # The first line may be a heading, and a blank one is none.
        elif row and number > 1:
            raise ConfigError(
                str(path),
                f"line {number}",
                f"{row[-1]!r} is no latency; it must be a number of ms, finite and at least 0",
            )
    if not values:
        raise ConfigError(str(path), "", "holds no latency; give one a line, in ms")
    return tuple(values)


def _number(row: list[str]) -> float | None:
    try:
        value = float(row[-1]) if row else -1.0
    except ValueError:
        return None
    return value if 0 <= value <= MOST else None
