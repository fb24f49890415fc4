"""The settings of proxies in docs/proxy.md: they agree with what the web process does, and a real nginx takes them."""

import asyncio
import io
import re
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn

from runtime.settings import MIB, Settings
from tests.places import ROOT
from tests.ports import reserved_port
from tests.signing import signature_header
from tests.system import until
from tests.webhooks.web_harness import SECRET, event, open_door, settings
from webhooks import bodies, connections

PAGE = (ROOT / "docs/proxy.md").read_text()
(NGINX,) = re.findall(r"^```nginx\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
(CADDY,) = re.findall(r"^```caddyfile\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PROGRAM = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")

Block = dict[str, Any]


def blocks(text: str) -> Block:
    """nginx's settings as nested values: a directive's words joined, or the block of that name."""
    words = iter(re.findall(r'"[^"]*"|[{};]|[^\s{};]+', text))

    def read() -> Block:
        found: Block = {}
        line: list[str] = []
        for word in words:
            if word == "}":
                break
            if word == "{":
                found[" ".join(line)] = read()
            elif word == ";":
                found[line[0]] = " ".join(line[1:])
            else:
                line.append(word)
                continue
            line = []
        return found

    return read()


def seconds(text: str) -> float:
    """A time as nginx and Caddy write it."""
    assert re.fullmatch(r"\d+s", text)
    return float(text[:-1])


def keep_alive_seconds() -> float:
    """After how long uvicorn closes an idle connection."""
    return uvicorn.Config("no:app", log_config=None).timeout_keep_alive


def test_nginx_agrees() -> None:
    """Its limits let pass what the web process takes, and are no wider; and nothing but webhooks goes through."""
    http = blocks(NGINX)["http"]
    server, upstream = http["server"], http["upstream subledger"]
    webhooks = server["location = /webhooks/stripe"]
    assert (
        f"{Settings(database_url='', redis_url='').body_bytes_max // MIB}m"
        == webhooks["client_max_body_size"]
    )
    count, size = server["large_client_header_buffers"].split()
    assert int(count) * int(size.removesuffix("k")) * 1024 <= connections.HEADER_BYTES_MAX
    assert seconds(server["client_header_timeout"]) <= connections.HEADER_TIMEOUT_SECONDS
    assert seconds(upstream["keepalive_timeout"]) < keep_alive_seconds()
    assert int(upstream["keepalive"]) < connections.CONNECTIONS_MAX
    assert seconds(webhooks["proxy_read_timeout"]) > bodies.BODY_TIMEOUT_SECONDS + 10
    assert ("on", "http://subledger") == (webhooks["proxy_request_buffering"], webhooks["proxy_pass"])
    assert ["location = /webhooks/stripe"] == [
        name for name, block in server.items() if "proxy_pass" in block
    ]
    assert "404" == server["location /"]["return"]


def test_caddy_agrees() -> None:
    """The same of its settings."""
    said = dict(re.findall(r"^\s*([a-z_]+) (\S+)$", CADDY, re.MULTILINE))
    assert f"{connections.HEADER_BYTES_MAX // 1024}KiB" == said["max_header_size"]
    assert f"{Settings(database_url='', redis_url='').body_bytes_max // MIB}MiB" == said["max_size"]
    assert seconds(said["read_header"]) <= connections.HEADER_TIMEOUT_SECONDS
    assert seconds(said["read_body"]) <= bodies.BODY_TIMEOUT_SECONDS
    assert seconds(said["keepalive"]) < keep_alive_seconds()
    assert seconds(said["response_header_timeout"]) > bodies.BODY_TIMEOUT_SECONDS + 10
    assert CADDY.count("{") == CADDY.count("}")
    assert "path /webhooks/stripe\n" in CADDY


def test_page_has_the_bounds_of_the_code() -> None:
    """The table of what the web process bounds on its own."""
    rows = dict(re.findall(r"^\| (.+?) \| (.*?) \| .+ \|$", PAGE, re.MULTILINE))
    told = {
        "headers of a request, with its URL": f"{connections.HEADER_BYTES_MAX // 1024} KiB",
        "from the first byte of the headers to their last": f"{connections.HEADER_TIMEOUT_SECONDS:g} s",
        "body of a webhook, from the headers on": f"{bodies.BODY_TIMEOUT_SECONDS:g} s",
        "body of any request, from the headers on": f"{connections.BODY_TIMEOUT_SECONDS:g} s",
        "the rest of a request that is answered already": f"{connections.REST_TIMEOUT_SECONDS:g} s",
        "what surrounds a body (sizes of chunks, headers after it)": f"{connections.FRAMING_BYTES_MAX // 1024} KiB",
        "all bodies of webhooks that are being read, together": f"{bodies.BODIES_BYTES_MAX // MIB} MiB",
        "a client that does not take its answer": f"{connections.ANSWER_TIMEOUT_SECONDS:g} s",
        "requests on one connection whose answers are due": f"{connections.PIPELINED_MAX}",
        "an idle connection": f"{keep_alive_seconds():g} s",
    }
    assert told == {name: rows[name] for name in told}
    assert keep_alive_seconds() < connections.IDLE_TIMEOUT_SECONDS
    assert bodies.BODY_TIMEOUT_SECONDS < connections.BODY_TIMEOUT_SECONDS
    assert rows["connections"].startswith(f"{connections.CONNECTIONS_MAX:,}, or")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of this machine, and its key."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
        + ["-keyout", str(key), "-out", str(certificate), "-days", "1"],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.mark.skipif(PROGRAM is None, reason="there is no nginx on this machine")
async def test_through_a_real_nginx(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """A webhook arrives with its signature intact; everything else ends at nginx."""
    port = reserved_port()
    async with open_door(settings()) as door:
        text = NGINX.replace("127.0.0.1:8000", f"127.0.0.1:{door.port}").replace("443 ssl", f"{port} ssl")
        text = text.replace("/etc/ssl/billing.example.com.pem", str(certificate[0]))
        text = text.replace("/etc/ssl/billing.example.com.key", str(certificate[1]))
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
            text = text.replace("http {\n", f"http {{\n  {kind}_temp_path {tmp_path}/{kind};\n", 1)
        text = text.replace("http {\n", "http {\n  access_log off;\n", 1)
        config = tmp_path / "nginx.conf"
        config.write_text(f"daemon off;\nmaster_process off;\npid {tmp_path}/pid;\n{text}")
        nginx = await asyncio.create_subprocess_exec(
            str(PROGRAM), "-c", str(config), "-e", str(tmp_path / "error.log"), cwd=tmp_path
        )
        try:
            await through_it(port)
        finally:
            nginx.terminate()
            await nginx.wait()


async def through_it(port: int) -> None:
    """What a proxy with the page's settings does with each kind of request."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    url = f"https://127.0.0.1:{port}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session:

        async def listens() -> bool:
            try:
                async with session.get(url):
                    return True
            except aiohttp.ClientError:
                return False

        await until(listens, what="the proxy")
        for body in (event("evt_1"), b'{"id":"evt_2"}'.ljust(2 * MIB)):
            headers = {"Stripe-Signature": signature_header(body, SECRET)}
            async with session.post(
                f"{url}/webhooks/stripe", data=io.BytesIO(body), headers=headers
            ) as answer:
                assert "could not be stored" in await answer.text()  # found right: there is no Postgres here
        async with session.post(f"{url}/webhooks/stripe", data=b"{}") as answer:
            assert "Stripe-Signature header is missing" in await answer.text()
        async with session.post(f"{url}/webhooks/stripe", data=io.BytesIO(b" " * (2 * MIB + 1))) as answer:
            assert 413 == answer.status
        async with session.get(f"{url}/webhooks/stripe") as answer:
            assert answer.status in (403, 404)
        for path in ("/status", "/healthz", "/customers/cus_1/refresh", "/webhooks/stripe/", "/backfills"):
            async with session.get(url + path) as answer:
                assert 404 == answer.status
        async with session.get(
            f"{url}/webhooks/stripe", headers={"X": "x" * 8000, "Y": "y" * 30_000}
        ) as answer:
            assert answer.status in (400, 431)
