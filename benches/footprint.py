#!/usr/bin/env python3
"""What one gateway needs: memory at rest, after many calls and with many connections, and processor time for a call.

Runs the release program before its own sandbox over TLS, on loopback, for half a minute. deploy/README.md quotes what it prints; the
memory limits of the manifests are reckoned with it.

Usage: cargo build --release && benches/footprint.py [PROGRAM]      by default target/release/usersig-gateway
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = sys.argv[1] if len(sys.argv) > 1 else "target/release/usersig-gateway"
SECONDS = 12
TICKS = os.sysconf("SC_CLK_TCK")

CONFIG = """
[listen]
gateway = "127.0.0.1:{gateway}"
admin   = "127.0.0.1:{admin}"
workers = 2
[log]
format = "json"
[drain]
accept_for = "0s"
[[app]]
name            = "live"
sdkappid        = 1400000001
identifier      = "administrator"
secret_key_file = "live.key"
endpoints       = ["{sandbox}"]
ca_file         = "ca.pem"
"""


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        key = folder / "live.key"
        key.write_text("FAKE" + "0" * 60)
        key.chmod(0o600)
        program = Path(PROGRAM).resolve()
        sandbox = subprocess.Popen(
            [program, "sandbox", "--listen", "127.0.0.1:0", "--tls-out", folder / "ca.pem", "--app", f"1400000001={key}"],
            stdout=subprocess.PIPE, text=True)
        gateway, admin = 28080, 29901
        config = folder / "gateway.toml"
        config.write_text(CONFIG.format(gateway=gateway, admin=admin, sandbox=sandbox.stdout.readline().strip()))
        with open(folder / "log", "w") as log:
            serving = subprocess.Popen([program, "serve", "--config", config], stderr=log)
        try:
            subprocess.run([program, "wait", "--admin", f"http://127.0.0.1:{admin}"], check=True, stdout=subprocess.DEVNULL)
            print(f"program          {program.stat().st_size / 1e6:.1f} MB")
            print(f"at rest          {resident(serving.pid):.0f} MB")
            for connections, apis in [(20, 100), (2000, 20)]:
                before, at_rest = processor(serving.pid), resident(serving.pid)
                calls = asyncio.run(load(gateway, connections, apis))
                took = (processor(serving.pid) - before) / calls * 1e6
                memory = resident(serving.pid)
                each = (memory - at_rest) / connections * 1000
                print(f"{connections:4} connections {memory:.0f} MB ({each:.0f} KB more for each), {calls} calls, {took:.0f} µs each")
        finally:
            for process in (serving, sandbox):
                process.send_signal(signal.SIGTERM)
                process.wait()


def resident(pid):
    """In MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6


def processor(pid):
    """User and system time, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def load(port, connections, apis):
    """So many connections, each of which calls again as soon as it is answered. Gives the number of calls."""
    deadline = time.monotonic() + SECONDS
    return sum(await asyncio.gather(*[one(port, number, apis, deadline) for number in range(connections)]))


async def one(port, number, apis, deadline):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    calls = 0
    while time.monotonic() < deadline:
        # Names of no API, so that each has a ceiling of its own and nobody waits.
        head = f"POST /v4/made/up_{(number + calls) % apis} HTTP/1.1\r\nhost: gateway\r\nx-caller: c{number % 8}\r\n"
        writer.write(f'{head}content-length: 14\r\n\r\n{{"RoomId":"a"}}'.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer)
        calls += 1
    writer.close()
    return calls


main()
