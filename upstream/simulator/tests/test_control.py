"""Control over HTTP, the truth, counts, and IDs among neighbours."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from upstream.simulator import Settings, Simulator, World
from upstream.simulator.tests.conftest import KEY, NOON, Provider, service


def _truth(provider: Provider, link: str = "") -> Any:
    url = f"{provider.simulator.control_url}/truth"
    return provider.http.get(url, params={"link": link} if link else {}, timeout=30).json()


def test_the_truth_tells_every_order_and_all_money(provider: Provider) -> None:
    provider.order(link="one", quantity=100)
    provider.order(link="partial/two", quantity=100)
    provider.world.advance(100)

    truth = _truth(provider)

    assert [order["link"] for order in truth["orders"]] == ["one", "partial/two"]
    assert truth["orders"][1]["status"] == "Partial"
    assert truth["orders"][1]["remains"] == 40
    assert truth["orders"][0]["fields"] == {"service": "1", "link": "one", "quantity": "100"}
    assert (truth["paid_in"], truth["charged"], truth["given_back"]) == ("1000", "0.5", "0.1")
    assert truth["balance"] == "999.6"
    assert KEY not in str(truth)


def test_the_truth_can_be_asked_for_one_link(provider: Provider) -> None:
    provider.order(link="one")
    two = provider.order(link="two")

    assert [order["order"] for order in _truth(provider, "two")["orders"]] == [two]
    assert _truth(provider, "three")["orders"] == []


def test_requests_are_counted_by_action_and_outcome(provider: Provider) -> None:
    provider.order()
    provider.call(action="add", service=99)
    provider.call(action="balance", key="wrong")
    provider.call(action="nonsense")
    provider.world.break_with("add", "lost_before")
    with pytest.raises(requests.ConnectionError):
        provider.order()

    truth = _truth(provider)

    assert truth["received"] == {"add": 3, "balance": 1, "other": 1}
    assert truth["processed"] == {"add": 1}


def test_a_connection_without_a_byte_is_counted_as_silent(provider: Provider) -> None:
    socket.create_connection(("127.0.0.1", provider.simulator.port), timeout=30).close()

    deadline = time.monotonic() + 30
    while provider.world.truth()["silent_connections"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    truth = provider.world.truth()
    assert (truth["connections"], truth["bytes_in"]) == (1, 0)


def test_connections_and_bytes_count_the_api_and_not_the_control(provider: Provider) -> None:
    _truth(provider)
    assert provider.world.truth()["connections"] == 0

    requests.post(provider.simulator.url, data={"key": KEY, "action": "balance"}, timeout=30)

    truth = _truth(provider)
    assert truth["connections"] == 1
    assert truth["bytes_in"] > 100


def test_a_kept_connection_serves_many_requests(provider: Provider) -> None:
    for _ in range(5):
        provider.call(action="balance")

    assert provider.world.truth()["connections"] == 1


def test_faults_are_switched_on_and_off_over_http(provider: Provider) -> None:
    provider.control("faults", action="add", kind="error", text="Ordering is disabled", times=2)
    refused = provider.call(action="add", service=1, link="a", quantity=10)
    url = f"{provider.simulator.control_url}/faults"
    left = provider.http.get(url, timeout=30).json()["faults"]
    provider.control("faults", clear=True)

    assert refused == {"error": "Ordering is disabled"}
    assert [(fault["kind"], fault["times"]) for fault in left] == [("error", 1)]
    assert provider.order()


def test_settings_are_changed_over_http(provider: Provider) -> None:
    provider.control(
        "settings",
        pace=0.5,
        balance="7.25",
        services=[service(5, rate=0.1)],
        weights={"Canceled": 1.5},
    )

    assert provider.call(action="balance")["balance"] == "7.25"
    assert provider.call(action="services")[0]["service"] == 5
    order = provider.order(5, quantity=1000)
    provider.control("advance", seconds=0.5)
    assert provider.status(order)["status"] == "Canceled"
    url = f"{provider.simulator.control_url}/settings"
    assert provider.http.get(url, timeout=30).json()["pace"] == 0.5


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("settings", {"paces": 1}, 400),
        ("settings", {"pace": "fast"}, 400),
        ("settings", {"pace": -1}, 400),
        ("settings", {"weights": {"Lost": 1}}, 400),
        ("settings", {"ids": "roman"}, 400),
        ("settings", {"balance": "lots"}, 400),
        ("settings", {"duplicate_link": 1}, 400),
        ("faults", {"action": "add", "kind": "explode"}, 400),
        ("faults", {"action": "add", "kind": "error", "color": "red"}, 400),
        ("advance", {"seconds": -1}, 400),
        ("orders/5", {"status": "Completed"}, 404),
        ("nowhere", {}, 404),
    ],
)
def test_a_control_request_that_makes_no_sense_is_refused(
    provider: Provider, path: str, asked: dict[str, Any], status: int
) -> None:
    url = f"{provider.simulator.control_url}/{path}"

    answer = provider.http.post(url, json=asked, timeout=30)

    assert answer.status_code == status
    assert answer.json()["error"]


def test_control_refuses_other_methods_and_bodies(provider: Provider) -> None:
    url = provider.simulator.control_url

    assert provider.http.put(f"{url}/settings", timeout=30).status_code == 400
    assert provider.http.post(f"{url}/settings", data="[]", timeout=30).status_code == 400
    assert provider.http.post(f"{url}/settings", data="{", timeout=30).status_code == 400
    assert provider.http.get(f"{url}/nowhere", timeout=30).status_code == 404


def test_an_order_shows_what_it_is_forced_to_show(provider: Provider) -> None:
    order = provider.order()

    provider.control(f"orders/{order}", status="Weird", remains=-3, start_count=None, charge=1.5)
    forced = provider.status(order)
    provider.control(f"orders/{order}", clear=True)

    assert forced == {
        "charge": 1.5,
        "start_count": None,
        "status": "Weird",
        "remains": -3,
        "currency": "USD",
    }
    assert provider.status(order)["status"] == "Pending"
    assert provider.world.balance == Decimal("999.75")


def test_a_forced_end_gives_money_back_once(provider: Provider) -> None:
    order = provider.order()

    provider.control(f"orders/{order}", status="Partial", remains="40")
    partial = provider.world.balance
    provider.control(f"orders/{order}", status="Partial", remains="40")
    again = provider.world.balance
    provider.control(f"orders/{order}", status="Canceled")
    provider.world.advance(1000)

    assert partial == again == Decimal("999.85")
    assert provider.status(order)["status"] == "Canceled"
    assert provider.status(order)["remains"] == "40"
    assert provider.world.balance == 1000
    provider.control(f"orders/{order}", status="Completed")
    assert provider.world.balance == 1000
    assert provider.books_balance()


def test_an_order_can_be_placed_by_hand(provider: Provider) -> None:
    answer = provider.control("orders", service=1, link="by-hand", quantity=40)

    (order,) = _truth(provider)["orders"]
    assert (order["order"], order["source"]) == (answer["order"], "hand")
    assert provider.status(answer["order"])["charge"] == "0.1"
    assert _truth(provider)["received"] == {"status": 1}


def test_neighbours_leave_gaps_between_our_ids(provider: Provider) -> None:
    provider.world.change(neighbours_per_order=5)
    ours = [int(provider.order()) for _ in range(20)]

    gaps = [later - earlier - 1 for earlier, later in itertools.pairwise(ours)]
    foreign = [number for number in range(ours[0], ours[-1]) if number not in ours]
    held = {n for low, high in _truth(provider)["neighbours"] for n in range(low, high + 1)}
    answer = provider.call(action="status", orders=",".join(map(str, foreign[:100])))

    assert 0 in gaps
    assert 0 < max(gaps) <= 5
    assert set(foreign) <= held
    assert not held & set(ours)
    assert set(map(str, answer.values())) == {"{'error': 'Incorrect order ID'}"}


def test_neighbours_order_by_the_second_and_on_command(provider: Provider) -> None:
    provider.world.change(neighbours_per_second=2)
    first = int(provider.order())
    provider.world.advance(10)
    second = int(provider.order())
    provider.control("neighbours", count=3)
    third = int(provider.order())

    assert (second - first, third - second) == (21, 4)


def test_a_careless_provider_answers_for_everybodys_ids(provider: Provider) -> None:
    provider.control("neighbours", count=3)
    provider.world.change(open_status=True)

    answer = provider.call(action="status", orders="100001,100003,100004,99")

    assert answer["100001"]["status"] == "In progress"
    assert answer["100003"]["charge"] == "0.004"
    assert answer["100004"] == answer["99"] == {"error": "Incorrect order ID"}


def test_ids_can_be_random_or_text(provider: Provider) -> None:
    provider.world.change(ids="random")
    numbers = [int(provider.order()) for _ in range(10)]
    provider.world.change(ids="text")
    text = provider.call(action="add", service=1, link="a", quantity=10)["order"]

    assert numbers != sorted(numbers)
    assert len(set(numbers)) == 10
    assert text.startswith("ord_")
    assert provider.status(text)["status"] == "Pending"
    assert provider.call(action="cancel", orders=text) == [{"order": text, "cancel": 1}]


def test_rates_are_served_with_the_digits_they_came_with(provider: Provider) -> None:
    noisy = service(5, rate=Decimal("0.00011999999999999999"))
    provider.world.sell([noisy])

    assert '"rate": 0.00011999999999999999' in provider.post(action="services").text


def test_many_orders_at_once_keep_the_books_exact() -> None:
    world = World(
        [service(1, rate="0.0017")], key=KEY, settings=Settings(pace=50), clock=lambda: NOON
    )
    links = ("plain", "partial", "cancel", "fail")
    with Simulator(world=world) as simulator:

        def order(worker: int) -> None:
            with requests.Session() as session:
                for number in range(25):
                    form = {
                        "key": KEY,
                        "action": "add",
                        "service": "1",
                        "link": links[number % 4],
                        "quantity": str(worker * 100 + number + 1),
                    }
                    session.post(simulator.url, data=form, timeout=30)

        workers = [threading.Thread(target=order, args=(worker,)) for worker in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        world.advance(50)
        with requests.Session() as session:
            provider = Provider(simulator, session)
            assert provider.books_balance()
    orders = world.orders
    assert len({order.id for order in orders}) == 200
    assert all(order.final and order.given_back <= order.cost for order in orders)


def test_a_stopped_simulator_comes_back_on_its_port(provider: Provider) -> None:
    order = provider.order()
    url = provider.simulator.url
    provider.simulator.stop()
    with pytest.raises(requests.ConnectionError):
        requests.post(url, data={"key": KEY, "action": "balance"}, timeout=30)

    provider.simulator.start()

    assert provider.simulator.url == url
    fresh = requests.post(url, data={"key": KEY, "action": "status", "order": order}, timeout=30)
    assert fresh.json()["status"] == "Pending"


def test_nonsense_on_the_wire_ends_only_its_own_connection(provider: Provider) -> None:
    broken = [
        b"hello\r\n\r\n",
        b"POST /api/v2 HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"x" * 70_000,
    ]
    for said in broken:
        with socket.create_connection(("127.0.0.1", provider.simulator.port), timeout=30) as line:
            line.sendall(said)
            # Where it left bytes unread, TCP says so with a reset.
            with contextlib.suppress(ConnectionResetError):
                assert line.recv(100) == b""

    assert provider.call(action="balance")["balance"] == "1000"


def test_https_to_its_plain_port_fails_in_the_handshake(provider: Provider) -> None:
    url = provider.simulator.url.replace("http:", "https:")

    with pytest.raises(requests.exceptions.SSLError):
        requests.post(url, data={"key": KEY, "action": "balance"}, timeout=30)
    assert provider.world.truth()["received"] == {}


def test_it_speaks_https_with_a_certificate_of_the_tests(tmp_path: Path, world: World) -> None:
    certificate, key = _certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with Simulator(world=world, tls=tls) as simulator:
        form = {"key": KEY, "action": "balance"}
        answer = requests.post(simulator.url, data=form, timeout=30, verify=str(certificate))
        with pytest.raises(requests.exceptions.SSLError):
            requests.post(simulator.url, data=form, timeout=30)
        world.break_with("connect", "hang_before", seconds=30)
        with pytest.raises(requests.exceptions.Timeout):
            requests.post(simulator.url, data=form, timeout=0.3, verify=str(certificate))

    assert simulator.url.startswith("https://127.0.0.1:")
    assert answer.json()["balance"] == "1000"
    assert world.truth()["received"] == {"balance": 1}


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, secret


def test_latency_is_added_to_every_answer(provider: Provider) -> None:
    provider.world.change(latency_ms=100)
    begun = time.monotonic()

    provider.call(action="balance")

    assert time.monotonic() - begun >= 0.1
