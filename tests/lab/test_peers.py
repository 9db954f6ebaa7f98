"""Peers: closed forms hold, worked out and through the real controller; and known traps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from msgspec.structs import replace
from scipy import stats
from tests.lab.worlds import experiment, here, scenario

from canario.config import ConfigError
from canario.control.events import Checked, StageEntered, Started
from canario.controller import CanaryDeploymentController
from canario.metrics.counts import Counts
from canario.plan import Plan
from canario.testing import ManualClock
from canario_sim import Fate, RecordedRequest, replay_tape
from canario_sim.lab import Condition, Policy, replicate
from canario_sim.lab.intervals import wilson
from canario_sim.peers import PRESETS, Argo, Flagger, Kayenta, Peer, peer_named
from canario_sim.scenario.broken_contracts import ByRate

# A healthy service with 0.5 % errors, checks of 50 requests that ask for 99 % of successes, ten
# passes needed.
ERRORS = 0.005
REQUESTS = 50
PASSES = 10
FAILS = 1 - (1 - ERRORS) ** REQUESTS  # one error is 2 % of 50 already

FLAGGER = Flagger(step_weight=5, max_weight=50, success_rate_percent=99)
ARGO = Argo(
    weights=tuple(5.0 * step for step in range(1, 11)),
    pause_seconds=60,
    interval_seconds=60,
    success_rate_percent=99,
)
LENIENT = replace(ARGO, failure_limit=3)

CLOSED_FORMS = [
    # Failed when five checks fail before ten pass: five or more of the first fourteen.
    pytest.param(FLAGGER, stats.binom.sf(4, PASSES + 4, FAILS), 0.181, id="flagger"),
    # When any of the ten measurements fails.
    pytest.param(ARGO, 1 - (1 - FAILS) ** PASSES, 0.918, id="argo"),
    # When more than three of them do.
    pytest.param(LENIENT, stats.binom.sf(3, PASSES, FAILS), 0.162, id="argo, failureLimit 3"),
]


@pytest.mark.parametrize(("peer", "worked_out", "published"), CLOSED_FORMS)
def test_a_healthy_service_is_failed_as_often_as_the_closed_form_says(
    peer: Peer, worked_out: float, published: float
) -> None:
    assert round(float(worked_out), 3) == published


@pytest.mark.parametrize(("peer", "worked_out", "published"), CLOSED_FORMS)
def test_and_so_it_is_through_the_real_controller(
    peer: Peer, worked_out: float, published: float
) -> None:
    rollouts = 1200
    errors = np.random.default_rng(1).binomial(REQUESTS, ERRORS, (rollouts, 20))
    failed = sum(_ends(peer, row.tolist()) == "rolled_back" for row in errors)
    low, high = wilson(failed, rollouts, 0.999)
    assert low <= published <= high
    assert high - low < 0.08


def _ends(peer: Peer, errors: list[int]) -> str:
    """How a rollout ends whose canary answers 50 requests a minute, so many of them badly."""
    clock = ManualClock()
    plan = Plan(deployment=replace(peer.deployment(), deployment_id="release"))
    controller = CanaryDeploymentController(plan, clock=clock, judge=peer.judge(), telemetry=False)
    controller.start()
    for bad in errors:
        told = Counts(requests=REQUESTS, errors=bad, timed=REQUESTS)
        controller.observe_counts("canary", told, now=clock.now + 1)
        clock.advance(60)
        controller.tick()
    assert controller.state.phase.terminal
    return str(controller.state.phase)


@pytest.mark.parametrize(("peer", "worked_out", "published"), CLOSED_FORMS)
def test_and_through_the_simulator_request_by_request(
    peer: Peer, worked_out: float, published: float
) -> None:
    rollouts = 100
    rng = np.random.default_rng(2)
    plan = Plan(deployment=replace(peer.deployment(), deployment_id="release"))
    bucket = CanaryDeploymentController(plan, telemetry=False).router.bucket
    key = next(name for name in map("user-{}".format, range(10_000)) if bucket(name) < 5_000)
    at = ((np.arange(REQUESTS * 20) + 0.5) * 60 / REQUESTS).tolist()
    good, bad = (Fate(latency_ms=50, ok=ok) for ok in (True, False))
    failed = 0
    for _ in range(rollouts):
        fails = rng.random(len(at)) < ERRORS
        tape = [
            RecordedRequest(at=instant, key=key, baseline=good, canary=bad if fail else good)
            for instant, fail in zip(at, fails, strict=True)
        ]
        made = replay_tape(plan, tape, horizon_seconds=3600, judge=peer.judge())
        assert made.outcome in ("rolled_back", "completed")
        failed += made.outcome == "rolled_back"
    low, high = wilson(failed, rollouts, 0.999)
    assert low <= published <= high


# -- how each of them acts


def driven(
    peer: Peer, minutes: Sequence[Counts | None], baseline: Counts | None = None
) -> list[str]:
    """The events of a rollout in which the canary does this in each minute, in short."""
    clock = ManualClock()
    plan = Plan(deployment=replace(peer.deployment(), deployment_id="release"))
    controller = CanaryDeploymentController(plan, clock=clock, judge=peer.judge(), telemetry=False)
    controller.start()
    for counts in minutes:
        if counts is not None:
            controller.observe_counts("canary", counts, now=clock.now + 1)
        if baseline is not None:
            controller.observe_counts("baseline", baseline, now=clock.now + 1)
        clock.advance(60)
        controller.tick()
    return [
        f"{event.at:g} {type(event).__name__}"
        + (f" {event.percentage:g}" if isinstance(event, StageEntered) else "")
        for event in controller.events
        if not isinstance(event, Checked | Started)
    ]


GOOD = Counts(requests=1000, timed=1000)
FAILING = Counts(requests=1000, errors=100, timed=1000)
SLOW = Counts(requests=1000, timed=1000, slow=11)  # 1.1 % above the limit: so is the p99


def test_flagger_advances_at_each_passed_check_and_promotes_at_the_largest_weight() -> None:
    assert driven(Flagger(), [GOOD] * 6) == [
        "0 StageEntered 10",
        "60 StageEntered 20",
        "120 StageEntered 30",
        "180 StageEntered 40",
        "240 StageEntered 50",
        "300 Promoted",
    ]


@pytest.mark.parametrize("failing", [FAILING, SLOW, None], ids=["errors", "p99", "no traffic"])
def test_flagger_halts_at_a_failed_check_counts_it_and_goes_on(failing: Counts | None) -> None:
    """Failed checks add up over the whole canary; the tick after the last one rolls back."""
    said = driven(Flagger(threshold=3), [GOOD, failing, GOOD, failing, GOOD, failing, GOOD])
    assert said == [
        "0 StageEntered 10",
        "60 StageEntered 20",
        "120 Held",
        "180 StageEntered 30",
        "240 Held",
        "300 StageEntered 40",
        "360 Held",
        "420 RolledBack",
    ]


def test_flagger_s_limits_are_met_by_what_equals_them() -> None:
    at_the_limit = Counts(requests=1000, errors=10, timed=1000, slow=9)
    assert driven(Flagger(), [at_the_limit] * 6)[-1] == "300 Promoted"


def test_argo_s_steps_go_on_until_the_limit_is_passed() -> None:
    rule = Argo(weights=(20, 60), pause_seconds=120, interval_seconds=60)
    assert driven(rule, [GOOD] * 5) == ["0 StageEntered 20", "120 StageEntered 60", "240 Promoted"]
    assert driven(rule, [GOOD, FAILING]) == ["0 StageEntered 20", "120 RolledBack"]
    lenient = replace(rule, failure_limit=1)
    assert driven(lenient, [FAILING, GOOD, GOOD, FAILING]) == [
        "0 StageEntered 20",
        "120 StageEntered 60",
        "240 RolledBack",
    ]


def test_argo_counts_errors_in_a_row_and_five_of_them_abort() -> None:
    rule = Argo(weights=(20,), pause_seconds=1200, interval_seconds=60)
    assert rule.consecutive_error_limit == 4
    said = driven(rule, [None] * 4 + [GOOD] + [None] * 5)
    assert said == ["0 StageEntered 20", "600 RolledBack"]
    for phase, ending in (("failed", "60 RolledBack"), ("successful", "1200 Promoted")):
        assert driven(replace(rule, no_data=phase), [None] * 20)[-1] == ending


def test_argo_promotes_what_was_never_measured() -> None:
    """The trap: an analysis that is ended before its first measurement counts as a success."""
    rule = Argo(weights=(20, 60), pause_seconds=120, interval_seconds=600)
    assert driven(rule, [FAILING] * 5)[-1] == "240 Promoted"


def test_argo_pauses_for_good_when_it_is_inconclusive() -> None:
    rule = Argo(weights=(20, 60), pause_seconds=60, interval_seconds=60, failure_rate_percent=50)
    assert driven(rule, [FAILING] + [GOOD] * 9) == ["0 StageEntered 20", "60 Held"]


def test_argo_measures_no_more_than_it_is_asked_to() -> None:
    rule = Argo(weights=(20,), pause_seconds=300, interval_seconds=60, count=2)
    assert driven(rule, [GOOD, GOOD, FAILING, FAILING, FAILING])[-1] == "300 Promoted"


def test_argo_s_measurements_need_not_fall_on_its_steps() -> None:
    rule = Argo(weights=(20, 60), pause_seconds=120, interval_seconds=180)
    assert rule.deployment().rollback_thresholds.check_interval_seconds == 60
    many = Counts(requests=9000, errors=9000, timed=9000)
    said = driven(rule, [GOOD, GOOD, many])
    assert said == ["0 StageEntered 20", "120 StageEntered 60", "180 RolledBack"]


def test_argo_may_watch_the_latency_too() -> None:
    slow = Counts(requests=100, timed=100, slow=6)
    rule = Argo(weights=(20,), pause_seconds=60, interval_seconds=60)
    assert driven(rule, [slow])[-1] == "60 Promoted"
    assert driven(replace(rule, latency_ms=300), [slow])[-1] == "60 RolledBack"


KAYENTA = Kayenta(lifetime_seconds=1200, interval_seconds=600)


def noisy(rate: float, minutes: int, seed: int) -> list[Counts | None]:
    """The canary's minutes, with Poisson errors."""
    errors = np.random.default_rng(seed).poisson(1000 * rate, minutes).tolist()
    return [Counts(requests=1000, errors=bad, timed=1000) for bad in errors]


