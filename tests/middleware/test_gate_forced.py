"""Forced arms: off by default, believed when verified, and never after an abort."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.middleware.asgi_tools import Controller, forced
from tests.middleware.test_gate_keys import Request, admit

from canario import ConfigError, Routing
from canario.gate.gate import Gate
from canario.plan import ForcedArms
from canario.routing import Arm
from canario.routing.forced import Choice, sign_choice

SECRET = b"correct horse battery staple"
NAME = "CANARIO_FORCE_SECRET"
ENVIRON = {NAME: SECRET.decode()}
SIGNED = forced(secret_env=NAME)
PEERS = forced(trusted_peers=("10.0.0.0/8", "2001:db8::1"))


def setting(routing: Routing = SIGNED, share: float = 50) -> tuple[Gate, Controller]:
    controller = Controller(share, routing=routing)
    return Gate(controller, environ=ENVIRON), controller


def claims(claim: str | bytes, key: str = "ann", address: str = "203.0.113.7") -> Request:
    value = claim if isinstance(claim, bytes) else claim.encode()
    return Request([(b"x-user-id", key.encode()), (b"x-canary", value)], address)


def signed(controller: Controller, choice: Choice = "always", seconds: int = 60) -> str:
    return sign_choice(SECRET, controller.deployment_id, choice, int(controller.time()) + seconds)


CHOICES: list[tuple[Choice, Arm, Arm]] = [
    ("always", "baseline", "canary"),
    ("never", "canary", "baseline"),
]


def test_claims_are_ignored_unless_enabled() -> None:
    gate, controller = setting(Routing(key_sources=("header:x-user-id",)))
    key = controller.a_key("baseline")
    assert admit(gate, claims("always", key)).arm == "baseline"
    assert admit(gate, claims(signed(controller), key)).arm == "baseline"
    assert controller.counters == {}


@pytest.mark.parametrize(("choice", "own", "arm"), CHOICES)
def test_a_signed_claim_chooses_the_arm(choice: Choice, own: Arm, arm: Arm) -> None:
    gate, controller = setting()
    request = claims(signed(controller, choice), controller.a_key(own))
    assert admit(gate, request).arm == arm
    assert controller.counters == {"forced": 1}


@pytest.mark.parametrize(("choice", "own", "arm"), CHOICES)
@pytest.mark.parametrize("address", ["10.1.2.3", "2001:db8::1"])
def test_a_trusted_peer_is_believed(choice: Choice, own: Arm, arm: Arm, address: str) -> None:
    gate, controller = setting(PEERS)
    assert admit(gate, claims(choice, controller.a_key(own), address)).arm == arm


@pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::2", "/run/socket", "", None])
def test_another_peer_is_not(address: str) -> None:
    gate, controller = setting(PEERS)
    assert admit(gate, claims("always", controller.a_key("baseline"), address)).arm == "baseline"
    assert controller.counters == {"force_refused": 1}


def test_a_refused_claim_leaves_the_request_to_its_key() -> None:
    gate, controller = setting()
    for own in ("baseline", "canary"):
        for claim in ("always", "never"):
            assert admit(gate, claims(claim, controller.a_key(own))).arm == own
    assert controller.counters == {"force_refused": 4}


def forgeries(controller: Controller) -> dict[str, str | bytes]:
    good = signed(controller)
    choice, expires, mac = good.split(".")
    later = str(int(expires) + 1000)
    return {
        "no signature": "always",
        "another choice": f"never.{expires}.{mac}",
        "a later end": f"{choice}.{later}.{mac}",
        "another secret": sign_choice(b"guess", controller.deployment_id, "always", int(expires)),
        "another release": sign_choice(SECRET, "release-2", "always", int(expires)),
        "a cut signature": good[:-1],
        "no signature after all": f"{choice}.{expires}.",
        "no end": f"{choice}..{mac}",
        "half of it": f"{choice}.{expires}",
        "an end that is no number": sign_choice(SECRET, controller.deployment_id, "always", 0),
        "upper case": good.upper(),
        "another word": "yes",
        "nothing": "",
        "bytes": b"always.\xff.\xfe",
        "expired": signed(controller, seconds=-1),
        "just expired": signed(controller, seconds=0),
    }


@pytest.mark.parametrize("kind", forgeries(Controller()))
def test_a_forged_or_expired_claim_is_refused_and_counted(kind: str) -> None:
    gate, controller = setting()
    request = claims(forgeries(controller)[kind], controller.a_key("baseline"))
    assert admit(gate, request).arm == "baseline"
    assert controller.counters == {"force_refused": 1}


def test_a_claim_expires_while_it_is_in_use() -> None:
    gate, controller = setting()
    request = claims(signed(controller, seconds=60), controller.a_key("baseline"))
    controller.time.advance(59)
    assert admit(gate, request).arm == "canary"
    controller.time.advance(1)
    assert admit(gate, request).arm == "baseline"


def test_a_claim_given_twice_is_refused() -> None:
    gate, controller = setting()
    request = claims(signed(controller), controller.a_key("baseline"))
    request.lines.append(request.lines[-1])
    assert admit(gate, request).arm == "baseline"
    assert controller.counters == {"force_refused": 1}


@given(st.binary(max_size=80))
def test_no_guess_is_believed(claim: bytes) -> None:
    gate, controller = setting()
    assert admit(gate, claims(claim, controller.a_key("baseline"))).arm == "baseline"
    assert "faults" not in controller.counters


def test_a_cookie_may_carry_the_claim() -> None:
    gate, controller = setting(forced(secret_env=NAME, cookie="canary"))
    key = controller.a_key("baseline").encode()

    def cookie(value: str) -> Request:
        return Request([(b"x-user-id", key), (b"cookie", f"canary={value}".encode())])

    assert admit(gate, cookie(signed(controller))).arm == "canary"
    assert admit(gate, cookie("always")).arm == "baseline"
    twice = cookie(f"{signed(controller)}; canary=never")
    assert admit(gate, twice).arm == "baseline"
    assert controller.counters == {"forced": 1, "force_refused": 2}


def test_a_header_of_another_name() -> None:
    gate, controller = setting(forced(secret_env=NAME, header="X-Force"))
    request = claims(signed(controller), controller.a_key("baseline"))
    assert admit(gate, request).arm == "baseline"
    request.lines.append((b"x-force", request.lines[-1][1]))
    assert admit(gate, request).arm == "canary"


def test_a_forced_user_needs_no_key() -> None:
    gate, controller = setting()
    request = Request([(b"x-canary", signed(controller).encode())])
    assert admit(gate, request).arm == "canary"
    assert controller.counters == {"forced": 1}


def test_an_abort_beats_every_claim() -> None:
    for routing in (SIGNED, PEERS):
        gate, controller = setting(routing)
        request = claims(signed(controller), controller.a_key("canary"), "10.0.0.1")
        bare = claims("always", controller.a_key("canary"), "10.0.0.1")
        assert admit(gate, request if routing is SIGNED else bare).arm == "canary"
        controller.abort()
        assert admit(gate, request if routing is SIGNED else bare).arm == "baseline"


def test_so_does_a_rollback() -> None:
    gate, controller = setting(share=100)
    request = claims(signed(controller))
    assert admit(gate, request).arm == "canary"
    controller.report_violation("canary", "broken")
    assert admit(gate, request).arm == "baseline"


@pytest.mark.parametrize("environ", [{}, {NAME: ""}])
def test_a_secret_that_is_not_there_is_refused_at_once(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=NAME):
        Gate(Controller(routing=SIGNED), environ=environ)


def test_a_peer_that_is_no_address_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="trusted_peers"):
        Gate(Controller(routing=forced(trusted_peers=("localhost",))), environ={})


def test_forced_arms_without_a_way_to_verify_them_are_refused() -> None:
    with pytest.raises(ValueError, match="trusted_peers, secret_env or both"):
        ForcedArms()


def test_the_secret_is_read_from_the_process_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, SECRET.decode())
    controller = Controller(routing=SIGNED)
    request = claims(signed(controller), controller.a_key("baseline"))
    assert admit(Gate(controller), request).arm == "canary"


def test_comparing_signatures_takes_no_hint_from_the_time() -> None:
    """The comparison is `hmac.compare_digest`; here only that no claim takes long."""
    gate, controller = setting()
    started = time.thread_time()
    admit(gate, claims("always." + "9" * 100_000 + ".x"))
    assert time.thread_time() - started < 0.5
    assert controller.counters == {"force_refused": 1}


def test_a_claim_in_the_header_beats_one_in_the_cookie() -> None:
    gate, controller = setting(forced(secret_env=NAME, cookie="canary"))
    request = claims(signed(controller), controller.a_key("baseline"))
    request.lines.append((b"cookie", b"canary=never"))
    assert admit(gate, request).arm == "canary"
    assert controller.counters == {"forced": 1}


def test_a_network_may_be_named_by_an_address_in_it() -> None:
    gate, controller = setting(forced(trusted_peers=("10.1.2.3/8",)))
    request = claims("always", controller.a_key("baseline"), "10.200.0.1")
    assert admit(gate, request).arm == "canary"
