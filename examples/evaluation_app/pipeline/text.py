"""What the components share about Spanish text: folding, words, stems."""

from __future__ import annotations

import re

__all__ = ["content_stems", "fold", "stem"]

# One character for one character, so that an offset in the folded text is one in the text.
# The dotted capital I is the only character whose lower case is longer than itself.
_ACCENTS = str.maketrans("áéíóúüÁÉÍÓÚÜİ", "aeiouuaeiouui")
_WORD = re.compile(r"[a-zñ]{2,}")
_SUFFIX = re.compile(r"(?<=[a-zñ]{4})(?:es|as|os|s|a|o|e)$")

_SMALL_WORDS = """
    al ante aquel asi aun bajo cada como con cual cuales cuando cuya cuyo de del desde donde el
    ella ellas ellos en entre era es esa ese eso esta estan estas este esto estos fue ha haber
    habra hacia han hasta hay la las le les lo los mas me mismo muy ni no nos nuestra nuestro o
    otra otras otro otros para pero por porque que quien quienes se sea sean segun ser sera seran
    si sido sin sobre son su sus tal tambien tan tanto tiene tienen toda todas todo todos tras un
    una uno unos ya
"""
_STOP_WORDS = frozenset(_SMALL_WORDS.split())


def fold(text: str) -> str:
    """Lower case without accents, of the same length as `text`; ñ stays a letter of its own."""
    return text.translate(_ACCENTS).lower()


def stem(word: str) -> str:
    """A folded word without number and gender, at most nine letters: `viviendas` is `viviend`."""
    return _SUFFIX.sub("", word)[:9]


def content_stems(folded: str) -> list[str]:
    """The stems of the words that carry meaning, in order and with repetitions."""
    return [stem(word) for word in _WORD.findall(folded) if word not in _STOP_WORDS]
