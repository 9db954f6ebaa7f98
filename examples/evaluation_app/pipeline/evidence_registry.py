"""evidence_registry: every finding once, under an id that only its content decides."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
from examples.evaluation_app.contract import Evidence

from .text import fold

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .document_segmenter import Document
    from .finding import Finding

__all__ = ["evidence_id", "register"]


def evidence_id(finding: Finding) -> str:
    """`ev-` and 16 hex digits of what was found, wherever: the same in every version.

    The reading counts beside the quotation, as one sentence may hold two causes.
    """
    content = (finding.kind, fold(finding.quote), finding.value)
    encoded = msgspec.json.encode(content, order="deterministic")
    return "ev-" + blake2b(encoded, digest_size=8).hexdigest()


def register(document: Document, findings: Iterable[Finding]) -> list[Evidence]:
    """One record for each distinct finding, with all the paragraphs it stands in."""
    first: dict[str, Finding] = {}
    paragraphs: dict[str, set[int]] = {}
    for finding in findings:
        identity = evidence_id(finding)
        first.setdefault(identity, finding)
        paragraphs.setdefault(identity, set()).update(finding.paragraphs)
    records = [
        Evidence(
            id=identity,
            kind=finding.kind,
            quote=finding.quote,
            section=document.paragraphs[min(paragraphs[identity])].section,
            paragraphs=sorted(paragraphs[identity]),
            value=finding.value,
        )
        for identity, finding in first.items()
    ]
    return sorted(records, key=lambda record: (record.kind, record.paragraphs, record.id))
