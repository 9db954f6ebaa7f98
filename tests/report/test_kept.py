"""The bundle of charts is made once for an installation; a page is the same with and without."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from canario_sim.kept import cache_folder, kept
from canario_sim.reports import html as page


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "canario"


class Maker:
    """Makes a text, and counts how often."""

    def __init__(self, text: str = "made: ä\n") -> None:
        self.text, self.times = text, 0

    def __call__(self) -> str:
        self.times += 1
        return self.text


def test_what_is_kept_is_made_once_for_each_name(folder: Path) -> None:
    make = Maker()
    assert kept("one", make) == kept("one", make) == make.text
    assert make.times == 1
    assert (folder / "one").read_text(encoding="utf-8") == make.text
    assert kept("another", make) == make.text
    assert make.times == 2
    assert {path.name for path in folder.iterdir()} == {"one", "another"}


@pytest.mark.parametrize("spoil", ["a file", "no text", "no home"])
def test_where_nothing_can_be_kept_it_is_made_each_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    make = Maker()
    if spoil == "a file":
        folder.write_text("in the way")
    elif spoil == "no text":
        folder.mkdir()
        (folder / "one").mkdir()
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")

        def homeless() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", homeless)
    assert kept("one", make) == kept("one", make) == make.text
    assert make.times == 2


def test_what_is_no_text_is_made_anew(folder: Path) -> None:
    folder.mkdir()
    (folder / "one").write_bytes(b"\xff")
    make = Maker()
    assert kept("one", make) == kept("one", make) == make.text
    assert make.times == 1


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {}, ".cache/canario"),
        ("darwin", {}, "Library/Caches/canario"),
        ("win32", {"LOCALAPPDATA": "local"}, "local/canario/cache"),
        ("win32", {}, ".cache/canario"),
        ("linux", {"XDG_CACHE_HOME": "mine"}, "mine/canario"),
    ],
)
def test_each_platform_has_its_folder(
    monkeypatch: pytest.MonkeyPatch, platform: str, environ: dict[str, str], expected: str
) -> None:
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder().as_posix().endswith(expected)


def test_the_bundle_of_charts_is_kept_by_its_version(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library: Callable[[], str] = page._library.__wrapped__
    first = library()
    (file,) = folder.iterdir()
    assert file.name == f"vega-embed-{version('vl-convert-python')}.js"
    assert "</script" not in first
    assert "window.vegaEmbed" in first

    def again() -> str:
        raise AssertionError("made again")

    monkeypatch.setattr(page, "_bundled", again)
    assert library() == first