def test_kayenta_promotes_what_is_like_the_baseline_and_ends_what_is_worse() -> None:
    baseline = Counts(requests=1000, errors=20, timed=1000)
    same = driven(KAYENTA, noisy(0.02, 20, 1), baseline)
    worse = driven(KAYENTA, noisy(0.06, 20, 1), baseline)
    assert same == ["0 StageEntered 10", "1200 Promoted"]
    # One of two metrics is high: 50 is under 75 in the first run already.
    assert worse == ["0 StageEntered 10", "600 RolledBack"]


def test_kayenta_lets_pass_what_is_better() -> None:
    baseline = Counts(requests=1000, errors=60, timed=1000)
    assert driven(KAYENTA, noisy(0.02, 20, 1), baseline)[-1] == "1200 Promoted"


def test_kayenta_s_scores() -> None:
    """Between marginal and pass a run goes on, and the last one fails."""
    baseline = Counts(requests=1000, errors=20, timed=1000)
    worse = noisy(0.06, 20, 1)
    assert driven(replace(KAYENTA, marginal=40), worse, baseline)[-1] == "1200 RolledBack"
    generous = replace(KAYENTA, marginal=40, pass_score=50)
    assert driven(generous, worse, baseline)[-1] == "1200 Promoted"
    # The effect size: what must have risen to four times the mean has risen to three.
    assert driven(replace(KAYENTA, allowed_increase=4), worse, baseline)[-1] == "1200 Promoted"
    critical = replace(generous, critical_increase=2)
    assert driven(critical, worse, baseline)[-1] == "600 RolledBack"


