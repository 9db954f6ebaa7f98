"""The response contract of `POST /evaluate`: its shape as types, its sums and citations as checks.

Every version of the app promises this, so it lives apart from the pipeline and imports nothing
from it. Unknown fields are allowed: a later version may add, it may not take away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from canario.contracts import Violation, model_contract

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CONTRACTS",
    "DocumentSummary",
    "Evaluation",
    "Evidence",
    "Question",
    "Right",
    "Total",
    "evaluation_contract",
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


# A 200 alone: an error status is judged by its own count.
_shape = model_contract(Evaluation, name="evaluation", statuses=[200])
_decoder = msgspec.json.Decoder(Evaluation)


def evaluation_contract(
    route: str, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> object:
    """What is wrong with a response of `POST /evaluate`: a `Violation`, or nothing."""
    answer = _shape(route, status, headers, body)
    if answer is not None:
        return answer
    evaluation = _decoder.decode(body)
    wrong = _wrong_citation(evaluation) or _wrong_sum(evaluation)
    return None if wrong is None else _violation(route, *wrong)


CONTRACTS = {"/evaluate": evaluation_contract}


def _violation(route: str, message: str, rule: str, path: str) -> Violation:
    return Violation(message=message, contract="evaluation", rule=rule, path=path, route=route)


# What is wrong, the rule that it breaks, and a JSON pointer to it.
_Wrong = tuple[str, str, str]


def _wrong_citation(evaluation: Evaluation) -> _Wrong | None:
    known = {evidence.id for evidence in evaluation.evidence}
    if len(known) != len(evaluation.evidence):
        return "two pieces of evidence share an id", "unique", "/evidence"
    for number, question in enumerate(evaluation.questions):
        for cited in question.evidence:
            if cited not in known:
                message = f"question {question.id} cites {cited}, which is not in the registry"
                return message, "citation", f"/questions/{number}/evidence"
    return None


def _wrong_sum(evaluation: Evaluation) -> _Wrong | None:
    if len({question.id for question in evaluation.questions}) != len(evaluation.questions):
        return "two questions share an id", "unique", "/questions"
    points = dict.fromkeys(range(1, RIGHTS + 1), 0)
    for question in evaluation.questions:
        points[question.right] += question.score
    if {right.number: right.points for right in evaluation.rights} != points:
        return "the points of the rights are not the sums of their questions", "sum", "/rights"
    total, scored = evaluation.total, sum(points.values())
    maximum = 100 * len(evaluation.questions)
    if (total.points, total.maximum) != (scored, maximum):
        stated = f"the total is {total.points} of {total.maximum}"
        return f"{stated}; the questions add up to {scored}", "sum", "/total"
    exact = 100 * scored / maximum
    if abs(total.percent - exact) > 0.05:
        message = f"the percentage is {total.percent}; the total makes it {exact:.2f}"
        return message, "sum", "/total/percent"
    return None
