"""Reports as a person meets them: opened in Chromium, wide and narrow, light, dark and on paper."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from tests.report.browsers import Browser, browser
from tests.report.samples import (
    HOSTILE,
    alarms,
    hostile_rehearsal,
    odds,
    rehearsal,
    tape,
    tuning,
)

from canario_sim.reports.assessing import assessing
from canario_sim.reports.backtested import backtested
from canario_sim.reports.palette import DARK, LIGHT, contrast
from canario_sim.reports.report import Report
from canario_sim.reports.simulation import simulation
from canario_sim.reports.tuned import tuned
from canario_sim.reports.write import write_reports

PAGES = ("one", "several", "odds", "tuning", "tape", "alarms")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    reports: dict[str, Report] = {
        "one": simulation([rehearsal("error_spike")]),
        "several": simulation([rehearsal("cold_start"), hostile_rehearsal()]),
        "odds": assessing(odds(("release", "".join(HOSTILE[:4])))),
        "tuning": tuned(tuning(HOSTILE[:4])),
        "tape": backtested(tape(("own plan", *HOSTILE[:3]))),
        "alarms": backtested(alarms(HOSTILE[:4])),
    }
    paths = {name: folder / f"{name}.html" for name in reports}
    for name, report in reports.items():
        write_reports(report, [paths[name]])
    return paths


# Each chart: its place's width, its drawing's, and how many marks it has that take up room.
CHARTS = """
return [...document.querySelectorAll(".chart")].map((place) => {
  const svg = place.querySelector("svg");
  const marks = [...place.querySelectorAll(".role-mark path, .role-mark line, .role-mark text")];
  const box = svg.getBoundingClientRect();
  return {
    id: place.id, place: place.getBoundingClientRect().width, left: box.left, right: box.right,
    height: box.height, label: svg.getAttribute("aria-label") ||
      svg.querySelector("[aria-label]")?.getAttribute("aria-label") || "",
    marks: marks.map((mark) => mark.getBoundingClientRect())
      .filter((mark) => mark.width + mark.height > 1).length,
  };
});
"""

# All that is read, with its colour and its background: HTML and SVG.
COLOURS = """
const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
const two = (channel) => Math.round(channel).toString(16).padStart(2, "0");
const hex = (text) => "#" + rgb(text).slice(0, 3).map(two).join("");
const behind = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const own = rgb(getComputedStyle(at).backgroundColor);
    if (own.length < 4 || own[3] > 0) return hex(getComputedStyle(at).backgroundColor);
  }
  return "#ffffff";
};
const found = new Map();
for (const node of document.querySelectorAll("body *")) {
  const svg = node.namespaceURI.endsWith("svg");
  const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  const silent = ["SCRIPT", "STYLE", "NOSCRIPT"].includes(node.tagName);
  // Numbers in the cells of a heat map stand on those: the palette's own tests are about them.
  const cell = node.closest("[id^=chart-heat] .mark-text.role-mark");
  if (!own || silent || cell || !node.getClientRects().length) continue;
  const style = getComputedStyle(node);
  const text = hex(svg ? style.fill : style.color);
  const ground = behind(svg ? node.closest("div") : node);
  found.set(text + ground, [text, ground, node.textContent.slice(0, 40)]);
}
return [...found.values()];
"""


@pytest.mark.parametrize("name", PAGES)
def test_it_opens_without_a_complaint_a_request_or_a_script_of_its_data(
    chromium: Browser, pages: dict[str, Path], name: str
) -> None:
    chromium.open(pages[name])
    charts = chromium.run(CHARTS)
    assert len(charts) >= 2
    for chart in charts:
        assert chart["marks"] >= 1, chart
        assert chart["height"] > 60, chart
        assert chart["right"] - chart["left"] > 0.9 * chart["place"], chart
        assert len(chart["label"]) > 30, chart
    # Everything that may be opened is opened, so that the tables behind the charts are there.
    chromium.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    chromium.run("await new Promise((r) => setTimeout(r, 50))")
    empty = "return document.querySelectorAll('[data-table]:not(:has(td))').length"
    assert chromium.run(empty) == 0
    assert chromium.run("return window.harmed") is None
    assert chromium.complaints() == []
    assert chromium.asked_for() == []


def test_hostile_text_is_read_and_not_run(chromium: Browser, pages: dict[str, Path]) -> None:
    """Also in what appears when something is pointed at or opened."""
    chromium.open(pages["several"])
    seen = chromium.run("return document.body.innerText")
    for text in HOSTILE[:6]:
        assert text in seen
    chromium.open(pages["odds"])
    chromium.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    chromium.run("await new Promise((r) => setTimeout(r, 50))")
    assert HOSTILE[0] in chromium.run("return document.querySelector('[data-table]').innerText")
    # A tooltip: the second policy's mark, whose name is one of them.
    marks = chromium.chrome.find_elements(
        "css selector", "#chart-false-rollback-0 .mark-symbol.role-mark path"
    )
    ActionChains(chromium.chrome).move_to_element(marks[1]).perform()
    tip = chromium.run("return document.getElementById('vg-tooltip-element')?.innerText || ''")
    assert "condition-" in tip
    assert HOSTILE[0] in tip
    assert chromium.run("return window.harmed") is None
    assert chromium.complaints() == []


def test_the_page_s_policy_would_stop_what_got_through(
    chromium: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    """These tests can fail: a script and a picture put into the page are seen, and stopped."""
    page = pages["one"].read_text(encoding="utf-8")
    bad = "<script>window.harmed = 9</script><img src='http://127.0.0.1:9/x.png'></body>"
    path = tmp_path / "bad.html"
    # The last one: the library has one of its own in a string.
    path.write_text(bad.join(page.rsplit("</body>", 1)), encoding="utf-8")
    chromium.open(path)
    assert chromium.run("return window.harmed") is None
    complaints = " ".join(chromium.complaints())
    assert "Content Security Policy" in complaints
    assert "127.0.0.1:9" in complaints
    path.write_text(bad, encoding="utf-8")
    chromium.chrome.get(path.as_uri())
    assert chromium.run("return window.harmed") == 9
    assert "http://127.0.0.1:9/x.png" in chromium.asked_for()


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_shows_it_without_scrolling_sideways(
    chromium: Browser, pages: dict[str, Path], name: str
) -> None:
    width = 375 if name == "one" else 320
    chromium.open(pages[name], width=width)
    assert chromium.run("return document.documentElement.scrollWidth") <= width
    assert chromium.run("return innerWidth") == width
    for chart in chromium.run(CHARTS):
        assert chart["left"] >= 0, chart
        assert chart["right"] <= width + 1, chart
        assert chart["marks"] >= 1, chart


@pytest.mark.parametrize("name", PAGES)
def test_dark_follows_the_reader_and_paper_is_light(
    chromium: Browser, pages: dict[str, Path], name: str
) -> None:
    """No page is loaded anew: colours change under charts that stay as they are drawn."""
    chromium.open(pages[name])
    for look, colours in (
        ({"dark": False}, LIGHT),
        ({"dark": True}, DARK),
        ({"dark": True, "media": "print"}, LIGHT),
    ):
        chromium.look(**look)
        found = chromium.run(COLOURS)
        assert len(found) >= 2
        assert {text for text, _, _ in found} <= set(colours.values())
        for text, background, words in found:
            assert contrast(text, background) >= 4.5, (text, background, words)
        backgrounds = {background for _, background, _ in found}
        paper = {"#ffffff"} if "media" in look else {colours["card"]}
        assert paper <= backgrounds <= {*paper, colours["page"], colours["card"]}


def test_paper_holds_the_charts_and_no_controls(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["several"], width=700, media="print")
    assert chromium.run("return document.documentElement.scrollWidth") <= 700
    hidden = "return getComputedStyle(document.querySelector(arguments[0])).display"
    for selector in ("nav", "details:not([open])"):
        assert chromium.run(hidden, selector) == "none"
    chromium.look(dark=True)
    raw = b64decode(chromium.pdf())
    assert raw.startswith(b"%PDF-")
    assert len(raw) > 20_000
    assert raw.count(b"/Type /Page\n") >= 3


def test_the_keyboard_reaches_everything_in_the_order_of_the_page(
    chromium: Browser, pages: dict[str, Path]
) -> None:
    chromium.open(pages["several"])
    body = chromium.chrome.find_element("css selector", "body")
    body.send_keys(Keys.TAB)
    where = """
        const at = document.activeElement;
        const order = [...document.querySelectorAll("*")].indexOf(at);
        return [at.tagName, order, at.textContent.trim().slice(0, 60)];
    """
    visited = []
    for _ in range(60):
        visited.append(chromium.run(where))
        if visited[-1][0] == "BODY":
            break
        chromium.chrome.switch_to.active_element.send_keys(Keys.TAB)
    assert visited[0] == ["A", visited[0][1], "To the content"]
    assert visited[-1][0] == "BODY"
    places = [place for _, place, _ in visited[:-1]]
    assert all(before < after for before, after in pairwise(places))
    reached = [tag for tag, _, _ in visited[:-1]]
    count = "return document.querySelectorAll(arguments[0]).length"
    assert reached.count("SUMMARY") == chromium.run(count, "summary") > 4
    assert reached.count("A") == chromium.run(count, "a")
    # What has the focus shows it, and Enter opens what is folded.
    first = chromium.chrome.find_element("css selector", "details.data summary")
    chromium.run("arguments[0].focus()", first)
    first.send_keys(Keys.ENTER)
    chromium.run("await new Promise((r) => setTimeout(r, 50))")
    assert chromium.run("return document.querySelector('details.data').open")
    assert chromium.run("return document.querySelectorAll('details.data[open] td').length") > 3
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert chromium.run(outline) == "solid"


def test_headings_landmarks_and_tables_are_labelled(
    chromium: Browser, pages: dict[str, Path]
) -> None:
    chromium.open(pages["several"])
    levels = chromium.run(
        "return [...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for selector in ("main", "header", "nav[aria-label]", "html[lang=en]", "title"):
        assert chromium.run("return document.querySelectorAll(arguments[0]).length", selector) == 1
    unlabelled = """
        return [...document.querySelectorAll("figure, section, [role=region]")].filter((each) =>
          !each.getAttribute("aria-label") && each.id !== "all" &&
          !document.getElementById(each.getAttribute("aria-labelledby"))).length
    """
    assert chromium.run(unlabelled) == 0
    headed = """
        return [...document.querySelectorAll("table")].filter((table) =>
          !table.caption || !table.querySelector("th[scope=col]")).length
    """
    assert chromium.run(headed) == 0
    ids = chromium.run("return [...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))
