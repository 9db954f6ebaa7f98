"""Arms that a request asks for itself, believed only when the claim is verified.

A claim is `always` (the canary) or `never` (the baseline). From a trusted peer it stands as it is;
from anybody else it needs a signature, in the form `choice.expires.mac`: `expires` in seconds
since the epoch, `mac` the hexadecimal HMAC-SHA256 of `deployment_id`, a line feed and
`choice.expires`. A signed claim holds for one release and until it expires.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from typing import Literal

from canario.plan import ForcedArms
from canario.routing.bucket import InvalidKeyError
from canario.routing.keys import Carrier, cookie_value
from canario.routing.router import Arm

__all__ = ["Choice", "ClaimRefusedError", "ForcedArmReader", "sign_choice"]

Choice = Literal["always", "never"]

_ARMS: dict[bytes, Arm] = {b"always": "canary", b"never": "baseline"}


class ClaimRefusedError(ValueError):
    """A claim that is malformed, forged, out of date or made by somebody who may not."""


def sign_choice(secret: bytes, deployment_id: str, choice: Choice, expires: int) -> str:
    """A claim that whoever holds it may send until `expires` (seconds since the epoch)."""
    claim = f"{choice}.{expires}"
    return f"{claim}.{_mac(secret, deployment_id, claim.encode())}"


def _mac(secret: bytes, deployment_id: str, claim: bytes) -> str:
    return hmac.new(secret, deployment_id.encode() + b"\n" + claim, hashlib.sha256).hexdigest()


class ForcedArmReader:
    """Reads and verifies the claims of one release.

    Raises `ValueError` for a peer in the plan that is neither an address nor a network.
    """

    def __init__(self, plan: ForcedArms, deployment_id: str, secret: bytes | None) -> None:
        self._header = plan.header.lower().encode("latin-1")
        self._cookie = plan.cookie.encode("latin-1") if plan.cookie else None
        self._peers = [ipaddress.ip_network(peer, strict=False) for peer in plan.trusted_peers]
        self._deployment_id = deployment_id
        self._secret = secret

    def read(self, carrier: Carrier, now: float) -> Arm | None:
        """The arm that the request may choose, or None when it asks for none.

        Raises `ClaimRefusedError` for a claim that is not verified at the instant `now`.
        """
        claims = carrier.headers(self._header)
        if not claims and self._cookie:
            try:
                cookie = cookie_value(carrier, self._cookie)
            except InvalidKeyError as error:
                raise ClaimRefusedError(str(error)) from error
            claims = [] if cookie is None else [cookie]
        if not claims:
            return None
        if len(claims) > 1:
            raise ClaimRefusedError("the claim is given twice")
        choice, _, signature = claims[0].partition(b".")
        if choice not in _ARMS:
            raise ClaimRefusedError(f"the claim is {claims[0]!r}; valid are always and never")
        if signature:
            self._verify(claims[0], now)
        elif not self._trusts(carrier.peer()):
            raise ClaimRefusedError("the claim is not signed, and its peer is not trusted")
        return _ARMS[choice]

    def _verify(self, signed: bytes, now: float) -> None:
        claim, _, mac = signed.rpartition(b".")
        expires = claim.rpartition(b".")[2]
        if self._secret is None:
            raise ClaimRefusedError("the claim is signed, and the plan names no secret")
        # In a time that does not tell how much of a guessed signature is right.
        if not hmac.compare_digest(_mac(self._secret, self._deployment_id, claim).encode(), mac):
            raise ClaimRefusedError("the claim's signature is wrong")
        if not expires.isdigit() or now >= int(expires):
            raise ClaimRefusedError("the claim has expired")

    def _trusts(self, peer: str | None) -> bool:
        if peer is None or not self._peers:
            return False
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:  # a Unix socket, say
            return False
        return any(address in network for network in self._peers)
