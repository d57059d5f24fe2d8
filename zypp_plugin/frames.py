# SPDX-License-Identifier: GPL-2.0-or-later
r"""libzypp's plugin frames on a pair of file descriptors.

A frame is ``COMMAND\n``, any number of ``key:value\n``, an empty line, a body, and a NUL. The format is
STOMP's (stomp.github.io, 1.0 and 1.2) as zypp/PluginFrame.cc uses it: ``content-length`` is optional, header
texts may carry the escapes ``\n``, ``\r``, ``\c`` and ``\\``. Hot path: nothing is imported but os.
"""

from __future__ import annotations

import os

LIMIT = 64 << 20  # bytes in a frame; a commit of 30,000 packages is 4 MiB
_CHUNK = 1 << 16
_UNESCAPED = {"n": "\n", "r": "\r", "c": ":", "\\": "\\"}
_ESCAPED = {ord(char): f"\\{letter}" for letter, char in _UNESCAPED.items()}


class BadFrame(Exception):
    """What arrived is not a frame; the stream stands behind it, so that the next one can be read."""


class Frame:
    """One message: a command word, headers, and a body of bytes."""

    __slots__ = ("body", "command", "headers")

    def __init__(self, command: str, headers: dict[str, str], body: bytes) -> None:
        self.command = command
        self.headers = headers
        self.body = body


class Wire:
    """Reads frames from one descriptor and writes them to another; both are blocking."""

    def __init__(self, *, source: int, sink: int, limit: int = LIMIT) -> None:
        self._source = source
        self._sink = sink
        self._limit = limit
        self._data = bytearray()
        self._ended = False

    def receive(self) -> Frame | None:
        """Return the next frame, or None when the other side has closed.

        Raises BadFrame for anything that is not a frame and for one that exceeds the limit.
        """
        end = self._find_nul(0)
        if end < 0:
            return None
        start = 0
        while start < end and self._data[start] in b"\r\n":  # STOMP lets frames be set apart by line ends
            start += 1
        head, start_of_body = _split_head(bytes(self._data[start:end]))
        start_of_body += start
        try:
            command, headers = _parse_head(head)
            length = headers.get("content-length")
            if length is not None:
                end = self._end_by_length(start_of_body, length)
                if end < 0:
                    return None
            return Frame(command, headers, bytes(self._data[start_of_body:end]))
        finally:
            del self._data[: end + 1 if end >= 0 else len(self._data)]

    def send(self, command: str, headers: dict[str, str] | None = None, body: str = "") -> None:
        """Write one frame; raises OSError (EPIPE) when nobody reads any more."""
        lines = [command.translate(_ESCAPED)]
        lines += [
            f"{key.translate(_ESCAPED)}:{value.translate(_ESCAPED)}"
            for key, value in (headers or {}).items()
        ]
        text = "\n".join(lines) + "\n\n" + body
        data = memoryview(text.replace("\0", "").encode(errors="replace") + b"\0")
        while data:
            data = data[os.write(self._sink, data) :]

    def _find_nul(self, start: int) -> int:
        """Return where the first NUL at or behind ``start`` is, reading until it comes; -1 at the end."""
        while (at := self._data.find(0, start)) < 0:
            start = len(self._data)
            if start > self._limit:
                self._skip_to_nul()
                raise BadFrame(f"a frame is longer than {self._limit} bytes")
            if not self._read():
                return -1
        return at

    def _end_by_length(self, start: int, length: str) -> int:
        """Return where a body of ``length`` bytes ends; -1 at the end of input."""
        if not (length.isascii() and length.isdigit() and len(length) <= 12):
            raise BadFrame(f"content-length is {length!r}, not a number of bytes")
        if int(length) > self._limit:
            raise BadFrame(f"content-length is {length}, more than {self._limit} bytes")
        end = start + int(length)
        while len(self._data) <= end:
            if not self._read():
                return -1
        if self._data[end] != 0:
            raise BadFrame(f"no NUL follows a body of {length} bytes")
        return end

    def _skip_to_nul(self) -> None:
        while (at := self._data.find(0)) < 0:
            self._data.clear()
            if not self._read():
                return
        del self._data[: at + 1]

    def _read(self) -> bool:
        if not self._ended:
            data = os.read(self._source, _CHUNK)
            self._data += data
            self._ended = not data
        return not self._ended


def _split_head(data: bytes) -> tuple[bytes, int]:
    """Return the lines before the first empty one, and where the body starts."""
    at = 0
    while (line_end := data.find(b"\n", at)) >= 0:
        if data[at:line_end] in (b"", b"\r"):
            return data[:at], line_end + 1
        at = line_end + 1
    return data, len(data)


def _parse_head(head: bytes) -> tuple[str, dict[str, str]]:
    try:
        command, *lines = head.decode().splitlines()
    except UnicodeDecodeError as error:
        raise BadFrame("the head of a frame is not UTF-8") from error
    except ValueError as error:
        raise BadFrame("a frame without a command") from error
    headers: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        if not colon or not key:
            raise BadFrame(f"the header line {line[:80]!r} has no key and colon")
        headers.setdefault(_unescape(key), _unescape(value))  # STOMP 1.2: the first of equal keys counts
    return _unescape(command).strip(), headers


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    result, rest = "", text
    while rest:
        plain, backslash, rest = rest.partition("\\")
        result += plain
        if backslash:
            known = _UNESCAPED.get(rest[:1])
            result += known if known is not None else "\\" + rest[:1]  # older senders do not escape at all
            rest = rest[1:]
    return result
