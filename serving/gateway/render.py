"""The configuration of NGINX as a pure function of the plan. Every block says why it is as it is."""

import json
from http import HTTPStatus
from pathlib import Path

from serving.gateway.accel import MARK, MEDIA
from serving.gateway.plan import GatewayPlan
from serving.headers import SECURITY, TRANSPORT

# What NGINX itself refuses: its status -> the status told, code, detail, seconds after which to come again.
_REFUSALS: dict[int, tuple[int, str, str, int | None]] = {
    400: (400, "bad_request", "this is no request of HTTP", None),
    403: (403, "forbidden", "this may not be read", None),
    404: (404, "not_found", "there is nothing here", None),
    405: (405, "method_not_allowed", "this method is not known here", None),
    408: (408, "request_timeout", "the request came too slowly", None),
    411: (411, "length_required", "say how long the body is", None),
    413: (413, "too_large", "the body of the request is too large", None),
    414: (414, "uri_too_long", "the address is too long", None),
    416: (416, "range_not_satisfiable", "the file has no such range", None),
    421: (421, "misdirected_request", "this host is not served here (MATINEE_GATEWAY_NAME)", None),
    429: (429, "too_many_requests", "too many requests from one address", 1),
    494: (431, "headers_too_large", "the headers of the request are too large", None),
    500: (500, "internal_error", "something broke; the log knows why", None),
    501: (501, "not_implemented", "this is not supported", None),
    502: (503, "api_unavailable", "the API does not answer: try again", 2),
    503: (503, "api_unavailable", "the API does not answer: try again", 2),
    504: (503, "api_unavailable", "the API does not answer in time: try again", 2),
}
_COMPRESSED = (
    "application/vnd.apple.mpegurl application/dash+xml application/json application/problem+json text/vtt text/css "
    "text/javascript application/javascript image/svg+xml"
)


def render(plan: GatewayPlan) -> str:
    """`nginx.conf` for the plan."""
    return "\n".join(
        [
            _process(plan),
            "http {",
            _basics(plan),
            _variables(plan),
            _limits(plan),
            _upstream(plan),
            _https(plan),
            _http(plan),
            "}\n",
        ]
    )


def _process(plan: GatewayPlan) -> str:
    return f"""\
# Written by Matinee at each start; what is changed here is lost.
daemon off;
worker_processes {plan.workers};
worker_rlimit_nofile 16384;
# What still plays when workers are replaced or stopped is finished, for so long.
worker_shutdown_timeout 10s;
pid {_path(plan.folder / "nginx.pid")};
error_log stderr notice;
events {{ worker_connections 4096; }}"""


def _basics(plan: GatewayPlan) -> str:
    http = plan.folder / "temp"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"    {kind}_temp_path {_path(http / kind)};" for kind in kinds)
    # A request that comes just as workers are replaced finds its connection open (NGINX 1.27.4 and later).
    reload = "    keepalive_min_timeout 2s;\n" if plan.version >= (1, 27, 4) else ""
    return f"""\
{temporary}
    default_type application/octet-stream;
    server_tokens off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=2000 inactive=30s;
    open_file_cache_valid 10s;
    keepalive_timeout 65s;
    keepalive_requests 10000;
{reload}    # Slow senders hold nothing for long.
    client_header_timeout 10s;
    client_body_timeout 15s;
    send_timeout 30s;
    reset_timedout_connection on;
    client_max_body_size {plan.body_bytes};
    client_body_buffer_size 128k;
    large_client_header_buffers 4 8k;
    gzip on;
    gzip_vary on;
    gzip_proxied any;
    gzip_comp_level 4;
    gzip_min_length 1000;
    gzip_types {_COMPRESSED};
    # NGINX's own error lines hold whole addresses, which may hold tokens: requests are told by the line below alone.
    error_log stderr alert;
    log_format line escape=json '{{"at":"$time_iso8601","request_id":"$rid","client":"$network",'
        '"method":"$request_method","path":"$masked","status":"$status","upstream":"$upstream_status",'
        '"seconds":"$request_time"}}';
    access_log /dev/stdout line if=$failed;"""


