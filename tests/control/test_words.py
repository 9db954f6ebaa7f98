"""What is said of events, durations and broken contracts, word for word."""

from __future__ import annotations

from typing import Any

import pytest

from canario.control.events import (
    Aborted,
    Checked,
    Event,
    Held,
    Paused,
    Promoted,
    Restarted,
    Resumed,
    RollbackReason,
    RolledBack,
    StageEntered,
    Started,
    Unwatched,
    decided,
)
from canario.control.violation import Violation
from canario.control.words import describe, seconds_in_words
from canario.judges.verdict import Trigger, Verdict, VerdictKind
from canario.plan import Deployment, Stage

PLAN = Deployment(deployment_id="short", canary_stages=(Stage(5, 20), Stage(50, 5400)))
VERDICT = Verdict(
    kind=VerdictKind.UNHEALTHY,
    samples=30,
    needed=30,
    why="12 of 30 failed",
    trigger=Trigger.ERROR_RATE,
)
HELD = Held(at=1, stage=0, samples=1, needed=3, without_key=7, key_sources=("user", "client"))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (7.5, "7.5 s"),
        (59.99, "59.99 s"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (2700, "45 min"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (90061.5, "25 h 1 min 1.5 s"),
    ],
)
def test_a_duration_is_said_as_a_person_would(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Started(at=0, deployment=PLAN), "rollout of short started"),
        (
            StageEntered(at=0, stage=1, percentage=50),
            "stage canary_50 entered: 50 % of the keys for 1 h 30 min",
        ),
        (
            StageEntered(at=0, stage=0, percentage=5, by="operator"),
            "stage canary_5 entered by the operator: 5 % of the keys for 20 s",
        ),
        (Checked(at=0, stage=0, verdict=VERDICT), "unhealthy: 12 of 30 failed"),
        (
            Held(at=1, stage=0, samples=1, needed=3),
            "held: 1 of the 3 samples needed have come",
        ),
        (
            HELD,
            "held: 1 of the 3 samples needed have come; 7 requests of this stage had no key and "
            "went to the baseline (asked: user, client)",
        ),
        (
            Held(at=1, stage=0, samples=1, needed=3, without_key=7),
            "held: 1 of the 3 samples needed have come; 7 requests of this stage had no key and "
            "went to the baseline (asked: no source)",
        ),
        (Paused(at=1, stage=0), "paused by the operator"),
        (Paused(at=1, stage=0, by="deadline"), "paused at the deadline"),
        (Resumed(at=1, stage=0), "resumed by the operator"),
        (
            Unwatched(at=602, stage=0, since=2),
            "nobody watched for 10 min: the hold goes on where it stood",
        ),
        (
            Unwatched(at=2, stage=0, since=602, restart=True),
            "taken up by another process: the hold goes on where it stood",
        ),
        (Restarted(at=1), "sent back to the first stage by the operator"),
        (
            RolledBack(at=1, stage=0, reason=RollbackReason.ERROR_RATE, verdict=VERDICT),
            "rolled back, error_rate: 12 of 30 failed",
        ),
        (
            RolledBack(
                at=1,
                stage=0,
                reason=RollbackReason.CONTRACT_VIOLATION,
                verdict=VERDICT,
                violation=Violation(message="no score"),
            ),
            "rolled back, contract_violation: 12 of 30 failed (no score)",
        ),
        (Promoted(at=1), "promoted: 100 % of the keys"),
        (Promoted(at=1, by="deadline"), "promoted at the deadline: 100 % of the keys"),
        (Aborted(at=1, stage=0), "aborted by the operator: everything goes to the baseline"),
    ],
)
def test_an_event_is_said_in_one_sentence(event: Event, words: str) -> None:
    assert describe(event, PLAN) == words


def test_a_line_of_a_log_stays_one() -> None:
    broken = Violation(message="a\nb")
    reason = RollbackReason.CONTRACT_VIOLATION
    event = RolledBack(at=1, stage=0, reason=reason, verdict=VERDICT, violation=broken)
    assert "\n" not in describe(event, PLAN)


@pytest.mark.parametrize(
    ("violation", "words"),
    [
        (Violation(message="no score"), "no score"),
        (Violation(message="no score", path="/a"), "no score at /a"),
        (Violation(message="no score", path=""), "no score"),
        (Violation(message="no score", rule="required"), "no score (required)"),
        (Violation(message="no score", contract="score"), "score: no score"),
        (Violation(message="no score", route="/e"), "/e: no score"),
        (
            Violation(message="no score", contract="score", rule="type", path="/a", route="/e"),
            "/e: score: no score at /a (type)",
        ),
    ],
)
def test_a_broken_contract_says_where(violation: Violation, words: str) -> None:
    assert str(violation) == words


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("no score", "no score"),
        ("né", "né"),
        ("half a pair: \ud800", "half a pair: \\ud800"),
        (3.5, "3.5"),
        (None, None),
    ],
)
def test_what_is_said_of_a_body_can_be_written_down(given: Any, kept: str | None) -> None:
    broken = Violation(message="x", path=given, route=given)
    assert (broken.message, broken.path, broken.route) == ("x", kept, kept)


def test_what_was_decided_does_not_depend_on_who_had_a_key() -> None:
    others: list[Event] = [Promoted(at=2), Aborted(at=3, stage=0)]
    bare = Held(at=1, stage=0, samples=1, needed=3)
    assert decided([HELD, *others]) == (bare, *others)
