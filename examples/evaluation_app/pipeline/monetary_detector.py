"""monetary_detector: amounts of Colombian pesos, read to whole pesos.

`find_figures` is version one: amounts written out to the last peso. `find_amounts` is the
improvement of version two: scales (`1.200 millones`), numbers in words and ranges as well.
In both a point groups thousands, an apostrophe millions, and a comma opens the decimals.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from .finding import Finding, quoted

if TYPE_CHECKING:
    from .document_segmenter import Document

__all__ = ["find_amounts", "find_figures"]

_SIGN = r"(?:\$ ?|\bcop ?)"
_PESOS = r"(?: (?:de )?(?:pesos|cop)\b)"
_SCALE = r"(?:mil millones|millon(?:es)?+|billon(?:es)?+|mil)\b"
_SCALES = {
    "mil": 10**3,
    "millon": 10**6,
    "millones": 10**6,
    "mil millones": 10**9,
    "billon": 10**12,
    "billones": 10**12,
}

# Possessive throughout: a figure is read whole or not at all, never `1.200` out of `1.200.000`.
_GROUPED = r"\d{1,3}(?:[.']\d{3})++(?:,\d{1,2}+)?+"
_NOT_INSIDE_A_FIGURE = r"(?<![\d.,'])"
_FIGURE = re.compile(
    rf"(?:{_SIGN}(?P<signed>{_GROUPED})|{_NOT_INSIDE_A_FIGURE}(?P<bare>{_GROUPED})(?={_PESOS}))"
    rf"(?!\d)(?! {_SCALE})"
)

_TO_TWENTY_NINE = """
    cero un dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince
    dieciseis diecisiete dieciocho diecinueve veinte veintiun veintidos veintitres veinticuatro
    veinticinco veintiseis veintisiete veintiocho veintinueve
"""
_TENS = "treinta cuarenta cincuenta sesenta setenta ochenta noventa"
_HUNDREDS = """
    cien doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos
    novecientos
"""
_NUMERALS = (
    {word: value for value, word in enumerate(_TO_TWENTY_NINE.split())}
    | {word: 10 * value for value, word in enumerate(_TENS.split(), 3)}
    | {word: 100 * value for value, word in enumerate(_HUNDREDS.split(), 1)}
    | {"ciento": 100}
)

# `treinta y cinco` is one number, `entre cuatro y seis` is two.
_NUMERAL = (
    rf"(?:(?:{'|'.join(_TENS.split())}) y (?:{'|'.join(_TO_TWENTY_NINE.split()[1:10])})"
    rf"|{'|'.join(_NUMERALS)})\b"
)
_NUMBER = (
    rf"(?:{_NOT_INSIDE_A_FIGURE}(?:{_GROUPED}|\d++(?:,\d{{1,2}}+)?+)(?![.,']?\d)"
    # `mil` inside a number is part of it; at the end it is the scale, and a range may share it.
    rf"|\b(?:{_NUMERAL}|mil\b)(?: {_NUMERAL}| mil(?= {_NUMERAL}))*+)"
)


def _quantity(suffix: str) -> str:
    return (
        rf"(?P<sign{suffix}>{_SIGN})?+(?P<number{suffix}>{_NUMBER})"
        rf"(?: (?P<scale{suffix}>{_SCALE}))?+(?P<pesos{suffix}>{_PESOS})?+"
    )


# A range first: `entre 300 y 450 millones de pesos` is not 450 millions with a preface.
_AMOUNT = re.compile(
    rf"\b(?:entre|de) {_quantity('_low')} (?:y|a) {_quantity('_high')}|{_quantity('')}"
)


def find_figures(document: Document) -> list[Finding]:
    """Version one: `$1.250.000.000`, `COP 3.400.000` and `350.000.000 de pesos`.

    A figure with a scale behind it (`$1.200 millones`) is left alone: read as it stands it would
    be wrong by a factor of a million.
    """
    found = []
    for match in _FIGURE.finditer(document.folded):
        pesos = _pesos(match["signed"] or match["bare"], None)
        found.append(_amount(document, match, pesos, pesos))
    return found


def find_amounts(document: Document) -> list[Finding]:
    """Version two: all of version one, scales, numerals in words, and ranges with two bounds.

    A number counts as money only with a currency beside it: a sign before or `pesos` after.
    """
    return [
        _amount(document, match, *_bounds(match))
        for match in _AMOUNT.finditer(document.folded)
        if _is_priced(match)
    ]


def _amount(document: Document, match: re.Match[str], low: int, high: int) -> Finding:
    return quoted(document, "amount", match.start(), match.end(), pesos_min=low, pesos_max=high)


def _is_priced(match: re.Match[str]) -> bool:
    return any(
        text is not None
        for name, text in match.groupdict().items()
        if name.startswith(("sign", "pesos"))
    )


def _bounds(match: re.Match[str]) -> tuple[int, int]:
    if match["number"] is not None:
        pesos = _pesos(match["number"], match["scale"])
        return pesos, pesos
    high = _pesos(match["number_high"], match["scale_high"])
    # `entre 300 y 450 millones` names the scale once, `entre 950.000 y 2 millones` means it once.
    shared = _pesos(match["number_low"], match["scale_low"] or match["scale_high"])
    low = shared if shared <= high else _pesos(match["number_low"], match["scale_low"])
    return min(low, high), max(low, high)


def _pesos(number: str, scale: str | None) -> int:
    value = _figure(number) if number[0].isdigit() else _words(number.split())
    return round(value * (_SCALES[scale] if scale else 1))


def _figure(figure: str) -> Decimal:
    return Decimal(figure.replace(".", "").replace("'", "").replace(",", "."))


def _words(words: list[str]) -> int:
    thousands = below = 0
    for word in words:
        if word == "mil":
            thousands, below = 1000 * max(below, 1), 0
        else:
            below += _NUMERALS.get(word, 0)  # `y` adds nothing
    return thousands + below
