"""responsibility_detector: who answers for a promise, when the plan names somebody."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .finding import Finding, quoted

if TYPE_CHECKING:
    from .document_segmenter import Document

__all__ = ["find_responsible"]

_HEAD = (
    "Secretaría|Subsecretaría|Oficina|Alcaldía|Dirección|Instituto|Comisaría|Personería|Gerencia|"
    "Empresa|Consejo|Comité|Unidad|Departamento|Hospital|Corporación|Inspección|Despacho|Mesa|"
    "Coordinación|Casa|Institución|Consejería|E\\.S\\.E\\."
)
# The name goes on over small words as long as a capital follows: `Secretaría de Salud y Familia`.
_ENTITY = (
    rf"(?P<entity>(?:{_HEAD})\b(?:(?: (?:de|del|la|las|los|el|y|e|para|con)){{0,3}}"
    r" [A-ZÁÉÍÓÚÑ][\wáéíóúñ]*+){0,8})"
)
_ARTICLE = r"(?: ?:)?(?: (?:el|la|los|las|l))?"
_BEFORE = (
    rf"(?:a cargo de|responsabilidad de|responsables?(?: será[n]?| es| son)?|"
    rf"lidera(?:do|da|dos|das) por|ejecuta(?:do|da|dos|das) por|coordina(?:do|da|dos|das) por)"
    rf"(?:l)?{_ARTICLE} "
)
_AFTER = (
    r"(?: municipal)? (?:será (?:la |el )?responsable|responderá|liderará|coordinará|ejecutará|"
    r"tendrá a su cargo|se encargará|asumirá)"
)
_NAMED_AFTER = re.compile(rf"\b(?i:{_BEFORE}){_ENTITY}")
_NAMED_BEFORE = re.compile(rf"\b{_ENTITY}{_AFTER}")


def find_responsible(document: Document) -> list[Finding]:
    """Every entity that is made responsible by name; `las entidades competentes` is nobody."""
    found = {
        match.start("entity"): quoted(
            document, "responsible", match.start(), match.end(), entity=match["entity"]
        )
        for pattern in (_NAMED_AFTER, _NAMED_BEFORE)
        for match in pattern.finditer(document.text)
    }
    return [found[start] for start in sorted(found)]
