"""Every format holds the report, reads as what it is, and takes nothing of its data for markup."""

from __future__ import annotations

import csv as csv_reader
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import junitparser
import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tests.report.samples import (
    HOSTILE,
    alarms,
    hostile_rehearsal,
    odds,
    rehearsal,
    tape,
    tuning,
)
from tests.waiting import PATIENCE

from canario.config import ConfigError
from canario.printable import printable_lines as printable
from canario_sim.reports import table_files as files
from canario_sim.reports import write
from canario_sim.reports.assessing import assessing
from canario_sim.reports.backtested import backtested
from canario_sim.reports.html import html
from canario_sim.reports.images import png, svg
from canario_sim.reports.junit import junit
from canario_sim.reports.markdown import escaped, markdown
from canario_sim.reports.plain import printable_report
from canario_sim.reports.report import Case, Column, Report, Section, Suite, Table
from canario_sim.reports.simulation import simulation
from canario_sim.reports.tuned import tuned
from canario_sim.reports.write import write_reports

# Without stubs: as a module of no type.
arrow: Any = import_module("pyarrow.parquet")
ROOT = Path(__file__).parents[2]
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


def hostile() -> Report:
    report: Report = printable_report(simulation([hostile_rehearsal()]))
    return report


def unexpected() -> Report:
    """Two rehearsals, one of them not as expected."""
    return simulation([rehearsal("healthy"), hostile_rehearsal()])


# -- one value, many files


def test_each_ending_is_a_format(tmp_path: Path) -> None:
    report = unexpected()
    paths = [tmp_path / f"r{suffix}" for suffix in write.FORMATS]
    written = write_reports(report, paths)
    assert all(path.stat().st_size > 20 for path in written)
    names = {path.name for path in written}
    assert {"r.html", "r.md", "r.xml", "r.json", "r-rehearsals.csv", "r-overview.svg"} <= names
    pictures = {picture.name for picture in report.pictures}
    assert {f"r-{name}.png" for name in pictures} <= names
    assert {f"r-{table.name}.parquet" for table in report.all_tables} <= names
    assert sorted(tmp_path.iterdir()) == sorted(written)


def test_a_single_table_is_the_file_itself(tmp_path: Path) -> None:
    table = Table(name="t", title="T", columns=(Column("a", "A"),), rows=((1,),))
    report = Report(command="c", title="t", summary=(), ok=None, tables=(table,))
    path = tmp_path / "deeper" / "one.csv"
    assert write_reports(report, [path]) == [path]
    assert path.read_text() == "a\n1\n"


@pytest.mark.parametrize("suffix", [".xml", ".json", ".svg", ".csv"])
def test_a_format_that_would_be_empty_is_refused(tmp_path: Path, suffix: str) -> None:
    report = Report(command="assess", title="t", summary=(), ok=None)
    with pytest.raises(ConfigError, match="nothing to write in this format"):
        write_reports(report, [tmp_path / f"r{suffix}"])


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_reports(unexpected(), [tmp_path / "file" / "r.md"])


# -- the same run, the same bytes

_AGAIN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.report.test_formats import write_all
write_all(Path(sys.argv[2]))
"""


def write_all(out: Path) -> None:
    formats = ("html", "md", "xml", "json", "csv", "svg")
    write_reports(simulation([rehearsal("error_spike")]), [out / f"run.{each}" for each in formats])
    write_reports(assessing(odds(("alone",), 3)), [out / "odds.svg", out / "odds.csv"])


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    """Under another hash seed, and the one after other pictures than the other."""
    subprocess.run(
        [sys.executable, "-c", _AGAIN, str(ROOT), str(tmp_path / "1")],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        check=True,
        timeout=PATIENCE,
    )
    svg(next(iter(simulation([rehearsal("cold_start")]).pictures)), "another")
    write_all(tmp_path / "2")
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / number).iterdir()} for number in "12"
    )
    assert len(first) > 15
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


# -- HTML


class _Page(HTMLParser):
    """Tags, attributes and text of a page, by the standard library's parser."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._inside[-1:] not in (["script"], ["style"]):
            self.text += data


