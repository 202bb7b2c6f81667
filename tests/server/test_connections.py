"""How many connections there may be, who must make room, and what of a request has arrived."""

import resource
import socket
import time
from collections.abc import Iterator

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException

from model.errors import ConfigError
from server.connections import OWN_FILES, Connection, Connections, Phase, group_of, within_open_files
from server.errors import BodyTooLargeError, SlowClientError
from server.parsing import HEAD_BYTES, has_whole_head
from server.settings import ServerSettings
from server.sockets import PatientSocket


@pytest.fixture
def pair() -> Iterator[tuple[PatientSocket, socket.socket]]:
    """Yields a connection's two ends."""
    ours, theirs = socket.socketpair()
    with PatientSocket.taking_over(ours) as patient, theirs:
        yield patient, theirs


@pytest.mark.parametrize(
    ("client", "other", "is_one"),
    [
        (("10.0.0.1", 1), ("10.0.0.1", 2), True),
        (("10.0.0.1", 1), ("10.0.0.2", 1), False),
        (("2001:db8::1", 1, 0, 0), ("2001:db8::ffff", 2, 0, 0), True),
        (("2001:db8::1", 1, 0, 0), ("2001:db8:0:1::1", 1, 0, 0), False),
        (("fe80::1%eth0", 1, 0, 2), ("fe80::2", 1, 0, 0), True),
        (("::ffff:10.0.0.1", 1, 0, 0), ("10.0.0.1", 1), True),
        (("::ffff:10.0.0.1", 1, 0, 0), ("::ffff:10.0.0.2", 1, 0, 0), False),
        (("::1", 1, 0, 0), ("127.0.0.1", 1), False),
    ],
)
def test_an_address_is_one_client_and_so_is_a_network_of_ipv6(client: object, other: object, is_one: bool) -> None:
    assert (group_of(client) == group_of(other)) is is_one


def test_who_has_waited_longest_makes_room(pair: tuple[PatientSocket, socket.socket]) -> None:
    connections = Connections(3, 2)
    first, second, third = (
        Connection(Config(), pair[0], (host, 1), None) for host in ("10.0.0.1", "10.0.0.2", "10.0.0.2")
    )
    for connection in (first, second, third):
        connections.add(connection)
        connections.wait(connection, Phase.READING)
    assert connections.is_full
    assert connections.oldest() is first
    assert connections.oldest(second.group) is second
    connections.wait(first, Phase.WRITING)
    assert connections.oldest() is second
    connections.stop_waiting(second)
    connections.stop_waiting(third)
    assert connections.oldest(second.group) is None, "expected those that are worked on to stay"
    assert not connections.has_too_many_of(third)
    connections.add(Connection(Config(), pair[0], ("10.0.0.2", 3), None))
    assert connections.has_too_many_of(third)
    connections.remove(first)
    assert len(connections) == 3


def test_connections_leave_room_for_the_server_s_own_files() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OWN_FILES + 100, before[1]))
        settings = within_open_files(ServerSettings())
        assert (settings.max_connections, settings.max_connections_per_address) == (100, 75)
        resource.setrlimit(resource.RLIMIT_NOFILE, (OWN_FILES, before[1]))
        with pytest.raises(ConfigError, match="raise the limit"):
            within_open_files(ServerSettings())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    few = within_open_files(ServerSettings(max_connections=10, max_connections_per_address=3))
    assert (few.max_connections, few.max_connections_per_address) == (10, 3)


def test_an_answer_that_nobody_takes_waits_in_memory(pair: tuple[PatientSocket, socket.socket]) -> None:
    patient, client = pair
    answer = bytes(range(256)) * 20_000
    patient.sendall(answer[:5])
    patient.sendall(answer[5:])
    assert not patient.flush()
    received = b""
    while len(received) < len(answer):
        piece = client.recv(65536)
        assert piece, "expected more of the answer"
        received += piece
        patient.flush()
    assert received == answer
    assert not patient.unsent


def test_a_client_is_waited_for_until_the_deadline_however_steadily_it_sends(
    pair: tuple[PatientSocket, socket.socket],
) -> None:
    patient, client = pair
    patient.allow(0.3, 1000)
    client.sendall(b"a")
    assert patient.recv(10) == b"a"
    begun = time.monotonic()
    with pytest.raises(SlowClientError):
        patient.recv(10)
    assert 0.1 < time.monotonic() - begun < 5
    assert patient.has_expired
    client.sendall(b"b")
    assert patient.recv(10) == b"b", "expected what is there to be read"


def test_more_than_a_body_and_its_framing_is_not_read(pair: tuple[PatientSocket, socket.socket]) -> None:
    patient, client = pair
    patient.allow(5, 1000)

    def pass_on() -> int:
        client.sendall(bytes(65536))
        return len(patient.recv(65536))

    with pytest.raises(BodyTooLargeError):
        list(iter(pass_on, 0))


@pytest.mark.parametrize(
    ("received", "is_whole"),
    [
        (b"", False),
        (b"GET / HTTP/1.1\r\nHost: here\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: here\r\n\r", False),
        (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\n\r\n\nbody", True),
        (b"\r\nGET / HTTP/1.1\r\n\r\n", True),
    ],
)
def test_a_head_is_whole_with_its_empty_line(received: bytes, is_whole: bool) -> None:
    assert has_whole_head(bytearray(received), 0) is is_whole
    searched = len(received.partition(b"\r\n\r\n")[0])
    assert has_whole_head(bytearray(received), searched) is is_whole, "expected the same when its end comes later"


@pytest.mark.parametrize(
    ("received", "error"),
    [
        (b"GET / HTTP/1.1\nHost: here\n\n", ParseException),
        (b"\n", ParseException),
        (b"G" * (HEAD_BYTES + 1), LimitRequestLine),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (HEAD_BYTES // 6), LimitRequestHeaders),
    ],
)
def test_what_cannot_become_a_head_is_not_waited_for(received: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        has_whole_head(bytearray(received), 0)
