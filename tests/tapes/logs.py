"""Lines as real servers write them, for made-up requests: 40 users, 0.1 to 0.169 s each."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

# 2 March 2026, 9:00:00 UTC.
AT = datetime(2026, 3, 2, 9, tzinfo=UTC).timestamp()
COUNT = 200


def took(n: int) -> float:
    """Seconds that request `n` takes, in whole ms."""
    return (100 + 7 * n % 70) / 1000


def client(n: int) -> str:
    return f"198.51.100.{n % 40}"


def iso(n: int, suffix: str = ".250Z") -> str:
    return datetime.fromtimestamp(AT + n, UTC).strftime("%Y-%m-%dT%H:%M:%S") + suffix


def clf(n: int, tail: str = "", host: str = "", request: str = "", status: int | str = 200) -> str:
    """A line in combined format."""
    stamp = datetime.fromtimestamp(AT + n, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return (
        f'{host or client(n)} - - [{stamp}] "{request or "GET /shop HTTP/1.1"}" {status} 512 '
        f'"https://shop.example/" "Mozilla/5.0 (X11; Linux x86_64)"{tail}'
    )


def micros(n: int) -> int:
    return round(took(n) * 1e6)


def millis(n: int) -> int:
    return round(took(n) * 1e3)


def ingress(n: int) -> str:
    seconds = f"{took(n):.3f}"
    return clf(
        n,
        f" {400 + n % 300} {seconds} [shop-web-80] [] 10.42.0.7:8000 512 {seconds} 200 5b1e{n:08x}",
    )


def traefik(n: int) -> str:
    return clf(n, f' {n + 1} "web@docker" "http://10.0.0.4:8000" {millis(n)}ms')


def alb(n: int) -> str:
    target = took(n) - 0.002
    return (
        f"https {iso(n, '.186641Z')} app/shop/50dc6c495c0c9188 {client(n)}:{2000 + n} "
        f"10.0.0.1:80 0.001 {target:.3f} 0.001 200 200 34 366 "
        f'"GET https://shop.example:443/shop?token=abc HTTP/1.1" "curl/7.46.0" '
        "ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 "
        "arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/shop/73e2d6bc24d8a067 "
        f'"Root=1-58337281-1d84f3d73c47ec4e58577259" "shop.example" "arn:aws:acm:x" 1 '
        f'{iso(n, ".076000Z")} "forward" "-" "-" "10.0.0.1:80" "200" "-" "-" TID_1234'
    )


def elb(n: int) -> str:
    return (
        f"{iso(n, '.186641Z')} my-lb {client(n)}:{2000 + n} 10.0.0.1:80 0.001 "
        f"{took(n) - 0.002:.6f} 0.001 200 200 0 29 "
        '"GET http://www.example.com:80/shop HTTP/1.1" "curl/7.38.0" - -'
    )


def envoy(n: int) -> str:
    return (
        f'[{iso(n)}] "GET /shop HTTP/1.1" 200 - 0 154 {millis(n)} 99 "{client(n)}" '
        '"curl/8" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "shop.example" "tcp://10.0.2.1:80"'
    )


def istio(n: int) -> str:
    return (
        f'[{iso(n)}] "GET /shop HTTP/1.1" 200 - via_upstream - "-" 0 135 {millis(n)} 3 "-" '
        '"curl/8" "84961386-6d84-929d-98bd-c5aee93b5c88" "shop:8000" "10.44.1.27:80" '
        f"inbound|8000|| 127.0.0.6:41854 10.44.1.27:80 {client(n)}:{37652 + n} outbound_.80_ x"
    )


def caddy(n: int) -> str:
    request = {
        "remote_ip": client(n),
        "remote_port": str(3000 + n),
        "client_ip": client(n),
        "proto": "HTTP/2.0",
        "method": "GET",
        "host": "shop.example",
        "uri": "/shop?mail=ana@example.org",
        "headers": {"User-Agent": ["curl/7.82.0"], "Arm": ["arm=canary"]},
    }
    return json.dumps(
        {
            "level": "info",
            "ts": AT + n + 0.25,
            "logger": "http.log.access",
            "msg": "handled request",
            "request": request,
            "bytes_read": 0,
            "user_id": "",
            "duration": took(n),
            "size": 10900,
            "status": 200,
            "resp_headers": {"Server": ["Caddy"]},
        }
    )


def traefik_json(n: int) -> str:
    return json.dumps(
        {
            "ClientAddr": f"{client(n)}:{3000 + n}",
            "ClientHost": client(n),
            "ClientPort": str(3000 + n),
            "ClientUsername": "-",
            "DownstreamStatus": 200,
            "Duration": round(took(n) * 1e9),
            "OriginDuration": round(took(n) * 1e9) - 100_000,
            "OriginStatus": 200,
            "Overhead": 100_000,
            "RequestCount": n,
            "RequestMethod": "GET",
            "RequestPath": "/shop?token=x",
            "RouterName": "web@docker",
            "StartUTC": iso(n, ".123456789Z"),
            "time": iso(n, "Z"),
        }
    )


def envoy_json(n: int) -> str:
    return json.dumps(
        {
            "start_time": iso(n),
            "method": "GET",
            "path": "/shop?token=x",
            "response_code": 200,
            "response_flags": "-",
            "duration": millis(n),
            "downstream_remote_address": f"{client(n)}:{3000 + n}",
            "x_forwarded_for": None,
            "user_agent": "curl/8",
        }
    )


def k6_json(n: int) -> str:
    names = ("http_reqs", "http_req_duration", "http_req_waiting", "http_req_failed")
    tags = {"method": "GET", "name": "http://shop/shop", "status": "200"}
    values = (1, took(n) * 1000, took(n) * 900, 0)
    return "\n".join(
        json.dumps(
            {
                "metric": name,
                "type": "Point",
                "data": {"time": iso(n, ".25+00:00"), "value": value, "tags": tags},
            }
        )
        for name, value in zip(names, values, strict=True)
    )


def k6(n: int) -> str:
    names = "reqs req_duration req_blocked req_connecting req_tls_handshaking req_sending "
    names += "req_waiting req_receiving req_failed"
    values = {"req_duration": took(n) * 1000}
    rows = [
        f"http_{name},{AT + n:.0f},{values.get(name, 0.5):.6f},,,,true,,"
        "GET,http://shop/shop,HTTP/1.1,default,,200,,,http://shop/shop,,"
        for name in names.split()
    ]
    heading = (
        "metric_name,timestamp,metric_value,check,error,error_code,expected_response,group,method,"
        "name,proto,scenario,service,status,subproto,tls_version,url,extra_tags,metadata"
    )
    return "\n".join([heading, *rows] if not n else rows)


def jmeter(n: int) -> str:
    heading = "timeStamp,elapsed,label,responseCode,responseMessage,threadName,dataType,success"
    row = f"{round((AT + n) * 1000) + 250},{millis(n)},/shop,200,OK,Thread 1-{n % 40},text,true"
    return f"{heading}\n{row}" if not n else row


def cloudfront(n: int) -> str:
    moment = datetime.fromtimestamp(AT + n, UTC)
    heading = (
        "#Version: 1.0\n#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) "
        "cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) "
        "x-edge-result-type x-edge-request-id x-host-header cs-protocol cs-bytes time-taken"
    )
    row = "\t".join(
        [
            f"{moment:%Y-%m-%d}", f"{moment:%H:%M:%S}", "LAX1", "2390282", client(n), "GET",
            "d111111abcdef8.cloudfront.net", "/shop", "200", "-", "Mozilla/4.0%20arm=canary",
            "token=x", "-", "Hit", "SOX4xwn4XV6Q4rgb", "shop.example", "https", "23",
            f"{took(n):.3f}",
        ]
    )  # fmt: skip
    return f"{heading}\n{row}" if not n else row


def iis(n: int) -> str:
    moment = datetime.fromtimestamp(AT + n, UTC)
    heading = (
        "#Software: Microsoft Internet Information Services 10.0\n#Version: 1.0\n#Fields: date "
        "time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) "
        "cs(Referer) sc-status sc-substatus sc-win32-status time-taken"
    )
    row = (
        f"{moment:%Y-%m-%d %H:%M:%S} 10.0.0.5 GET /shop - 443 - {client(n)} Mozilla/5.0 - 200 0 0 "
        f"{millis(n)}"
    )
    return f"{heading}\n{row}" if not n else row


# By name: what writes a line, whether it is to be named, and the end that its instant tells.
KNOWN: dict[str, tuple[Callable[[int], str], bool, str]] = {
    "ingress-nginx": (ingress, False, "end"),
    "traefik": (traefik, False, "start"),
    "alb": (alb, False, "end"),
    "elb": (elb, False, "end"),
    "envoy": (envoy, False, "start"),
    "istio": (istio, False, "start"),
    "caddy": (caddy, False, "end"),
    "traefik-json": (traefik_json, False, "start"),
    "envoy-json": (envoy_json, False, "start"),
    "k6": (k6, False, "end"),
    "k6-json": (k6_json, False, "end"),
    "jmeter": (jmeter, False, "start"),
    "cloudfront": (cloudfront, False, "end"),
    "iis": (iis, False, "end"),
    "combined-d": (lambda n: clf(n, f" {micros(n)}"), True, "start"),
    "combinedio-d": (lambda n: clf(n, f" {400 + n} 900 {micros(n)}"), True, "start"),
    "gunicorn-d": (lambda n: clf(n, f" {micros(n)}"), True, "end"),
    "gunicorn-m": (lambda n: clf(n, f" {millis(n)}"), True, "end"),
    "hypercorn-d": (lambda n: clf(n, f" {micros(n)}", f"{client(n)}:{3000 + n}"), True, "end"),
}
NO_USERS = {"envoy", "k6", "k6-json", "jmeter"}
