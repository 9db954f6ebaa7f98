"""A headless Chromium that tells what a page asked the network for and what went wrong in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait
from tests.system_packages import need
from tests.waiting import PATIENCE

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


class Browser:
    """One browser for many pages."""

    def __init__(self, chrome: Chrome) -> None:
        self.chrome = chrome
        self._logs: Any = chrome  # half of selenium has no types

    def open(self, path: Path, *, width: int = 1000, dark: bool = False, media: str = "") -> None:
        """Open a file, until its charts are drawn; what was logged before is forgotten."""
        self._logs.get_log("browser")
        self._logs.get_log("performance")
        self.size(width)
        self.look(dark=dark, media=media)
        self.chrome.get(path.as_uri())
        WebDriverWait(self.chrome, PATIENCE, 0.05).until(
            lambda _: self.run("return document.documentElement.hasAttribute('data-ready')")
        )

    def size(self, width: int) -> None:
        """The width of the window, to the pixel."""
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self._command("Emulation.setDeviceMetricsOverride", metrics)

    def look(self, *, dark: bool, media: str = "") -> None:
        """What the page is told of its reader: light or dark, screen or paper."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})

    def run(self, script: str, *arguments: object) -> Any:
        """What a script returns."""
        return self.chrome.execute_script(script, *arguments)

    def pdf(self) -> str:
        """The page on paper, as base64."""
        return str(self._command("Page.printToPDF", {"printBackground": True})["data"])

    def complaints(self) -> list[str]:
        """Errors and warnings of the console since the page was opened."""
        return [entry["message"] for entry in self._logs.get_log("browser")]

    def asked_for(self) -> list[str]:
        """All that was asked of a network since the page was opened, by address."""
        found = []
        for entry in self._logs.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                params = message["params"]
                found.append(str(params.get("request", params)["url"]))
        return [url for url in found if not url.startswith(("file:", "data:", "about:"))]

    def _command(self, name: str, values: dict[str, Any]) -> Any:
        return self.chrome.execute_cdp_cmd(name, values)


@contextmanager
def browser() -> Iterator[Browser]:
    """A fresh one, with a profile of its own."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = Options()
        options.binary_location = need("chromium")
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        chrome = Chrome(options=options, service=Service(need("chromedriver")))
        try:
            yield Browser(chrome)
        finally:
            chrome.quit()
