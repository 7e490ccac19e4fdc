"""Which addresses may be dialled, and that the address dialled is the one that was checked."""

import socket
from typing import Any

import pytest

from upstream.addresses import is_allowed, resolve
from upstream.client import Client
from upstream.errors import NotSent
from upstream.tests.conftest import KEY, PATIENT, ScriptedServer, reply

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::7f00:1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fec0::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:c0a8:101::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
]
NEVER = ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1", "0.0.0.0", "::", "::ffff:224.0.0.1"]  # noqa: S104


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert is_allowed(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_needs_permission_in_every_disguise(address: str) -> None:
    assert not is_allowed(address)
    assert is_allowed(address, allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_multicast_and_nowhere_are_never_allowed(address: str) -> None:
    assert not is_allowed(address)
    assert not is_allowed(address, allow_private=True)


def answer_with(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let the look-up of names answer these addresses, one list after the other."""
    asked: list[str] = []
    left = list(answers)
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
        if host != "provider.example":
            # Dialling an address "looks it up" too.
            return list(real(host, port, *rest, **options))
        asked.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in found]

    monkeypatch.setattr("upstream.addresses.socket.getaddrinfo", getaddrinfo)
    return asked


def test_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(NotSent, match="address not allowed"):
        resolve("provider.example", 443)


def test_an_address_is_returned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, ["8.8.8.8", "8.8.8.8", "1.1.1.1"])
    assert resolve("provider.example", 443) == ("8.8.8.8", "1.1.1.1")


def test_a_name_without_an_address_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, [])
    with pytest.raises(NotSent, match="name not found"):
        resolve("provider.example", 443)


@pytest.mark.parametrize("action", ["add", "balance"])
def test_a_name_is_looked_up_once_so_that_it_cannot_be_rebound(
    monkeypatch: pytest.MonkeyPatch, server: ScriptedServer, action: str
) -> None:
    server.answer(reply('{"order":1,"balance":"1"}'))
    # The second look-up would lead to a port where nobody answers.
    asked = answer_with(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    url = f"http://provider.example:{server.port}/api/v2"
    with Client(url=url, key=KEY, allow_private=True, timeouts=PATIENT) as client:
        client.add("1", {}) if action == "add" else client.balance()
    assert asked == ["provider.example"]
    assert f"\r\nHost: provider.example:{server.port}\r\n".encode() in server.requests[0]


def test_the_next_address_is_tried_when_one_refuses(
    monkeypatch: pytest.MonkeyPatch, server: ScriptedServer
) -> None:
    server.answer(reply('{"order":1}'))
    answer_with(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    url = f"http://provider.example:{server.port}/api/v2"
    with Client(url=url, key=KEY, allow_private=True, timeouts=PATIENT) as client:
        assert client.add("1", {}).order == "1"
    assert server.connections == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://[::1]/api/v2",
        "https://[::ffff:10.0.0.1]/",
        "http://localhost:1/",
        "http://2130706433/",
        "http://0x7f.1/",
    ],
)
@pytest.mark.parametrize("action", ["add", "balance"])
def test_a_provider_at_a_private_address_is_never_connected_to(url: str, action: str) -> None:
    with (
        Client(url=url, key=KEY, timeouts=PATIENT) as client,
        pytest.raises(NotSent, match="address not allowed"),
    ):
        client.add("1", {}) if action == "add" else client.balance()
