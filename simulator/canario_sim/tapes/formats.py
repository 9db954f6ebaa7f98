"""The formats that are known by name: what their servers document, with units and where it says so.

A format is found by itself where the lines fit it alone; `--format` names one. The rest is read by
what stands in the lines (`access_log.py`), or by a pattern or a mapping of one's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from .parsed import Stamp, Unit

__all__ = ["LOGS", "NAMES", "NO_INSTANT", "RECORDS", "KnownLog", "KnownRecords", "NoInstant"]

_CLF = '$client $skip $user [$time] "$request" $status $skip'


class KnownLog(Struct, frozen=True):
    """Lines of text; see `pattern.py`."""

    name: str
    pattern: str
    source: str
    unit: Unit = "s"
    stamp: Stamp = "end"
    # Not found by itself, since the lines alone could as well be another server's.
    found: bool = True


class KnownRecords(Struct, frozen=True):
    """JSON lines, or rows with a heading.

    Attributes:
        names: What canario's keys are called there.
        user: What `--key user` takes in place of the client.
        needs: Keys that tell the format apart.
        where: Which records are requests.
    """

    name: str
    kind: str
    names: Mapping[str, str]
    needs: tuple[str, ...]
    source: str
    stamp: Stamp = "end"
    user: str | None = None
    where: Mapping[str, str] = {}
    rounded: bool = False


class NoInstant(Struct, frozen=True):
    """Lines that nothing can be made of, since they do not tell when a request was."""

    name: str
    matches: re.Pattern[str]
    remedy: str


NO_INSTANT = (
    NoInstant(
        "uvicorn's default access log",
        # `INFO:     client:port - "…" 200 OK`; FastAPI's CLI writes no colon, compose a name first.
        re.compile(r'(?:\S+ +\| +)?[A-Z]+:? +\S+:\d+ - "[A-Z]+ \S+ HTTP/[\d.]+" \d{3}.*'),
        "uvicorn --log-config takes a configuration of logging whose access formatter, of class "
        "uvicorn.logging.AccessFormatter, tells it: fmt: '%(asctime)s %(levelprefix)s "
        "%(client_addr)s - \"%(request_line)s\" %(status_code)s', datefmt: '%Y-%m-%dT%H:%M:%S%z'; "
        "what it then writes is read with --latency-field none, for it never says how long a "
        "request took (a tape that the middleware records does)",
    ),
)

LOGS = (
    KnownLog(
        "ingress-nginx",
        f'{_CLF} "$skip" "$skip" $length $took_s [$skip] [$skip] $skip $skip $skip $skip $skip',
        "https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/log-format/",
    ),
    KnownLog(
        "traefik",
        f'{_CLF} "$skip" "$skip" $number "$router" "$server" ${{took}}ms',
        "https://doc.traefik.io/traefik/observability/access-logs/",
        unit="ms",
        stamp="start",
    ),
    KnownLog(
        "alb",
        "$kind $iso $balancer $client $target $took_s $took_s $took_s $status $skip $skip $skip "
        '"$request" "$agent" $cipher $protocol $group "$trace" "$domain" "$certificate" $priority '
        "$created $rest",
        "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/"
        "load-balancer-access-logs.html",
    ),
    KnownLog(
        "elb",
        "$iso $balancer $client $target $took_s $took_s $took_s $status $skip $skip $skip "
        '"$request" "$agent" $cipher $protocol',
        "https://docs.aws.amazon.com/elasticloadbalancing/latest/classic/"
        "access-log-collection.html",
    ),
    KnownLog(
        "envoy",
        '[$iso] "$request" $status $flags $skip $skip $took_ms $upstream "$skip" "$skip" "$skip" '
        '"$skip" "$skip"',
        "https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage",
        stamp="start",
    ),
    KnownLog(
        "istio",
        '[$iso] "$request" $status $flags $details $ended "$failure" $skip $skip $took_ms $skip '
        '"$skip" "$skip" "$skip" "$skip" "$skip" $cluster $local $skip $client $server $route',
        "https://istio.io/latest/docs/tasks/observability/logs/access-log/",
        stamp="start",
    ),
    KnownLog(
        "uvicorn",
        '$iso $lead $client - "$request" $status $rest',
        "https://www.uvicorn.org/settings/#logging",
    ),
    KnownLog(
        "combined-d",
        f'{_CLF} "$skip" "$skip" $took_us',
        "https://httpd.apache.org/docs/current/mod/mod_log_config.html",
        stamp="start",
        found=False,
    ),
    KnownLog(
        "combinedio-d",
        f'{_CLF} "$skip" "$skip" $in $out $took_us',
        "https://httpd.apache.org/docs/current/mod/mod_logio.html",
        stamp="start",
        found=False,
    ),
    KnownLog(
        "gunicorn-d",
        f'{_CLF} "$skip" "$skip" $took_us',
        "https://docs.gunicorn.org/en/stable/settings.html#access-log-format",
        found=False,
    ),
    KnownLog(
        "gunicorn-m",
        f'{_CLF} "$skip" "$skip" $took_ms',
        "https://docs.gunicorn.org/en/stable/settings.html#access-log-format",
        found=False,
    ),
    KnownLog(
        "hypercorn-d",
        f'{_CLF} "$skip" "$skip" $took_us',
        "https://hypercorn.readthedocs.io/en/latest/how_to_guides/logging.html",
        found=False,
    ),
)

RECORDS = (
    KnownRecords(
        "caddy",
        "jsonl",
        {
            "at": "ts",
            "latency_s": "duration",
            "status": "status",
            "key": "request.client_ip|request.remote_ip|request.remote_addr",
            "route": "request.uri",
            "method": "request.method",
        },
        ("ts", "duration", "status", "request.uri", "request.method"),
        "https://caddyserver.com/docs/caddyfile/directives/log",
        user="user_id",
    ),
    KnownRecords(
        "traefik-json",
        "jsonl",
        {
            "at": "StartUTC",
            "latency_ns": "Duration",
            "status": "DownstreamStatus",
            "key": "ClientHost|ClientAddr",
            "route": "RequestPath",
            "method": "RequestMethod",
        },
        ("StartUTC", "Duration", "DownstreamStatus", "RequestPath"),
        "https://doc.traefik.io/traefik/observability/access-logs/",
        stamp="start",
        user="ClientUsername",
    ),
    KnownRecords(
        "envoy-json",
        "jsonl",
        {
            "at": "start_time",
            "latency_ms": "duration",
            "status": "response_code",
            "key": "downstream_remote_address",
            "route": "path",
            "method": "method",
        },
        ("start_time", "duration", "response_code", "response_flags"),
        "https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage",
        stamp="start",
    ),
    KnownRecords(
        "k6-json",
        "jsonl",
        {
            "at": "data.time",
            "latency_ms": "data.value",
            "status": "data.tags.status",
            "route": "data.tags.name",
            "method": "data.tags.method",
        },
        ("metric", "type", "data"),
        "https://grafana.com/docs/k6/latest/results-output/real-time/json/",
        where={"type": "Point", "metric": "http_req_duration"},
    ),
    KnownRecords(
        "k6",
        "csv",
        {
            "at": "timestamp",
            "latency_ms": "metric_value",
            "status": "status",
            "route": "name",
            "method": "method",
        },
        ("metric_name", "timestamp", "metric_value", "status"),
        "https://grafana.com/docs/k6/latest/results-output/real-time/csv/",
        where={"metric_name": "http_req_duration"},
        rounded=True,
    ),
    KnownRecords(
        "jmeter",
        "csv",
        {
            "at": "timeStamp",
            "latency_ms": "elapsed",
            "status": "responseCode",
            "ok": "success",
            "route": "label",
        },
        ("timeStamp", "elapsed", "label", "responseCode", "success"),
        "https://jmeter.apache.org/usermanual/listeners.html#csvlogformat",
        stamp="start",
    ),
    KnownRecords(
        "cloudfront",
        "w3c",
        {
            "at": "date+time",
            "latency_s": "time-taken",
            "status": "sc-status",
            "key": "c-ip",
            "route": "cs-uri-stem",
            "method": "cs-method",
        },
        ("date", "time", "x-edge-location", "time-taken", "sc-status"),
        "https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/"
        "standard-logs-reference.html",
        rounded=True,
    ),
    KnownRecords(
        "iis",
        "w3c",
        {
            "at": "date+time",
            "latency_ms": "time-taken",
            "status": "sc-status",
            "key": "c-ip",
            "route": "cs-uri-stem",
            "method": "cs-method",
        },
        ("date", "time", "s-ip", "time-taken", "sc-status"),
        "https://learn.microsoft.com/en-us/windows/win32/http/w3c-logging",
        user="cs-username",
        rounded=True,
    ),
)

NAMES = tuple(known.name for known in (*LOGS, *RECORDS))