def test_hostile_text_is_text_in_html() -> None:
    report = hostile()
    page = _Page(html(report))
    plain = _Page(html(simulation([rehearsal("contract_violation_first_minute")])))
    assert page.tags.count("script") == plain.tags.count("script") == 3
    assert not {"img", "svg", "b", "iframe", "object", "embed", "link", "form"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")}
    links = [value for name, value in page.attributes if name in ("href", "src")]
    assert all(link and link.startswith("#") for link in links)
    for text in HOSTILE:
        shown = printable(text)
        assert shown in page.text, text


@pytest.mark.parametrize("kind", ["tune", "tape", "alarms", "assess"])
def test_hostile_names_are_text_in_every_report(kind: str, tmp_path: Path) -> None:
    names = HOSTILE[:8]
    report = {
        "tune": lambda: tuned(tuning(names)),
        "tape": lambda: backtested(tape(("own plan", *names))),
        "alarms": lambda: backtested(alarms(names)),
        "assess": lambda: assessing(odds(names, 3)),
    }[kind]()
    written = write_reports(report, [tmp_path / "r.html", tmp_path / "r.md", tmp_path / "r.csv"])
    page = _Page(written[0].read_text(encoding="utf-8"))
    assert page.tags.count("script") == 3
    assert not {"img", "svg", "b", "iframe"} & set(page.tags)
    for name in names:
        assert printable(name) in page.text
    ids = [value for attribute, value in page.attributes if attribute == "id"]
    assert len(ids) == len(set(ids))
    text = rendered(written[1].read_text(encoding="utf-8"))
    assert not {"script", "img", "svg", "b", "a", "em", "strong"} & set(text.tags)
    # Names become names of files in this folder and nowhere else.
    assert all(path.parent == tmp_path for path in written)
    assert len({path.name.lower() for path in written}) == len(written)


def test_the_embedded_data_end_no_script_and_are_the_data() -> None:
    page = html(hostile())
    (data,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert not set("<>&\u2028\u2029") & set(data)
    assert "window.harmed = 2" not in page.split("report-data")[0].replace("&#", "")[:200]


def test_the_page_is_small_and_holds_the_library_once() -> None:
    for report in (simulation([rehearsal("error_spike")]), assessing(odds())):
        page = html(report)
        assert len(page.encode()) < 1_000_000
        assert page.count("window.vegaEmbed=") + page.count("window.vegaEmbed =") == 1
        (library,) = [part for part in page.split("<script>") if "window.vegaEmbed" in part]
        assert len(library) > 800_000


def test_many_rehearsals_stay_below_one_and_a_half_megabytes() -> None:
    from msgspec.structs import replace

    scenario, made = rehearsal("low_traffic_with_deadline")
    pairs = [(scenario, replace(made, scenario=f"{'long-name-' * 5}{n}")) for n in range(60)]
    assert len(html(simulation(pairs)).encode()) < 1_500_000


def test_the_policy_forbids_every_connection() -> None:
    page = html(hostile())
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    policy = policy.replace("&#39;", "'")
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "connect-src" not in policy
    (scripts,) = re.findall(r"script-src ([^;]*)", policy)
    assert all(re.fullmatch(r"'sha256-[A-Za-z0-9+/=]{44}'", each) for each in scripts.split())


@given(text=TEXT)
@settings(max_examples=60)
def test_any_text_comes_back_from_html(text: str) -> None:
    report = Report(
        command="c",
        title="t",
        summary=(printable(text),),
        ok=None,
        sections=(Section(name="s", title="s"),),
    )
    page = _Page(html(report))
    # A parser makes one line feed of a carriage return, and of both.
    assert printable(text).replace("\r\n", "\n").replace("\r", "\n") in page.text


# -- SVG and PNG


def test_a_name_that_is_none_to_see_is_drawn_as_it_is_written() -> None:
    named = assessing(odds(("release\x1b[2J", "strict"), 3))
    for picture in named.pictures:
        text = svg(picture, "odds")
        ElementTree.fromstring(text)
        assert "\x1b" not in text


def test_pictures_are_well_formed_and_fetch_nothing() -> None:
    for picture in simulation([hostile_rehearsal()]).pictures:
        text = svg(picture, "".join(HOSTILE))
        root = ElementTree.fromstring(text)
        tags = {element.tag.split("}")[1] for element in root.iter()}
        assert tags <= {"svg", "g", "path", "rect", "line", "text", "defs", "clipPath"}
        shown = "".join(element.text or "" for element in root.iter())
        assert "<script>window.harmed = 1</script>" in shown
        for element in root.iter():
            for name, value in element.attrib.items():
                assert not name.startswith("on")
                assert "url(" not in value or value.startswith("url(#")
        assert "var(--" not in text
        assert len(text) > 5000


def test_a_png_is_twice_as_wide_as_its_svg() -> None:
    picture = next(iter(simulation([rehearsal("error_spike")]).pictures))
    raw = png(picture, "title")
    width = float(ElementTree.fromstring(svg(picture, "title")).attrib["width"])
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(raw[16:20], "big") == pytest.approx(2 * width, abs=2)


# -- CSV and Parquet


def test_a_table_comes_back_from_csv_and_parquet(tmp_path: Path) -> None:
    for table in assessing(odds()).all_tables:
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names)
        read = list(csv_reader.DictReader(io.StringIO(files.csv(table))))
        assert len(read) == len(table.rows)
        path = tmp_path / f"{table.name}.parquet"
        path.write_bytes(files.parquet(table))
        frames = [polars.read_parquet(path).to_dicts(), arrow.read_table(path).to_pylist()]
        for number, row in enumerate(table.rows):
            cells = dict(zip(names, row, strict=True))
            assert frames[0][number] == frames[1][number] == cells
            for name, cell in cells.items():
                text = read[number][name]
                if isinstance(cell, float | int):
                    assert float(text) == cell
                else:
                    assert text == (cell or "")


def test_parquet_is_written_by_pyarrow_where_polars_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (table, *_) = simulation([rehearsal("error_spike")]).all_tables
    with_polars = files.parquet(table)
    monkeypatch.setattr(files, "find_spec", lambda name: None if name == "polars" else object())
    with_pyarrow = files.parquet(table)
    assert with_polars != with_pyarrow
    frames = [polars.read_parquet(io.BytesIO(raw)) for raw in (with_polars, with_pyarrow)]
    assert frames[0].to_dicts() == frames[1].to_dicts()


def test_a_spreadsheet_runs_nothing() -> None:
    rows = tuple((text,) for text in ("=1+1", "+1", "-1", "@sum", "\tx", "plain", "a=b"))
    table = Table(name="t", title="t", columns=(Column("a", "a"),), rows=(*rows, (-1.5,)))
    read = [row[0] for row in csv_reader.reader(io.StringIO(files.csv(table)))][1:]
    assert read == ["'=1+1", "'+1", "'-1", "'@sum", "\\tx", "plain", "a=b", "-1.5"]


# -- Markdown, read by another project's CommonMark parser


def rendered(text: str) -> _Page:
    return _Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))


