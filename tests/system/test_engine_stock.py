# SPDX-License-Identifier: GPL-2.0-or-later
"""The distribution's own libc and libcrypto, as installed, in programs that know nothing of it."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.livepatches import REVERTED, SUCCESS, live_patch, trigger
from tests.support.targets import compiled, running

GETPPID = "int new_getppid(void);\nint new_getppid(void) { return 4242; }\n"


def mapped(pid: int, name: str) -> Path:
    """The file of a library that a process maps."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if line.split()[-1].rpartition("/")[2].startswith(name):
            return Path(line.split()[-1])
    raise AssertionError(f"{pid} does not map {name}")


def test_libc_of_a_python_process() -> None:
    code = (
        "import os, sys\nprint('ready', flush=True)\n"
        "for line in sys.stdin: print(os.getppid(), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin and process.stdout

        def ask() -> int:
            assert process.stdin and process.stdout
            process.stdin.write("\n")
            return int(process.stdout.readline())

        try:
            assert process.stdout.readline() == "ready\n"
            container = live_patch(
                mapped(process.pid, "libc.so"),
                GETPPID,
                {"getppid": "new_getppid"},
                name="libc_livepatch1.so",
            )
            assert ask() == os.getpid()
            for _ in range(3):
                assert trigger(process.pid, container).verdict == SUCCESS
                assert ask() == 4242
                assert trigger(process.pid, "--revert", container).verdict == REVERTED
                assert ask() == os.getpid()
        finally:
            process.kill()


LIBC_CALLER = """
#include "board.h"
static void *worker(void *number) {
    for (;;) { SET(ANSWERS + (uintptr_t)number, getppid()); ADD(ROUNDS, 1); nap(5000); }
    return NULL;
}
int main(int count, char **words) {
    pthread_t thread;
    board_open(count, words);
    for (uintptr_t n = 1; n < 64; n++) if (pthread_create(&thread, NULL, worker, (void *)n)) die("thread");
    board_ready();
    worker(0);
}
"""


def test_libc_of_a_program_with_64_threads() -> None:
    with running(compiled(LIBC_CALLER, name="libc-caller")) as target:
        assert len(target.threads()) == 64
        target.advance(by=200)
        assert set(target.answers(64)) == {os.getpid()}
        container = live_patch(
            mapped(target.pid, "libc.so"), GETPPID, {"getppid": "new_getppid"}, name="libc_livepatch1.so"
        )
        said = trigger(target, container)
        assert said.verdict == SUCCESS and said.row["threads"] == 64
        target.advance(by=200)
        target.until(lambda: set(target.answers(64)) == {4242}, "all threads to see it")
        assert trigger(target, "--revert", container).verdict == REVERTED
        target.advance(by=200)
        target.until(lambda: set(target.answers(64)) == {os.getpid()}, "all threads to see it")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _certificate(place: Path) -> tuple[Path, Path]:
    key, certificate = place / "key.pem", place / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, certificate


class Client(threading.Thread):
    """Asks a TLS server again and again, each time over a new connection, and counts."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.good = 0
        self.failures: list[str] = []
        self.done = threading.Event()
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def ask(self) -> tuple[http.client.HTTPResponse, str]:
        """One request over a connection of its own."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=10)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            return response, response.read().decode("latin-1")
        finally:
            connection.close()

    def run(self) -> None:
        while not self.done.is_set():
            try:
                response, _ = self.ask()
                assert response.status == 200
                self.good += 1
            except Exception as error:
                self.failures.append(repr(error))


@contextmanager
def under_load(port: int, clients: int = 2) -> Iterator[list[Client]]:
    """Clients that ask all the time; not one request may fail."""
    threads = [Client(port) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for thread in threads:
            thread.done.set()
        for thread in threads:
            thread.join(20)
    assert [thread.failures for thread in threads] == [[]] * clients
    assert all(thread.good > 10 for thread in threads)


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        assert process.poll() is None
        try:
            Client(port).ask()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("the server does not answer")


NGINX = """
daemon off;
worker_processes 2;
pid {place}/pid;
error_log {place}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
  uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    add_header X-Curves "$ssl_curves";
    location / {{ return 200 "hello\\n"; }}
  }}
}}
"""

OBJECT_NAME = """
#include <openssl/obj_mac.h>
#include <openssl/objects.h>
const char *new_name(int number);
const char *new_name(int number) {
    if (number == NID_ffdhe3072) return "LIVEPATCHED";
    const struct { const char *short_name; } *object = (const void *)OBJ_nid2obj(number);
    return object ? object->short_name : 0;
}
"""


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here")
def test_libcrypto_of_a_live_nginx(tmp_path: Path) -> None:
    port = _free_port()
    key, certificate = _certificate(tmp_path)
    tmp_path.chmod(0o755)
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(NGINX.format(place=tmp_path, port=port, key=key, certificate=certificate))
    with subprocess.Popen(["nginx", "-p", tmp_path, "-e", tmp_path / "log", "-c", configuration]) as master:
        try:
            _wait_until_it_answers(port, master)
            processes = [master.pid, *map(int, _children(master.pid))]
            assert len(processes) == 3
            container = live_patch(
                mapped(master.pid, "libcrypto.so"),
                OBJECT_NAME,
                {"OBJ_nid2sn": "new_name"},
                name="libcrypto_livepatch1.so",
            )
            with under_load(port) as clients:
                for _ in range(2):
                    for pid in processes:
                        assert trigger(pid, container).verdict == SUCCESS
                    for _ in range(6):
                        assert "LIVEPATCHED" in (clients[0].ask()[0].getheader("X-Curves") or "")
                    for pid in processes:
                        assert trigger(pid, "--revert", container).verdict == REVERTED
                    for _ in range(6):
                        assert "LIVEPATCHED" not in (clients[0].ask()[0].getheader("X-Curves") or "")
            assert [master.pid, *map(int, _children(master.pid))] == processes
        finally:
            workers = _children(master.pid)
            master.kill()  # first, or it would replace the workers
            for worker in workers:
                os.kill(int(worker), signal.SIGKILL)


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_libssl_of_a_live_openssl_server(tmp_path: Path) -> None:
    """``openssl s_server -www`` shows the names of the ciphers, which libssl gives."""
    port = _free_port()
    key, certificate = _certificate(tmp_path)
    source = "const char *new_name(const void *c);\n"
    source += 'const char *new_name(const void *c) { (void)c; return "LIVEPATCHED"; }\n'
    with subprocess.Popen(
        ["openssl", "s_server", "-www", "-quiet", "-accept", str(port), "-key", key, "-cert", certificate],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            _wait_until_it_answers(port, server)
            container = live_patch(
                mapped(server.pid, "libssl.so"),
                source,
                {"SSL_CIPHER_get_name": "new_name"},
                name="libssl_livepatch1.so",
            )
            with under_load(port, 1) as clients:
                assert "LIVEPATCHED" not in clients[0].ask()[1]
                for _ in range(3):
                    assert trigger(server.pid, container).verdict == SUCCESS
                    assert "LIVEPATCHED" in clients[0].ask()[1]
                    assert trigger(server.pid, "--revert", container).verdict == REVERTED
                    assert "LIVEPATCHED" not in clients[0].ask()[1]
            assert server.poll() is None
        finally:
            server.kill()


def test_many_functions_of_stock_libcrypto_at_once() -> None:
    """A cumulative live patch: dozens of functions of one library, all or nothing."""
    code = (
        "import ssl, ctypes, sys\nlib = ctypes.CDLL(sys.argv[1])\nprint('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        "    print(*[getattr(lib, name)(1) & 0xffff for name in line.split()], flush=True)\n"
    )
    library = mapped(os.getpid(), "libcrypto.so")  # this module imports ssl
    names = [
        f"{kind}_{what}"
        for kind in (
            "EVP_CIPHER",
            "EVP_MD",
            "EVP_PKEY",
            "BIO",
            "X509",
            "RSA",
            "EC_KEY",
            "DH",
            "DSA",
            "EVP_CIPHER_CTX",
        )
        for what in ("new", "free", "up_ref")
    ]
    present = [name for name in names if name in _exported(library)]
    assert len(present) > 15
    source = "".join(f"int new_{name}(void) {{ return {4000 + n}; }}\n" for n, name in enumerate(present))
    container = live_patch(
        library, source, {name: f"new_{name}" for name in present}, name="libcrypto_livepatch2.so"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(library)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin and process.stdout
        try:
            assert process.stdout.readline() == "ready\n"
            said = trigger(process.pid, container)
            assert said.verdict == SUCCESS, said
            process.stdin.write(" ".join(present) + "\n")
            assert process.stdout.readline().split() == [str(4000 + n) for n in range(len(present))]
            assert trigger(process.pid, "--revert", container).verdict == REVERTED
        finally:
            process.kill()


def _exported(library: Path) -> set[str]:
    lines = subprocess.run(
        ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
    )
    return {line.split()[2].partition("@")[0] for line in lines.stdout.splitlines() if " T " in line}
