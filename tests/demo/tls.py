# SPDX-License-Identifier: GPL-2.0-or-later
"""``openssl s_server`` with the distribution's own libcrypto, patched while a client keeps asking."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

from tests.demo import stage
from tests.support import rpms
from tests.support.containers import build_container
from tests.support.sandbox import Sandbox

PACKAGE = "openssl-3-livepatches"
# X509_verify_cert_error_string() of libcrypto has the words for a result; s_server's page shows them.
FIX = 'const char *fixed_words(long result) { (void)result; return "PATCHED, and never restarted"; }'
_LINE = "Verify return code:"


def play(machine: Sandbox, bench: Path) -> None:
    """Patch a stock library in a server under load; ``bench`` is a directory to build in."""
    stage.act("The same with a server, and a library that nobody built for live patching")
    place = machine.root / "srv/demo"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    subprocess.run(
        ["openssl", *request.split(), "-keyout", place / "key", "-out", place / "certificate"],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = f"s_server -www -quiet -accept 127.0.0.1:{port} -key /srv/demo/key -cert /srv/demo/certificate"
    server = subprocess.Popen(
        machine.argv(["openssl", *serve.split()]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port)
        library = _libcrypto()
        stage.tell(
            f"""openssl s_server runs with this distribution's {library.name}, as it was installed. A client sends
            request after request. The server's page has this in it:"""
        )
        stage.line(verdict(ask(port)), fresh=False)
        container = build_container(
            bench,
            FIX,
            target=library,
            functions={"X509_verify_cert_error_string": "fixed_words"},
            name="libcrypto_3_livepatch1.so",
        )
        machine.add_packages(rpms.livepatch_spec(PACKAGE, [container]))
        with Client(port) as client:
            before = client.count
            stage.command(machine, "zypper", "--non-interactive", "install", PACKAGE)
            asked = client.count - before
        page = verdict(ask(port))
        stage.line(page, fresh=True)
        if "PATCHED" not in page or client.failures or server.poll() is not None:
            stage.fail(f"{client.failures} failed requests; the page says: {page}")
        stage.good(f"the same server answers with the new function; {asked} requests meanwhile, none failed")
    finally:
        server.kill()
        server.wait()


def ask(port: int) -> str:
    """Send one request over a new TLS connection and return the page; raises OSError."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain) as secured,
    ):
        secured.sendall(b"GET / HTTP/1.0\r\n\r\n")
        page = b""
        while chunk := secured.recv(65536):
            page += chunk
    if b"</html>" not in page.lower():
        raise OSError("the page is not complete")
    return page.decode(errors="replace")


def verdict(page: str) -> str:
    """Return the line of the page that has words from libcrypto."""
    return next((line.strip() for line in page.splitlines() if line.strip().startswith(_LINE)), "")


class Client(threading.Thread):
    """Asks again and again until the block ends."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self._stop_now = threading.Event()
        self.count = 0
        self.failures = 0

    def run(self) -> None:
        """Ask, count, and count what failed."""
        while not self._stop_now.is_set():
            try:
                ask(self._port)
                self.count += 1
            except OSError:
                self.failures += 1
            time.sleep(0.005)

    def __enter__(self) -> Client:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_now.set()
        self.join()


def _wait(port: int) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            ask(port)
            return
        except OSError:
            if time.monotonic() > end:
                stage.fail("the server does not answer")
            time.sleep(0.02)


def _libcrypto() -> Path:
    """The stock libcrypto: that of this very process, which is the distribution's Python."""
    for line in Path(f"/proc/{os.getpid()}/maps").read_text().splitlines():
        path = Path(line.split(maxsplit=5)[-1])
        if path.name.startswith("libcrypto.so"):
            return path
    raise RuntimeError("this Python has no libcrypto")