def test_hostile_text_is_text_in_markdown() -> None:
    text = markdown(hostile())
    page = rendered(text)
    allowed = {"h3", "h4", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
    assert set(page.tags) <= allowed | {"details", "summary", "pre", "code"}
    assert [name for name, _ in page.attributes] == ["class"]
    words = " ".join(page.text.replace("\u200b", "").split())
    for each in HOSTILE:
        assert " ".join(printable(each).split()) in words, each
    # What GitHub looks for in the text itself.
    story = text.split("```")[0]
    assert not re.search(r"@\w|#\d|://|www\.\w|:smile:", story)


@given(text=TEXT)
@settings(max_examples=150)
def test_any_text_comes_back_from_markdown(text: str) -> None:
    text = printable(text)
    page = rendered(f"{escaped(text)}\n\n| a |\n| --- |\n| {escaped(text)} |\n")
    wanted = " ".join(text.split())
    assert set(page.tags) <= {"p", "table", "thead", "tbody", "tr", "th", "td"}
    assert page.text.replace("\u200b", "").count(wanted) >= (2 if wanted else 0)


def test_markdown_is_short_and_says_what_is_not_as_expected() -> None:
    text = markdown(unexpected())
    assert len(text) < 20_000
    assert text.startswith("### ❌ ")
    assert "expected completed, actual rolled\\_back" in text
    assert "<details><summary>What happened</summary>" in text
    good = markdown(simulation([rehearsal("healthy")]))
    assert good.startswith("### ✅ ")
    assert "<details>" not in good


def test_markdown_fits_into_a_comment() -> None:
    rows = tuple((f"row {n}", "x" * 900) for n in range(500))
    columns = (Column("a", "a"), Column("b", "b"))
    tables = tuple(Table(name=f"t{n}", title="t", columns=columns, rows=rows) for n in range(5))
    text = markdown(Report(command="c", title="t", summary=(), ok=None, tables=tables))
    assert "and 440 more" in text
    assert "the rest is in the other formats" in text
    assert len(text) < 65_536


# -- JUnit, read by junitparser and by the standard library


def test_junit_says_what_was_expected_and_what_came() -> None:
    text = junit(printable_report(unexpected()))
    made = junitparser.JUnitXml.fromstring(text.encode())
    suites = {suite.name: suite for suite in made}
    assert set(suites) == {"healthy", "contract_violation_first_minute"}
    bad = suites["contract_violation_first_minute"]
    assert (bad.tests, bad.failures, bad.errors, bad.skipped) == (1, 1, 0, 0)
    (case,) = bad
    (failure,) = case.result
    assert isinstance(failure, junitparser.Failure)
    assert failure.message == "expected completed, actual rolled_back"
    assert "stage canary_5 entered" in failure.text
    good = suites["healthy"]
    assert good.failures == 0
    assert good.tests == len(list(good)) > 1
    assert (made.tests, made.failures) == (bad.tests + good.tests, 1)
    own: Any = bad
    about = {each.name: each.value for each in own.properties()}["about"]
    for hostile_text in HOSTILE:
        # An attribute's white space is one space to every reader of XML.
        assert " ".join(printable(hostile_text).split()) in " ".join(about.split())


def test_junit_uses_the_words_that_pytest_uses(tmp_path: Path) -> None:
    """pytest's own JUnit file of a failed, a skipped and a passed test is the model."""
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_a(record_property):\n    record_property('a', 'b')\n    print('out')\n"
        "def test_b():\n    assert 0\n"
        "@pytest.mark.skip\ndef test_c(): pass\n"
    )
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--junitxml=j.xml",
            "-o",
            "junit_logging=all",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    known: dict[str, set[str]] = {}
    for element in ElementTree.parse(tmp_path / "j.xml").iter():
        known.setdefault(element.tag, set()).update(element.attrib)
    known["failure"].add("type")
    for kind in ("testsuites",):
        # Jenkins, GitLab and GitHub's readers take the sums there too; pytest leaves them out.
        known[kind] |= {"tests", "failures", "errors", "skipped"}
    silent = Suite(name="silent", about="", cases=())
    report = unexpected()
    text = junit(
        Report(command="c", title="t", summary=(), ok=None, suites=(*report.suites, silent))
    )
    for element in ElementTree.fromstring(text).iter():
        assert element.tag in known
        assert set(element.attrib) <= known[element.tag], element.tag


def test_a_scenario_that_expects_nothing_is_skipped_and_not_passed() -> None:
    suite = Suite(name="silent", about="", cases=())
    report = Report(command="simulate", title="t", summary=(), ok=None, suites=(suite,))
    (read,) = junitparser.JUnitXml.fromstring(junit(report).encode())
    assert (read.tests, read.skipped, read.failures) == (1, 1, 0)


@given(text=st.text(max_size=40))
@settings(max_examples=100)
def test_any_text_comes_back_from_junit(text: str) -> None:
    """Control characters and lone surrogates, which no XML may hold, as signs for them."""
    case = Case(name=text, expected=text, actual=text, ok=False)
    suite = Suite(name=text, about=text, cases=(case,), story=(text,))
    report = Report(command="c", title=text, summary=(), ok=False, suites=(suite,))
    read = ElementTree.fromstring(junit(printable_report(report)))
    found = read.find("testsuite")
    assert found is not None
    assert found.get("name") == printable(text)


@given(text=st.text(max_size=60))
def test_printable_text_stays_as_it_is(text: str) -> None:
    once = printable(text)
    assert printable(once) == once
    if text.isprintable():
        assert once == text
