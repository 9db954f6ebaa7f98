"""What the queries of an OpenSLO indicator are about, as far as their text tells. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

__all__ = ["IndicatorText"]

_UNIT = re.compile(r"_(?:(?P<seconds>seconds)|(?P<milliseconds>milliseconds|ms))(?![a-z0-9])")
# The upper edge of a histogram's bucket, as a selector has it.
_EDGE = re.compile(r"""\ble\s*(=~|!=|!~|=)\s*(?:"([^"]*)"|'([^']*)')""")

# A quantile as a share (histogram_quantile(0.99, …), quantile="0.99") or in percent (p99,
# percentile(duration, 99), ALIGN_PERCENTILE_99).
_SHARE = re.compile(
    r"""quantile\w*\s*(?:\(|=~?\s*["'])\s*(?P<share>[01]?\.\d+|[01](?![\d.]))"""
    r"""|quantile\w*\s*\([^()]*?,\s*(?P<last>0?\.\d+)\s*\)"""
)
_PERCENT = re.compile(
    r"(?<![a-z0-9])p(?P<short>\d{2,3}(?:[._]\d+)?)(?![a-z0-9])"
    r"|percentile\w*?(?:_|\s*\((?:[^()]*,)?\s*)(?P<long>\d{1,2}(?:\.\d+)?)",
    re.IGNORECASE,
)
_SOME_QUANTILE = re.compile(r"quantile|percentile", re.IGNORECASE)
_MEAN = re.compile(
    r"(?<![a-z0-9])(avg|average|mean|median|min|max|minimum|maximum)(?![a-z0-9])|_sum(?![a-z0-9])",
    re.IGNORECASE,
)
_LATENCY = re.compile(
    r"latenc|duration|elapsed|(?:response|request)[ _.-]?times?(?![a-z])|_bucket(?![a-z])|"
    r"histogram_quantile|(?<![a-z])(?:slow|fast|apdex)(?![a-z])",
    re.IGNORECASE,
)
# A histogram's count is one of requests, whatever they are measured in.
_COUNT = re.compile(r"[\w.:]+_count(?![a-z0-9])", re.IGNORECASE)


class IndicatorText:
    """All text below an indicator, whatever its data source is."""

    def __init__(self, indicator: Any) -> None:
        self._text = "\n".join(_texts(indicator))

    @property
    def tells_latency(self) -> bool:
        """Whether it speaks of how long something takes."""
        return _LATENCY.search(_COUNT.sub(" ", self._text)) is not None

    @property
    def units(self) -> set[str]:
        """The units of time that its metrics' names tell."""
        return {match.lastgroup or "" for match in _UNIT.finditer(self._text)}

    @property
    def edges(self) -> tuple[set[Decimal], set[str]]:
        """The finite edges of the buckets that are counted, and selectors of more than one."""
        found, unclear = set(), set()
        for operator, double, single in _EDGE.findall(self._text):
            text = double or single
            try:
                edge = Decimal(text)
            except InvalidOperation:
                unclear.add(text)
                continue
            if operator != "=":
                unclear.add(text)
            elif edge.is_finite():
                found.add(edge)
        return found, unclear

    @property
    def percentiles(self) -> set[Decimal]:
        """The percentiles that it asks for."""
        shares = [match["share"] or match["last"] for match in _SHARE.finditer(self._text)]
        found = {Decimal(share) * 100 for share in shares}
        for match in _PERCENT.finditer(self._text):
            text = (match["short"] or match["long"]).replace("_", ".")
            # p999 is how people write the 99.9th.
            exact = Decimal(f"{text[:2]}.{text[2:]}" if len(text) == 3 else text)
            found.add(exact)
        return found

    @property
    def other_statistic(self) -> str | None:
        """A mean, a maximum or a quantile that is no number, in its own word; None for neither."""
        quantile = _SOME_QUANTILE.search(self._text)
        found = quantile or _MEAN.search(self._text)
        return None if found is None else found[0].lstrip("_")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value is not None:
        yield str(value)
