"""What the user declares: a rollout plan and the objectives beside it, as frozen values.

The attributes mirror the keys of a plan file one to one, so there is a single vocabulary in the
file, in Python and in error messages. Every value checks itself when it is made, whichever way
it was made; a wrong one raises `ValueError` with the name, the value and what would be valid.
"""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from canario.limits import LEAST, MOST, MOST_CHECKS
from canario.spec import Declared, Percent, Positive

__all__ = [
    "Deployment",
    "FixedThresholds",
    "ForcedArms",
    "Judgement",
    "MissingEvidence",
    "Objectives",
    "Plan",
    "RollbackThresholds",
    "Routing",
    "Sequential",
    "Stage",
    "Store",
    "Tracing",
    "Weights",
]

NotNegative = Annotated[float, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0, le=MOST)]
Length = Annotated[float, Meta(ge=LEAST, le=MOST)]
Samples = Annotated[int, Meta(ge=1, le=int(MOST))]

# How long nobody waits, in a plan that does not say.
ABANDONED_AFTER_SECONDS = 60.0

# A share is an integer number of 1/100,000 of the buckets, so that it is exact everywhere.
_PERCENT_STEP = 0.001

# Names of headers (RFC 9110, 5.6.2) and of cookies (RFC 6265, 4.1.1): anything else could end the
# line that it is written into.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_A_TOKEN = {"pattern": f"^{_TOKEN.pattern}$"}

_SURROGATE = re.compile("[\ud800-\udfff]")

# What a path may have between its slashes, as text: servers have decoded it.
_LETTERS = r"[^/{}?#%\s]"
_KEY_SOURCE = re.compile(
    rf"(header|cookie):{_TOKEN.pattern}|user|client(:[0-9]{{1,2}})?|query:[!-~]+|"
    rf"path:(?=.*{{)(/({_LETTERS}+|{_LETTERS}*{{[A-Za-z_][0-9A-Za-z_]*}}{_LETTERS}*))+"
)


def check_token(name: str, value: object, what: str) -> None:
    """Refuse what cannot be the name of a header or of a cookie. Raises `ValueError`."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ValueError(
            f"{name} is {value!r}; it must be the name of a {what}: "
            "letters, digits and !#$%&'*+-.^_`|~, at least one"
        )


class Stage(Declared, frozen=True):
    """One step of the rollout: `percentage` of the keys for `hold_seconds`."""

    percentage: Annotated[
        float, Meta(gt=0, le=100, description="Percent of the keys that reach the canary.")
    ]
    hold_seconds: Annotated[
        Seconds, Meta(description="How long the stage is held before it is judged.")
    ]

    def __post_init__(self) -> None:
        super().__post_init__()
        steps = self.percentage / _PERCENT_STEP
        if abs(steps - round(steps)) > 1e-6:
            raise ValueError(
                f"percentage is {self.percentage!r}; a share is a multiple of {_PERCENT_STEP} %"
            )

    @property
    def name(self) -> str:
        """`canary_5` for a stage of 5 %, `full_rollout` for one of 100 %."""
        return "full_rollout" if self.percentage == 100 else f"canary_{self.percentage:g}"


class RollbackThresholds(Declared, frozen=True, kw_only=True):
    """When the canary is rolled back, and on how much evidence."""

    max_error_rate: Annotated[
        Percent, Meta(description="Roll back above this error rate, in percent.")
    ] = 10.0
    max_p95_latency_ms: Annotated[
        Positive, Meta(description="Roll back when the 95th percentile exceeds this, in ms.")
    ] = 500.0
    metric_window_seconds: Annotated[
        Length, Meta(description="Length of the sliding window that is judged.")
    ] = 60.0
    min_samples: Annotated[
        Samples, Meta(description="Fewer requests than this in the window are not judged.")
    ] = 10
    check_interval_seconds: Annotated[
        Length, Meta(description="Seconds between two checks of a stage.")
    ] = 5.0
    contract_budgets: Annotated[
        dict[str, Percent],
        Meta(
            description="Names of contracts whose validators are themselves imperfect, each with "
            "the percentage of the canary's requests in the window that may break it, judged from "
            "min_samples requests on. A contract that is not named, or has 0, may not be broken "
            "once.",
        ),
    ] = field(default_factory=dict)
    abandoned_after_seconds: Annotated[
        Length | None,
        Meta(
            description="A request that has been in flight for longer counts as failed: nobody "
            "has answered it. By default 60, or twice the latency limit where that is longer. "
            "A WebSocket or event stream that has sent its first message is never abandoned.",
        ),
    ] = None
    abandoned_after_by_route: Annotated[
        dict[str, Length],
        Meta(description="The same for routes that take longer, by the route's template."),
    ] = field(default_factory=dict)

    rollback_after_crashes: Annotated[
        Samples,
        Meta(
            description="Roll back when so many workers have died while they served the canary, "
            "and none while it served the baseline alone, whatever min_samples says. Found where "
            "workers share a store.",
        ),
    ] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        patience = {"abandoned_after_seconds": self.abandoned_after_seconds}
        for route, seconds in self.abandoned_after_by_route.items():
            patience[f"abandoned_after_by_route.{route}"] = seconds
        for name, given in patience.items():
            if given is not None:
                self._check_patience(name, given)

    def _check_patience(self, name: str, seconds: float) -> None:
        """Refuse what would call a request failed before it is so much as slow."""
        if seconds * 1000 < self.max_p95_latency_ms:
            raise ValueError(
                f"{name} is {seconds:g}, less than the latency limit (max_p95_latency_ms is "
                f"{self.max_p95_latency_ms:g}); it must be at least "
                f"{self.max_p95_latency_ms / 1000:g} s, or be left out"
            )

    @property
    def abandoned_after(self) -> float:
        """How long a request may be in flight before it counts as failed, in seconds."""
        if self.abandoned_after_seconds is not None:
            return self.abandoned_after_seconds
        # An app whose requests may take two minutes is not to be called dead after one.
        return max(ABANDONED_AFTER_SECONDS, self.max_p95_latency_ms / 500)

    @property
    def tolerated(self) -> dict[str, float]:
        """The budgets above zero, by the contract's name."""
        return {name: budget for name, budget in self.contract_budgets.items() if budget > 0}


