"""A report as JUnit XML, which every CI reads: a suite for each rehearsal, a case for each
expectation.

There are no times in it: a rehearsal's own seconds are no seconds of the machine.
"""

from __future__ import annotations

from xml.etree import ElementTree

from .report import Report, Suite

__all__ = ["junit"]


def junit(report: Report) -> str:
    """The whole document.

    A suite that states nothing has one case, which is skipped: it says so.
    """
    suites = [_suite(report, suite) for suite in report.suites]
    root = ElementTree.Element("testsuites", {"name": f"canario {report.command}"} | _sums(suites))
    root.extend(suites)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _suite(report: Report, suite: Suite) -> ElementTree.Element:
    failed = [case for case in suite.cases if not (case.ok or case.by_chance)]
    chance = [case for case in suite.cases if case.by_chance]
    made = ElementTree.Element(
        "testsuite",
        {
            "name": suite.name,
            "tests": str(max(1, len(suite.cases))),
            "failures": str(len(failed)),
            "errors": "0",
            "skipped": str(len(chance) if suite.cases else 1),
        },
    )
    properties = ElementTree.SubElement(made, "properties")
    for name, value in (("about", suite.about), *suite.properties):
        ElementTree.SubElement(properties, "property", {"name": name, "value": value})
    group = f"canario.{report.command}.{suite.name}"
    story = "\n".join(suite.story)
    for case in suite.cases:
        one = ElementTree.SubElement(made, "testcase", {"classname": group, "name": case.name})
        said = f"expected {case.expected}, actual {case.actual}"
        if case.by_chance:
            # JUnit has no word for it; what is skipped fails nothing and is seen.
            ElementTree.SubElement(
                one, "skipped", {"message": f"by chance: {said}; {case.by_chance}"}
            )
        elif not case.ok:
            failure = ElementTree.SubElement(
                one, "failure", {"message": said, "type": "NotAsExpected"}
            )
            failure.text = f"{case.name}: {said}\n\n{story}"
    if not suite.cases:
        one = ElementTree.SubElement(made, "testcase", {"classname": group, "name": "expectations"})
        ElementTree.SubElement(one, "skipped", {"message": "nothing is expected here"})
    if story:
        ElementTree.SubElement(made, "system-out").text = story
    return made


def _sums(suites: list[ElementTree.Element]) -> dict[str, str]:
    return {
        name: str(sum(int(suite.get(name, "0")) for suite in suites))
        for name in ("tests", "failures", "errors", "skipped")
    }
