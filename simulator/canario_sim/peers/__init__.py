"""Other systems' rules as policies, from their documented defaults, on the same requests.

A peer is a frozen value that gives a deployment (its stages and how often it looks) and a judge.
It is the rule that is compared, not the system: no Kubernetes, no scrape, no query. Every peer is
told the canary's exact counts, which is more than it would know. `docs/assess.md` says where each
default and each rule comes from.
"""

from .argo import Argo
from .flagger import Flagger
from .kayenta import Kayenta
from .presets import PRESETS, Peer, peer_named

__all__ = ["PRESETS", "Argo", "Flagger", "Kayenta", "Peer", "peer_named"]