class FixedThresholds(Declared, frozen=True, kw_only=True, tag_field="kind", tag="thresholds"):
    """The judge that compares the sliding window with `rollback_thresholds`."""


class Weights(Declared, frozen=True, kw_only=True):
    """How much of the evidence comes from which metric; only their ratios matter."""

    errors: Annotated[
        NotNegative, Meta(description="The canary's error rate against its limit.")
    ] = 0.3
    slow: Annotated[
        NotNegative, Meta(description="Its share of slow requests against its limit.")
    ] = 0.2
    relative_errors: Annotated[
        NotNegative, Meta(description="Its error rate against the baseline's.")
    ] = 0.3
    relative_slow: Annotated[
        NotNegative, Meta(description="Its share of slow requests against the baseline's.")
    ] = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not sum(self.shares) > 0:
            raise ValueError("weights are all 0; give at least one metric some weight")

    @property
    def shares(self) -> tuple[float, float, float, float]:
        """The four as they stand."""
        return (self.errors, self.slow, self.relative_errors, self.relative_slow)


class Sequential(Declared, frozen=True, kw_only=True, tag_field="kind", tag="sequential"):
    """The judge that adds up evidence over the whole rollout, however often it looks."""

    alpha: Annotated[
        float,
        Meta(
            gt=0,
            lt=1,
            description="At most this probability, over the whole rollout, that a canary within "
            "its limits is rolled back.",
        ),
    ] = 0.01
    max_error_rate: Annotated[
        Percent | None,
        Meta(description="The error rate that is tolerated; no value: rollback_thresholds'."),
    ] = None
    max_slow_share: Annotated[
        Percent,
        Meta(description="Percent of its requests that may take longer than max_p95_latency_ms."),
    ] = 5.0
    tolerated_ratio: Annotated[
        float,
        Meta(
            ge=1,
            le=MOST,
            description="Times the baseline's failed or slow requests that are tolerated.",
        ),
    ] = 1.25
    weights: Weights = Weights()
    bin_seconds: Annotated[
        Length | None,
        Meta(
            description="Failures come in clusters, which last for less than this: the requests of "
            "so many seconds are judged as one; no value: they fail independently."
        ),
    ] = None
    promotion_alpha: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        Meta(
            description="A stage is left on proof alone: at most this probability that it is while "
            "the canary is not within its limits; no value: on min_samples."
        ),
    ] = None


Judgement = FixedThresholds | Sequential


class MissingEvidence(Declared, frozen=True, kw_only=True):
    """What happens when a hold has ended with fewer than `min_samples` canary requests.

    Without a deadline the stage is held until they have come. With one, `then` is done when
    `deadline_seconds` have passed since the end of the hold and they still have not.
    """

    deadline_seconds: Annotated[
        Seconds | None, Meta(description="Seconds to wait after the hold; no value: for ever.")
    ] = None
    then: Annotated[
        Literal["rollback", "pause", "advance"] | None,
        Meta(description="What to do at the deadline."),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.deadline_seconds is None) != (self.then is None):
            raise ValueError(
                f"deadline_seconds is {self.deadline_seconds!r} and then is {self.then!r}; "
                "give both (then: rollback, pause or advance) or neither"
            )