def _variables(plan: GatewayPlan) -> str:
    trusted = "".join(f" {network} 1;" for network in plan.outer_proxies)
    region = (
        f"""
    map $outer $region {{ default ""; 1 $http_{plan.region_header.lower().replace("-", "_")}; }}"""
        if plan.region_header
        else ""
    )
    return f"""\
    map $http_x_request_id $rid {{ default $request_id; "~^[A-Za-z0-9-]{{8,64}}$" $http_x_request_id; }}
    map $request_method $known {{ default 0; "" 1; "~^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)$" 1; }}
    # A media address without its token; no line has a query.
    map $uri $masked {{ default $uri; "~^/v/[^/]*(?<rest>.*)$" /v/-$rest; }}
    # People's addresses end at their network.
    map $remote_addr $network {{
        default -;
        "~^(?<four>\\d+\\.\\d+\\.\\d+)\\." $four.0;
        "~^(?<six>[0-9a-f]+:[0-9a-f]+:[0-9a-f]+):" $six::;
    }}
    map $status $failed {{ default 0; "~^[45]" 1; }}
    geo $realip_remote_addr $outer {{ default 0;{trusted} }}{region}"""


def _limits(plan: GatewayPlan) -> str:
    """A coarse net; limits by purpose are the app's."""
    lines = []
    if plan.requests_per_s:
        lines += [
            f"limit_req_zone $binary_remote_addr zone=requests:10m rate={plan.requests_per_s}r/s;",
            f"limit_req zone=requests burst={plan.burst} nodelay;",
            "limit_req_status 429;",
        ]
    if plan.connections:
        lines += [
            "limit_conn_zone $binary_remote_addr zone=connections:10m;",
            f"limit_conn connections {plan.connections};",
            "limit_conn_status 429;",
        ]
    return "\n".join(f"    {line}" for line in lines)


def _upstream(plan: GatewayPlan) -> str:
    return f"""\
    upstream api {{
        server 127.0.0.1:{plan.api_port} max_fails=0;
        # Shorter than uvicorn's own patience (75 s): it never closes a connection that is just being used.
        keepalive 64;
        keepalive_timeout 60s;
    }}
    proxy_http_version 1.1;
    proxy_connect_timeout 2s;
    proxy_send_timeout 15s;
    proxy_read_timeout 60s;
    proxy_buffer_size 16k;
    proxy_buffers 16 16k;
    proxy_max_temp_file_size 0;
    proxy_cache_path {_path(plan.folder / "cache")} levels=1:2 keys_zone=public:10m max_size=256m inactive=1h
        use_temp_path=off;"""


def _https(plan: GatewayPlan) -> str:
    two = "http2 on;" if plan.version >= (1, 25, 1) else ""
    listen = f"listen {_socket(plan.listen, plan.https_port)} ssl{'' if two else ' http2'}"
    tls = f"""\
        {two}
        ssl_certificate {_path(plan.certificate)};
        ssl_certificate_key {_path(plan.key)};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;
        ssl_session_cache shared:tls:10m;
        ssl_session_timeout 1d;
        ssl_session_tickets off;"""
    return f"""\
    server {{
        {listen} default_server{_both(plan.listen)};
        server_name _;
{tls}
{_errors(plan, secure=True)}
        location / {{ return 421; }}
    }}
    server {{
        {listen};
        server_name {_names(plan)};
{tls}
        root {_path(plan.folder / "empty")};
{_realip(plan)}
{_errors(plan, secure=True)}
        if ($known = 0) {{ return 405; }}

        location / {{
            proxy_pass http://api;
{_forwarded(plan)}
        }}
        location ^~ /api/ {{
            proxy_pass http://api;
{_forwarded(plan)}
        }}
        # Tokens and what a visitor sent are not compressed together (BREACH).
        location ^~ /api/auth/ {{
            gzip off;
            proxy_pass http://api;
{_forwarded(plan)}
        }}
        # The same for everybody, and asked for without a name: so it may be kept.
        location ^~ /media-posters/ {{
            proxy_pass http://api;
            proxy_cache public;
            proxy_cache_key $uri;
            proxy_cache_lock on;
            proxy_cache_revalidate on;
            proxy_cache_background_update on;
            proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504;
            proxy_hide_header x-request-id;
            add_header x-request-id $rid always;
{_forwarded(plan, "Cookie", "Authorization")}
        }}
        # Files that the app hands over (X-Accel-Redirect); nobody asks for them by this name.
        location ^~ {MEDIA} {{
            internal;
            alias {_path(plan.media, "/")};
{_headers(secure=True)}
        }}
        # For those who run the service, at the API's own port.
        location = /metrics {{ return 404; }}
        location ~ /\\.(?!well-known/) {{ return 404; }}
    }}"""


