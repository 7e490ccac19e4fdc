"""The shared cache while its server is away: nothing listens on the address."""

import socket
from collections.abc import Iterator

import pytest
from django.core.cache import caches
from django.test import Client
from pytest_django import Settings
from redis.exceptions import ConnectionError as NoServer

from accounts.models import User
from accounts.throttle import hit
from panel.cache import ForgivingRedisCache


@pytest.fixture
def away(settings: Settings) -> Iterator[str]:
    """The default cache is a Redis server that has just gone; its address."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"redis://127.0.0.1:{gone.getsockname()[1]}/0"
    settings.CACHES = {
        "default": {"BACKEND": "panel.cache.ForgivingRedisCache", "LOCATION": address}
    }
    ForgivingRedisCache._rests_until.clear()
    yield address
    ForgivingRedisCache._rests_until.clear()


def test_a_cache_that_is_away_is_an_empty_one(away: str) -> None:
    cache = caches["default"]

    cache.set("a", 1)

    assert cache.get("a", "nothing") == "nothing"
    assert cache.get_many(["a"]) == {}
    assert cache.add("a", 1)
    assert not cache.has_key("a")
    assert not cache.delete("a")
    assert not cache.touch("a")
    cache.clear()
    assert cache.set_many({"a": 1}) == []
    cache.delete_many(["a"])
    with pytest.raises(ValueError, match="no such key"):
        cache.incr("a")


def test_after_a_failure_the_server_is_left_alone_for_a_while(
    away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = caches["default"]
    assert isinstance(cache, ForgivingRedisCache)
    calls = 0

    def fail() -> None:
        nonlocal calls
        calls += 1
        raise NoServer

    for _ in range(5):
        cache._try(fail, None)
    assert calls == 1

    monkeypatch.setattr(ForgivingRedisCache, "_rests_until", {})
    cache._try(fail, None)
    assert calls == 2


def test_nothing_is_limited_meanwhile(away: str) -> None:
    assert all(hit("key", limit=1) == 0 for _ in range(5))


def test_a_customer_signs_in_without_the_cache(away: str, client: Client, customer: User) -> None:
    answer = client.post(
        "/accounts/login/", {"login": customer.email, "password": "a-Long-passw0rd"}
    )

    assert answer.status_code == 302
    assert client.get("/orders/new/").status_code == 200