class ForcedArms(Declared, frozen=True, kw_only=True):
    """Who may choose an arm by hand, and how the claim is verified.

    A request forces its arm with `always` or `never` in `header` (or in `cookie`, where one is
    named). The claim counts only when the peer's address lies in `trusted_peers`, or when it is
    signed with the secret that the environment variable `secret_env` holds.
    """

    header: Annotated[
        str, Meta(description="Request header to read.", extra_json_schema=_A_TOKEN)
    ] = "X-Canary"
    cookie: Annotated[
        str | None, Meta(description="Cookie to read as well.", extra_json_schema=_A_TOKEN)
    ] = None
    trusted_peers: Annotated[
        tuple[str, ...], Meta(description="Addresses or networks whose bare claim is believed.")
    ] = ()
    secret_env: Annotated[
        str | None, Meta(description="Environment variable that holds the HMAC secret.")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_texts(self)
        check_token("header", self.header, "header")
        if self.cookie is not None:
            check_token("cookie", self.cookie, "cookie")
        if not self.trusted_peers and self.secret_env is None:
            raise ValueError(
                "forced arms need a way to be verified: give trusted_peers, secret_env or both"
            )


class Routing(Declared, frozen=True, kw_only=True):
    """How a request gets its arm."""

    salt: Annotated[
        str | None, Meta(description="Hashed before the key; no value: the deployment_id.")
    ] = None
    key_sources: Annotated[
        tuple[str, ...],
        Meta(
            description="Where the key is looked for, in order: header:NAME, cookie:NAME, user, "
            "client (the peer's address), client:N (the address that N trusted proxies saw), "
            "query:NAME (a parameter of the URL) or path:/plans/{id} (a part of its path)."
        ),
    ] = ("header:x-user-id", "user", "header:x-request-id")
    anonymous_cookie: Annotated[
        str | None,
        Meta(
            description="Name of a cookie that keeps a user without a key in one bucket.",
            extra_json_schema=_A_TOKEN,
        ),
    ] = None
    forced_arms: Annotated[
        ForcedArms | None, Meta(description="Let verified requests choose their arm.")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_texts(self)
        if self.salt == "":
            raise ValueError("salt is ''; give some text, or leave it out for the deployment_id")
        for source in self.key_sources:
            if not _is_key_source(source):
                raise ValueError(
                    f"key_sources has {source!r}; valid are header:NAME, cookie:NAME, user, "
                    "client, client:N, query:NAME and path:/plans/{id}"
                )
        if self.anonymous_cookie is None:
            return
        check_token("anonymous_cookie", self.anonymous_cookie, "cookie")
        if self.forced_arms is not None and self.forced_arms.cookie == self.anonymous_cookie:
            raise ValueError(
                f"anonymous_cookie and forced_arms.cookie are both {self.anonymous_cookie!r}; "
                "give them two names, for one holds a key and the other a claim"
            )


def _check_texts(part: Struct) -> None:
    """Refuse what no journal, span or file can hold: half of a surrogate pair, which Python makes
    of bytes in the environment that are no UTF-8."""
    for name in part.__struct_fields__:
        value = getattr(part, name)
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and not text.isascii() and _SURROGATE.search(text):
                raise ValueError(f"{name} is {text!r}, which is no text that UTF-8 can hold")


def _is_key_source(source: object) -> bool:
    if not isinstance(source, str) or not _KEY_SOURCE.fullmatch(source):
        return False
    # These end a name, or stand for other letters of it.
    return not (source.startswith("query:") and set(source) & set("#%&+="))


DEFAULT_STAGES = (Stage(5, 300), Stage(25, 600), Stage(100, 1800))


class Deployment(Declared, frozen=True, kw_only=True):
    """The rollout itself: stages, thresholds, missing evidence and routing."""

    deployment_id: Annotated[
        str | None, Meta(description="Names the release; two releases need two names.")
    ] = None
    canary_stages: Annotated[
        tuple[Stage, ...], Meta(min_length=1, description="Stages, with rising percentages.")
    ] = DEFAULT_STAGES
    rollback_thresholds: RollbackThresholds = RollbackThresholds()
    judge: Annotated[
        Judgement, Meta(description="What judges: thresholds (the default) or sequential.")
    ] = FixedThresholds()
    missing_evidence: MissingEvidence = MissingEvidence()
    routing: Routing = Routing()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_texts(self)
        if self.deployment_id == "":
            raise ValueError("deployment_id is ''; give the release a name")
        if not self.canary_stages:
            raise ValueError("canary_stages is empty; give at least one stage")
        shares = [stage.percentage for stage in self.canary_stages]
        for before, after in itertools.pairwise(shares):
            if after <= before:
                raise ValueError(
                    f"canary_stages has percentage {after:g} after {before:g}; "
                    "percentages must rise"
                )
        self._countable()
        self._provable()

    @property
    def routing_salt(self) -> str:
        """What keys are hashed with: the plan's salt, or else the release's name."""
        return self.routing.salt or self.deployment_id or ""

    def _countable(self) -> None:
        """Refuse a grid of checks that a rehearsal would never come to the end of."""
        interval = self.rollback_thresholds.check_interval_seconds
        checks = self.hold_seconds / interval
        if checks > MOST_CHECKS:
            raise ValueError(
                f"check_interval_seconds is {interval!r}, so that the stages, "
                f"{self.hold_seconds:g} s together, take {checks:,.0f} checks; it must be at least "
                f"{self.hold_seconds / MOST_CHECKS:g}, for at most {MOST_CHECKS:,} checks"
            )

    def _provable(self) -> None:
        """Refuse a proof that cannot be had: of a share below 0."""
        judge = self.judge
        if isinstance(judge, FixedThresholds) or judge.promotion_alpha is None:
            return
        errors = judge.max_error_rate
        limits = {
            "max_error_rate": self.rollback_thresholds.max_error_rate if errors is None else errors,
            "max_slow_share": judge.max_slow_share,
        }
        for name, limit in limits.items():
            if limit == 0:
                raise ValueError(
                    f"promotion_alpha is {judge.promotion_alpha!r} and {name} is 0; no number of "
                    f"requests proves that none is bad: give a larger {name}, or leave "
                    "promotion_alpha out"
                )

    @property
    def hold_seconds(self) -> float:
        """Seconds that the rollout takes when nothing holds it up."""
        return sum(stage.hold_seconds for stage in self.canary_stages)


class Tracing(Declared, frozen=True, kw_only=True):
    """How spans of the app are named, sampled and exported."""

    service_name: Annotated[str | None, Meta(description="OpenTelemetry's service.name.")] = None
    service_version: Annotated[str | None, Meta(description="service.version.")] = None
    environment: Annotated[str | None, Meta(description="deployment.environment.name.")] = None
    sampling_rate: Annotated[
        float, Meta(ge=0, le=1, description="Share of the traces that is kept, 0 to 1.")
    ] = 1.0
    otlp_endpoint: Annotated[str | None, Meta(description="Where OTLP spans are sent.")] = None
    user_key_secret_env: Annotated[
        str | None,
        Meta(
            description="Environment variable that holds the secret with which users' keys are "
            "hashed for spans; no value: no key is on a span.",
        ),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_texts(self)
        if self.user_key_secret_env == "":
            raise ValueError("user_key_secret_env is ''; name a variable, or leave it out")


class Objectives(Declared, frozen=True, kw_only=True):
    """Service-level objectives, and how they are watched."""

    availability_percent: Annotated[
        Percent,
        Meta(description="At least so many percent of the requests succeed and keep the contract."),
    ] = 99.5
    p95_latency_ms: Annotated[
        Positive, Meta(description="The 95th percentile of the latency is at most this, in ms.")
    ] = 200.0
    error_rate_percent: Annotated[
        Percent, Meta(description="At most so many percent of the requests fail.")
    ] = 0.1
    performance_regression_percent: Annotated[
        NotNegative, Meta(description="The p95 is at most so many percent above its baseline.")
    ] = 10.0
    p99_recovery_time_ms: Annotated[
        Positive, Meta(description="The 99th percentile of recoveries is at most this, in ms.")
    ] = 1500.0
    aggregation_window_seconds: Annotated[
        Length, Meta(description="Length of the sliding window that is judged.")
    ] = 300.0
    min_samples: Annotated[
        Samples, Meta(description="Fewer requests than this in the window are not judged.")
    ] = 1
    baseline_min_samples: Annotated[
        Samples,
        Meta(description="A p95 of fewer requests than this is not compared with another."),
    ] = 100
    max_flows: Annotated[
        Samples, Meta(description="Names of flows beyond so many are counted as other.")
    ] = 200
    evaluation_interval_seconds: Annotated[
        Length, Meta(description="Seconds between two evaluations of the alert rules.")
    ] = 15.0


class Store(Declared, frozen=True, kw_only=True):
    """Where the workers of a release share its rollout."""

    url: Annotated[
        str | None,
        Meta(
            description="`sqlite:///release.db` for the workers of one host; without one each "
            "process has a rollout of its own."
        ),
    ] = None


class Plan(Declared, frozen=True, kw_only=True):
    """Everything a plan file may say, with the documented defaults."""

    deployment: Deployment = Deployment()
    tracing: Tracing = Tracing()
    slo: Objectives = Objectives()
    store: Store = Store()
