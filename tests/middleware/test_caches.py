"""A cache between the users and the app serves nobody another user's arm, or another's cookie."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.middleware.asgi_tools import Controller, Receive, Scope, Send, http_scope, respond, talk
from tests.middleware.wsgi_tools import answers, request
from tests.middleware.wsgi_tools import ask as ask_wsgi

from canario import Routing
from canario.asgi import CanaryMiddleware as OverASGI
from canario.gate.caching import adapt, varies_by
from canario.plan import ForcedArms
from canario.wsgi import CanaryMiddleware as OverWSGI

PAIRS = list[tuple[str, str]]

# Answers a request (its headers, by lower-case name) with a status, headers and a body.
Origin = Callable[[Mapping[str, str]], tuple[int, PAIRS, bytes]]


@dataclass
class Stored:
    asked: Mapping[str, str]
    headers: PAIRS
    body: bytes
    at: float


@dataclass
class SharedCache:
    """A shared cache of one URL that follows RFC 9111, and keeps all that it allows to be kept."""

    origin: Origin
    now: float = 0.0
    asked: int = 0
    kept: list[Stored] = field(default_factory=list)

    def get(self, headers: Mapping[str, str]) -> tuple[PAIRS, bytes]:
        """What a client is served."""
        for each in reversed(self.kept):
            if not self._matches(each, headers):
                continue
            if each.at + _lifetime(each.headers) > self.now and "no-cache" not in _said(each):
                return each.headers, each.body
            return self._revalidated(each, headers)
        status, given, body = self._ask(headers)
        return self._keep(status, headers, given, body)

    def _ask(self, headers: Mapping[str, str]) -> tuple[int, PAIRS, bytes]:
        self.asked += 1
        return self.origin(headers)

    def _matches(self, each: Stored, headers: Mapping[str, str]) -> bool:
        names = [name.strip().lower() for name in _field(each.headers, "vary").split(",") if name]
        return "*" not in names and all(each.asked.get(n) == headers.get(n) for n in names)

    def _revalidated(self, each: Stored, headers: Mapping[str, str]) -> tuple[PAIRS, bytes]:
        tag = _field(each.headers, "etag")
        status, given, body = self._ask({**headers, "if-none-match": tag} if tag else headers)
        if status != 304:
            return self._keep(status, headers, given, body)
        renewed = {name.lower() for name, _ in given}
        each.headers = [h for h in each.headers if h[0].lower() not in renewed] + given
        each.at = self.now
        return each.headers, each.body

    def _keep(
        self, status: int, headers: Mapping[str, str], given: PAIRS, body: bytes
    ) -> tuple[PAIRS, bytes]:
        made = Stored(dict(headers), given, body, self.now)
        if status == 200 and not {"no-store", "private"} & _said(made):
            self.kept = [each for each in self.kept if not self._matches(each, headers)]
            self.kept.append(made)
        return given, body


def _field(headers: PAIRS, name: str) -> str:
    return ", ".join(value for key, value in headers if key.lower() == name)


def _said(each: Stored) -> set[str]:
    return {part.strip() for part in _field(each.headers, "cache-control").split(",")}


def _lifetime(headers: PAIRS) -> float:
    said = dict(part.strip().partition("=")[::2] for part in _said_parts(headers))
    if "s-maxage" in said or "max-age" in said:
        return float(said.get("s-maxage", said.get("max-age", "0")))
    # What it may guess where nothing is said (4.2.2).
    return 600.0 if _field(headers, "last-modified") or "public" in said else 0.0


def _said_parts(headers: PAIRS) -> list[str]:
    return [part for part in _field(headers, "cache-control").split(",") if part.strip()]


def origin(protocol: str, controller: Controller, headers: PAIRS, **options: object) -> Origin:
    """Both arms behind the middleware; each answers with its own name and tag."""

    def said(arm: str, tag: str | None) -> tuple[int, PAIRS, bytes]:
        mine = [(name, value.replace("ARM", arm)) for name, value in headers]
        fits = tag is not None and tag == _field(mine, "etag")
        return (304, mine, b"") if fits else (200, mine, arm.encode())

    def over_asgi(asked: Mapping[str, str]) -> tuple[int, PAIRS, bytes]:
        def app(arm: str) -> Callable[[Scope, Receive, Send], object]:
            async def serve(scope: Scope, receive: Receive, send: Send) -> None:
                status, mine, body = said(arm, asked.get("if-none-match"))
                await respond(
                    send, body, status, [(n.lower().encode(), v.encode()) for n, v in mine]
                )

            return serve

        middleware = OverASGI(app("baseline"), controller, app("canary"), **options)  # type: ignore[arg-type]
        answer = asyncio.run(talk(middleware, http_scope(headers=asked.items())))
        made = [(name.decode(), value.decode()) for name, value in answer.headers]
        return answer.status, made, answer.body

    def over_wsgi(asked: Mapping[str, str]) -> tuple[int, PAIRS, bytes]:
        def app(arm: str) -> object:
            status, mine, body = said(arm, asked.get("if-none-match"))
            return answers([body], {200: "200 OK", 304: "304 Not Modified"}[status], mine)

        middleware = OverWSGI(app("baseline"), controller, app("canary"), **options)  # type: ignore[arg-type]
        answer = ask_wsgi(middleware, request(headers=asked.items()))
        return int(answer.status[:3]), answer.headers, answer.body

    return over_asgi if protocol == "asgi" else over_wsgi


PUBLIC = [("Cache-Control", "public, max-age=3600"), ("ETag", '"ARM"')]
ONLY_DATED = [("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")]


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
@pytest.mark.parametrize("headers", [PUBLIC, ONLY_DATED])
@pytest.mark.parametrize("source", ["header:x-user-id", "cookie:sid"])
def test_users_are_served_their_own_arm_and_nobody_the_canary_after_a_rollback(
    protocol: str, headers: PAIRS, source: str
) -> None:
    controller = Controller(routing=Routing(key_sources=(source,)))
    cache = SharedCache(origin(protocol, controller, headers))
    controller.start()

    def user(key: str) -> dict[str, str]:
        return {"x-user-id": key} if source.startswith("header") else {"cookie": f"sid={key}"}

    for _ in range(3):
        for key in map(str, range(20)):
            assert cache.get(user(key))[1].decode() == controller.router.route_request(key)
    # It is of use all the same: the baseline's users are served from it.
    baseline = sum(controller.router.route_request(str(key)) == "baseline" for key in range(20))
    assert cache.asked == 60 - 2 * baseline
    controller.abort()
    assert {cache.get(user(str(key)))[1] for key in range(20)} == {b"baseline"}


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_a_cache_that_is_told_nothing_serves_the_wrong_arm(protocol: str) -> None:
    """What the others prevent: with `caches=False` the first user decides for all."""
    controller = Controller(routing=Routing(key_sources=("header:x-user-id",)))
    cache = SharedCache(origin(protocol, controller, PUBLIC, caches=False))
    canary = controller.a_key("canary")
    cache.get({"x-user-id": canary})
    controller.abort()
    assert cache.get({"x-user-id": controller.a_key("baseline")})[1] == b"canary"


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
@pytest.mark.parametrize(
    ("headers", "given"),
    [
        (PUBLIC, False),
        ([("Cache-Control", "max-age=60")], False),
        ([("Expires", "Thu, 01 Dec 2094 16:00:00 GMT")], False),
        (ONLY_DATED, True),
        ([("ETag", '"ARM"')], True),
        ([("Cache-Control", "no-cache"), ("ETag", '"ARM"')], True),
        ([("Cache-Control", "max-age=0")], True),
        ([("Cache-Control", "private, max-age=60")], True),
        ([("Cache-Control", "no-store")], True),
        ([], True),
    ],
)
def test_nobody_is_given_the_cookie_of_another(protocol: str, headers: PAIRS, given: bool) -> None:
    controller = Controller(routing=Routing(key_sources=(), anonymous_cookie="bucket"))
    cache = SharedCache(origin(protocol, controller, headers))
    cookies = [_field(cache.get({})[0], "set-cookie") for _ in range(12)]
    assert all(bool(cookie) is given for cookie in cookies)
    assert len(set(cookies)) == (12 if given else 1)
    assert ("cookie_withheld" in controller.counters) is not given
    if given:  # and who has one is served by its arm, for as long as the release goes on
        for _ in range(2):
            for cookie in cookies:
                key = SimpleCookie(cookie)["bucket"].value
                seen = cache.get({"cookie": f"bucket={key}"})[1].decode()
                assert seen == controller.router.route_request(key)


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_a_304_carries_no_cookie(protocol: str) -> None:
    """It renews what is stored, and its cookie would be everybody's."""
    controller = Controller(share=100, routing=Routing(key_sources=(), anonymous_cookie="b"))
    ask = origin(protocol, controller, [("ETag", '"ARM"')])
    status, headers, _ = ask({"if-none-match": '"canary"'})
    assert (status, _field(headers, "set-cookie")) == (304, "")


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_a_response_that_no_cache_keeps_is_as_it_was(protocol: str) -> None:
    routing = Routing(key_sources=("header:x-user-id",))
    for headers in (
        [("Content-Type", "text/plain")],
        [("Cache-Control", "no-store")],
        [("Cache-Control", "private, max-age=60"), ("Vary", "Accept")],
    ):
        controller = Controller(100, routing=routing)
        made = origin(protocol, controller, headers)({"x-user-id": "ann"})[1]
        assert [(name.title(), value) for name, value in made] == headers


