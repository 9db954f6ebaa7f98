"""The response contract of `POST /evaluate`: its shape as types, its sums and citations as checks.

Every version of the app promises this, so it lives apart from the pipeline and imports nothing
from it. Unknown fields are allowed: a later version may add, it may not take away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "DocumentSummary",
    "Evaluation",
    "Evidence",
    "Question",
    "Right",
    "Total",
    "response_contract",
]

RIGHTS = 10
QUESTIONS_PER_RIGHT = 3

Score = Annotated[int, Meta(ge=0, le=100)]
Count = Annotated[int, Meta(ge=0)]
EvidenceId = Annotated[str, Meta(pattern="^ev-[0-9a-f]{16}$")]
NonEmpty = Annotated[str, Meta(min_length=1)]

Aspect = Literal["diagnosis", "resources", "change"]
Kind = Literal[
    "amount",
    "baseline",
    "causal_link",
    "chain",
    "contradiction",
    "deadline",
    "responsible",
    "target",
]


class DocumentSummary(Struct, frozen=True):
    """How much text was read."""

    sections: Count
    paragraphs: Count
    sentences: Count
    words: Count


class Evidence(Struct, frozen=True):
    """One quotation of the plan, kept once however often the plan repeats it."""

    id: EvidenceId
    kind: Kind
    quote: NonEmpty
    section: str
    paragraphs: Annotated[list[Count], Meta(min_length=1)]
    value: dict[str, str | int | list[str]]


class Question(Struct, frozen=True):
    """A question, its score (the mean of its criteria) and the evidence the score rests on."""

    id: NonEmpty
    right: Annotated[int, Meta(ge=1, le=RIGHTS)]
    aspect: Aspect
    text: NonEmpty
    score: Score
    criteria: Annotated[dict[str, Score], Meta(min_length=1)]
    passages: list[Count]
    evidence: list[EvidenceId]


class Right(Struct, frozen=True):
    """One right of the decalogue and the sum of its three scores."""

    number: Annotated[int, Meta(ge=1, le=RIGHTS)]
    name: NonEmpty
    points: Annotated[int, Meta(ge=0, le=100 * QUESTIONS_PER_RIGHT)]


class Total(Struct, frozen=True):
    """The sum over all questions, out of `maximum`."""

    points: Count
    maximum: Count
    percent: Annotated[float, Meta(ge=0, le=100)]


class Evaluation(Struct, frozen=True):
    """The whole answer."""

    version: Annotated[int, Meta(ge=1)]
    components: Annotated[list[NonEmpty], Meta(min_length=11, max_length=11)]
    document: DocumentSummary
    total: Total
    rights: Annotated[list[Right], Meta(min_length=RIGHTS, max_length=RIGHTS)]
    questions: Annotated[
        list[Question],
        Meta(min_length=RIGHTS * QUESTIONS_PER_RIGHT, max_length=RIGHTS * QUESTIONS_PER_RIGHT),
    ]
    evidence: list[Evidence]


_decoder = msgspec.json.Decoder(Evaluation)


def response_contract(
    route: str, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
) -> str | None:
    """Say what is wrong with a response, or None when it keeps the contract.

    Only a 200 of the route `/evaluate` is judged: an error status is judged by its own count.
    """
    if route != "/evaluate" or status != 200:
        return None
    if not _is_json(headers):
        return "the content type is not application/json"
    try:
        evaluation = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return str(error)
    return _wrong_citation(evaluation) or _wrong_sum(evaluation)


def _is_json(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    types = [value for name, value in headers if name.lower() == b"content-type"]
    return len(types) == 1 and types[0].split(b";")[0].strip().lower() == b"application/json"


def _wrong_citation(evaluation: Evaluation) -> str | None:
    known = {evidence.id for evidence in evaluation.evidence}
    if len(known) != len(evaluation.evidence):
        return "two pieces of evidence share an id"
    for question in evaluation.questions:
        for cited in question.evidence:
            if cited not in known:
                return f"question {question.id} cites {cited}, which is not in the registry"
    return None


def _wrong_sum(evaluation: Evaluation) -> str | None:
    if len({question.id for question in evaluation.questions}) != len(evaluation.questions):
        return "two questions share an id"
    points = dict.fromkeys(range(1, RIGHTS + 1), 0)
    for question in evaluation.questions:
        points[question.right] += question.score
    if {right.number: right.points for right in evaluation.rights} != points:
        return "the points of the rights are not the sums of their questions"
    total, scored = evaluation.total, sum(points.values())
    maximum = 100 * len(evaluation.questions)
    if (total.points, total.maximum) != (scored, maximum):
        return f"the total is {total.points} of {total.maximum}; the questions add up to {scored}"
    if abs(total.percent - 100 * scored / maximum) > 0.05:
        return f"the percentage is {total.percent}; the total makes it {100 * scored / maximum:.2f}"
    return None
