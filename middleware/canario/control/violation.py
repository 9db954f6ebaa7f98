"""A broken contract, as it is reported, judged and told."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import force_setattr

__all__ = ["Violation"]


class Violation(Struct, frozen=True, kw_only=True):
    """What broke which contract, and where.

    `contract` names the contract and `rule` the part of it that does not hold (a keyword of a
    schema, a field's constraint); `path` is a JSON pointer into the body (RFC 6901), "" for the
    whole of it; `route` the template of the route that answered; `trace_id` (32 hex digits) the
    trace of the request.
    """

    message: str
    contract: str = "contract"
    rule: str | None = None
    path: str | None = None
    route: str | None = None
    trace_id: str | None = None

    def __post_init__(self) -> None:
        # What is said of a body may hold what the body does, such as half of a surrogate pair:
        # JSON can escape one and UTF-8 has none, so no journal could keep the rollback.
        for name in self.__struct_fields__:
            said = getattr(self, name)
            if said is None or (isinstance(said, str) and said.isascii()):
                continue
            force_setattr(self, name, str(said).encode("utf-8", "backslashreplace").decode())

    def __str__(self) -> str:
        at = f" at {self.path}" if self.path else ""
        which = "" if self.contract == "contract" else f"{self.contract}: "
        rule = f" ({self.rule})" if self.rule else ""
        where = f"{self.route}: " if self.route else ""
        return f"{where}{which}{self.message}{at}{rule}"