def test_kayenta_ends_what_it_has_no_data_of() -> None:
    assert driven(KAYENTA, [None] * 20)[-1] == "600 RolledBack"


# -- as policies


def test_peers_are_rehearsed_beside_a_plan_and_know_no_contracts() -> None:
    peers = [
        Policy(name=name, peer=peer_named(name))
        for name in ("flagger:interval_seconds=10", "argo:pause_seconds=20,interval_seconds=10")
    ]
    broken = Condition(
        scenario=replace(
            scenario("broken", rate=20),
            contract_failures=(ByRate(rate=5),),
        ),
        kind="regression",
    )
    tried = experiment(
        Policy(name="own"),
        *peers,
        Policy(name="kayenta", peer=Kayenta(lifetime_seconds=120, interval_seconds=60)),
        conditions=(broken,),
    )
    rows = replicate(tried, here(), most=4).rows
    reasons = {row.policy: row.reason for row in rows}
    assert reasons[0] == "contract_violation"
    assert "contract_violation" not in {reasons[1], reasons[2], reasons[3]}
    assert all(row.outcome in ("completed", "rolled_back") for row in rows)


def test_each_peer_has_an_end_before_its_horizon() -> None:
    never = scenario("idle", rate=1e-6)
    peers = [
        Policy(name=name, peer=kind(interval_seconds=60) if kind is not Kayenta else Kayenta())
        for name, kind in PRESETS.items()
    ]
    tried = experiment(*peers, conditions=(Condition(scenario=never, kind="healthy"),))
    rows = replicate(tried, here(), most=1).rows
    assert [(row.outcome, row.reason) for row in rows] == [("rolled_back", "missing_evidence")] * 3


# -- as text


def test_a_peer_is_named_with_its_settings() -> None:
    assert peer_named("flagger") == Flagger()
    assert peer_named("argo:failure_limit=3,weights=10/50,count=none") == Argo(
        failure_limit=3, weights=(10, 50)
    )
    assert peer_named("argo:weights=50") == Argo(weights=(50,))
    assert peer_named("kayenta:lookback=sliding,confidence=0.95") == Kayenta(
        lookback="sliding", confidence=0.95
    )
    assert peer_named("spinnaker") is None
    assert peer_named("plan.toml") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("argo:limit=3", "'limit' is no key of argo; its keys are weights, pause_seconds"),
        ("argo:failure_limit", "'failure_limit' is no key=value"),
        ("argo:count=1,count=2", "count is given twice"),
        ("argo:failure_limit=many", "--policy argo:failure_limit=many: failure_limit"),
        ("argo:failure_limit=-1", "-1"),
        ("argo:weights=50/20", "percentages must rise"),
        ("argo:failure_rate_percent=99", "at most success_rate_percent, which is 95"),
        ("flagger:interval_seconds=5", "10"),
        ("flagger:threshold=0", "0"),
        ("flagger:step_weight=0.0001", "multiple of 0.001"),
        ("kayenta:interval_seconds=7", "lifetime_seconds is 10800"),
        ("kayenta:pass_score=50", "marginal is 75"),
        ("kayenta:lookback=none", "lookback"),
    ],
)
def test_settings_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        peer_named(text, "--policy")
    assert message in str(caught.value)
    assert "--policy" in str(caught.value)