def _http(plan: GatewayPlan) -> str:
    port = "" if plan.https_port == 443 else f":{plan.https_port}"
    listen = f"listen {_socket(plan.listen, plan.http_port)}"
    return f"""\
    server {{
        {listen} default_server{_both(plan.listen)};
        server_name _;
{_errors(plan, secure=False)}
        location / {{ return 421; }}
    }}
    server {{
        {listen};
        server_name {_names(plan)};
{_errors(plan, secure=False)}
        if ($known = 0) {{ return 405; }}
        location / {{
{_headers(secure=False)}
            return 308 https://$host{port}$request_uri;
        }}
    }}"""


def _realip(plan: GatewayPlan) -> str:
    if not plan.outer_proxies:
        return ""
    lines = [f"set_real_ip_from {network};" for network in plan.outer_proxies]
    lines += ["real_ip_header X-Forwarded-For;", "real_ip_recursive on;"]
    return "\n".join(f"        {line}" for line in lines)


def _forwarded(plan: GatewayPlan, *dropped: str) -> str:
    """What the app is told of the client is said by the gateway alone."""
    sent = {
        "Host": "$http_host",
        "Connection": '""',
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Proto": "https",
        "X-Request-ID": "$rid",
        MARK: plan.mark,
        **dict.fromkeys(("X-Forwarded-Host", "X-Forwarded-Port", "Forwarded", "X-Real-IP", *dropped), '""'),
    }
    if plan.region_header:
        sent[plan.region_header] = "$region"
    return "\n".join(f"            proxy_set_header {name} {value};" for name, value in sent.items())


def _errors(plan: GatewayPlan, *, secure: bool) -> str:
    """NGINX's own refusals as problem documents (RFC 9457)."""
    port = "" if plan.https_port == 443 else f":{plan.https_port}"
    lines = [f"error_page 497 =308 https://$host{port}$request_uri;"] if secure else []
    for status, (told, code, detail, wait) in _REFUSALS.items():
        body = {
            "type": f"urn:matinee:problem:{code}",
            "title": HTTPStatus(told).phrase,
            "status": told,
            "code": code,
            "detail": detail,
        }
        retry = f" add_header retry-after {wait} always;" if wait else ""
        # A named location needs the address of the request, which these came without.
        page = f"/_refused/{status}" if status in (400, 408, 414) else f"@refused{status}"
        lines += [
            f"error_page {status} ={told} {page};",
            f"location {'= ' if page.startswith('/') else ''}{page} {{",
            "    internal; default_type application/problem+json; add_header cache-control no-store always;" + retry,
            _headers(secure=secure),
            f"    return {told} '{json.dumps(body, separators=(',', ':'))}';",
            "}",
        ]
    return "\n".join(f"        {line}" for line in lines)


def _headers(*, secure: bool) -> str:
    every = [*SECURITY, *([TRANSPORT] if secure else [])]
    lines = [f'add_header {name} "{value}" always;' for name, value in every]
    return "\n".join(f"            {line}" for line in [*lines, "add_header x-request-id $rid always;"])


def _names(plan: GatewayPlan) -> str:
    return r'"~^.*$"' if "*" in plan.names else " ".join(plan.names)


def _socket(address: str, port: int) -> str:
    return f"[{address.strip('[]')}]:{port}" if ":" in address else f"{address}:{port}"


def _both(address: str) -> str:
    return " ipv6only=off" if ":" in address else ""


def _path(path: Path, end: str = "") -> str:
    return '"' + f"{path}{end}".replace("\\", "\\\\").replace('"', '\\"') + '"'