def test_before_and_after_a_release_nothing_is_added() -> None:
    for phase in ("rolled back", "promoted"):
        controller = Controller(50, routing=Routing(key_sources=("header:x-user-id",)))
        controller.start()
        (controller.abort if phase == "rolled back" else controller.promote)()
        made = origin("asgi", controller, PUBLIC)({"x-user-id": "ann"})[1]
        assert _field(made, "cache-control") == "public, max-age=3600"
        # Who has no key is the baseline's for ever.
        assert _field(made, "vary") == ("" if phase == "rolled back" else "x-user-id")


# -- what is added


@pytest.mark.parametrize(
    ("routing", "own_key", "names"),
    [
        (Routing(), False, [b"x-user-id", b"authorization", b"cookie", b"x-request-id"]),
        (Routing(key_sources=("query:plan", "path:/plans/{id}")), False, []),
        (Routing(key_sources=("client",)), False, [b"*"]),
        (Routing(key_sources=("cookie:a", "client:1")), False, [b"*"]),
        (Routing(key_sources=("cookie:a",)), True, [b"*"]),
        (Routing(key_sources=("cookie:a",), anonymous_cookie="b"), False, [b"cookie"]),
        (
            Routing(key_sources=(), forced_arms=ForcedArms(cookie="c", secret_env="S")),
            False,
            [b"x-canary", b"cookie"],
        ),
    ],
)
def test_what_an_arm_depends_on(routing: Routing, own_key: bool, names: list[bytes]) -> None:
    assert list(varies_by(routing, own_key)) == names


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [b"cookie"]),
        ([b"Accept-Encoding"], [b"Accept-Encoding, cookie"]),
        ([b"Cookie"], [b"Cookie"]),
        ([b"Accept, COOKIE"], [b"Accept, COOKIE"]),
        ([b"*"], [b"*"]),
        ([b"Accept", b"Origin"], [b"Accept, Origin, cookie"]),
        ([b"Accept", b"Cookie"], [b"Accept", b"Cookie"]),
        ([b""], [b"cookie"]),
    ],
)
def test_vary_stands_once(before: list[bytes], after: list[bytes]) -> None:
    headers = [(b"cache-control", b"public"), *((b"Vary", value) for value in before)]
    made = adapt(
        headers, status=200, safe=True, varies=(b"cookie",), passing=False, cookie=None
    ).headers
    assert [value for name, value in made if name.lower() == b"vary"] == after


FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b"cache-control", b"Cache-Control", b"vary", b"etag", b"expires", b"x"]),
        st.sampled_from(
            b"public|private|no-store|max-age=0|s-maxage=9|*|cookie||max-age|,|a, b".split(b"|")
        ),
    )
)


@given(FIELDS, st.booleans(), st.booleans(), st.sampled_from([None, b"a=b"]))
def test_no_cookie_is_ever_stored_and_all_else_stays(
    headers: list[tuple[bytes, bytes]], safe: bool, passing: bool, cookie: bytes | None
) -> None:
    made, withheld = adapt(
        headers, status=200, safe=safe, varies=(b"cookie",), passing=passing, cookie=cookie
    )
    lines: Iterable[bytes] = (v.lower() for n, v in made if n.lower() == b"cache-control")
    said = {part.strip() for line in lines for part in line.split(b",")}
    sets = [value for name, value in made if name == b"set-cookie"]
    assert sets == ([] if cookie is None or withheld else [cookie])
    if sets and safe and {b"public", b"s-maxage=9"} & said:
        assert {b"private", b"no-store"} & said
    changed = (b"cache-control", b"vary", b"set-cookie")
    assert [h for h in made if h[0].lower() not in changed] == [
        h for h in headers if h[0].lower() not in changed
    ]
    again = adapt(
        made, status=200, safe=safe, varies=(b"cookie",), passing=passing, cookie=None
    ).headers
    if cookie is None:
        assert again == made  # as for two releases, one around the other
