# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames as libzypp writes them, as it might write them, and as nobody should."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zypp_plugin.frames import BadFrame, Frame, Wire

LIMIT = 200_000


@contextmanager
def wire(data: bytes, *, limit: int = LIMIT) -> Iterator[Wire]:
    """A wire with this input, written by a thread because a pipe holds 64 KiB only."""
    source, feed = os.pipe()
    nowhere = os.open(os.devnull, os.O_WRONLY)

    def write() -> None:
        with os.fdopen(feed, "wb") as pipe:
            try:
                pipe.write(data)
            except BrokenPipeError:
                pass

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield Wire(source=source, sink=nowhere, limit=limit)
    finally:
        os.close(source)
        os.close(nowhere)
        writer.join()


def receive_all(data: bytes, *, limit: int = LIMIT) -> list[Frame | str]:
    """All frames of an input, a sentence for each that is none."""
    found: list[Frame | str] = []
    with wire(data, limit=limit) as tested:
        while True:
            try:
                frame = tested.receive()
            except BadFrame as error:
                found.append(str(error))
                continue
            if frame is None:
                return found
            found.append(frame)


def one(data: bytes) -> Frame:
    [frame] = receive_all(data)
    assert isinstance(frame, Frame)
    return frame


def test_frames_of_a_real_commit() -> None:
    body = b'{\n"TransactionStepList": [{\n"solvable": {\n"n": "foo"\n},\n"type": "+"\n}]\n}'
    frames = receive_all(
        b"PLUGINBEGIN\nuserdata:me\n\n\0"
        + b"COMMITBEGIN\n\n"
        + body
        + b"\0"
        + b"PLUGINEND\n\n\0_DISCONNECT\n\n\0"
    )
    assert [(frame.command, frame.headers, frame.body) for frame in frames if isinstance(frame, Frame)] == [
        ("PLUGINBEGIN", {"userdata": "me"}, b""),
        ("COMMITBEGIN", {}, body),
        ("PLUGINEND", {}, b""),
        ("_DISCONNECT", {}, b""),
    ]


def test_headers_that_later_versions_may_send() -> None:
    frame = one(
        b"COMMITEND\ncontent-length:5\nX-New:a:b\nuserdata:one\\ntwo\\cthree\\\\four\\q\nX-New:c\n\nab\0cd\0"
    )
    assert frame.body == b"ab\0cd"  # with a length, the body may hold a NUL
    assert frame.headers["X-New"] == "a:b"
    assert frame.headers["userdata"] == "one\ntwo:three\\four\\q"


def test_line_ends_between_frames_and_in_heads() -> None:
    assert [
        frame.command
        for frame in receive_all(b"\nA\r\nk:v\r\n\r\nbody\0\n\r\nB\n\n\0")
        if isinstance(frame, Frame)
    ] == [
        "A",
        "B",
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\0", "without a command"),
        (b"\xff\xfe\n\n\0", "not UTF-8"),
        (b"A\nno colon\n\n\0", "no key and colon"),
        (b"A\n:value\n\n\0", "no key and colon"),
        (b"A\ncontent-length:-1\n\n\0", "not a number"),
        (b"A\ncontent-length:1_0\n\n\0", "not a number"),
        (b"A\ncontent-length:99999999999\n\n\0", "more than"),
        (b"A\ncontent-length:2\n\nabc\0", "no NUL follows"),
        (b"A\n\n" + b"x" * (LIMIT + 70_000) + b"\0", "longer than"),
    ],
)
def test_what_is_no_frame_is_refused_and_the_next_one_is_read(data: bytes, says: str) -> None:
    refusal, after = receive_all(data + b"PLUGINEND\n\n\0")
    assert isinstance(refusal, str)
    assert says in refusal
    assert isinstance(after, Frame)
    assert after.command == "PLUGINEND"


@pytest.mark.parametrize("data", [b"", b"COMMIT", b"COMMITEND\n\n{", b"A\ncontent-length:9\n\n123\0"])
def test_an_end_in_the_middle_is_an_end(data: bytes) -> None:
    assert receive_all(data) == []


@given(st.binary(max_size=500))
def test_any_bytes_come_to_an_end(data: bytes) -> None:
    for found in receive_all(data, limit=300):
        assert isinstance(found, str) or found.command == found.command.strip()


@given(
    st.lists(
        st.sampled_from([b"A", b"\n", b"\0", b":", b"content-length:", b"3", b"\\", b"\r", b"x"]),
        max_size=40,
    )
)
def test_near_frames_come_to_an_end(pieces: list[bytes]) -> None:
    receive_all(b"".join(pieces))


TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs", "Zl", "Zp"]), max_size=20
).filter(lambda text: not set(text) & set("\x0b\x0c\x1c\x1d\x1e\x85"))


@given(
    command=st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=1, max_size=12),
    headers=st.dictionaries(TEXT.filter(bool), TEXT, max_size=4),
    body=TEXT,
)
def test_what_is_sent_is_received(command: str, headers: dict[str, str], body: str) -> None:
    headers = {key: value for key, value in headers.items() if key != "content-length"}
    source, sink = os.pipe()
    Wire(source=source, sink=sink).send(command, headers, body)
    os.close(sink)
    frame = Wire(source=source, sink=-1).receive()
    os.close(source)
    assert frame is not None
    assert (frame.command, frame.headers, frame.body.decode()) == (command, headers, body)


def test_a_commit_of_many_packages_is_read_fast() -> None:
    body = b'{"TransactionStepList": [' + b",\n".join([b'{"type": "+"}'] * 150_000) + b"]}"
    began = time.process_time()
    with wire(b"COMMITEND\n\n" + body + b"\0", limit=1 << 30) as tested:
        frame = tested.receive()
    assert frame is not None
    assert frame.body == body
    assert time.process_time() - began < 2
