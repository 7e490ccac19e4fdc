"""API keys: what is kept of them, who may use them from where, and how often."""

from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import keys
from accounts.keys import (
    InvalidNetwork,
    KeyRefused,
    TooManyRequests,
    authenticate,
    clean_networks,
    create_key,
    is_allowed_from,
    revoke_key,
    rotate_key,
)
from accounts.models import ApiKey, User
from accounts.views import MOST_KEYS

HERE = "203.0.113.7"


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("owner@example.com", "a-Long-passw0rd")


def make(owner: User, allowed_from: str = "") -> str:
    return create_key(user=owner, name="shop", allowed_from=allowed_from).secret


def test_a_key_has_32_random_bytes_and_no_two_are_alike(owner: User) -> None:
    first, second = make(owner), make(owner)

    assert len(bytes.fromhex(first)) == 32
    assert first != second


def test_the_database_holds_the_hash_and_the_beginning_alone(owner: User) -> None:
    secret = make(owner)

    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM accounts_apikey")
        stored = repr(cursor.fetchall())
    assert secret not in stored
    assert secret[:8] in stored
    assert secret[:9] not in stored


def test_a_new_key_does_not_show_its_secret_by_accident(owner: User) -> None:
    made = create_key(user=owner, name="shop")

    assert made.secret not in repr(made)
    assert made.secret not in str(made.key)


def test_a_key_is_its_owners(owner: User) -> None:
    assert authenticate(make(owner), HERE).user == owner


@pytest.mark.parametrize("wrong", ["", "x", "0" * 64, "é" * 500])
def test_any_other_text_is_an_invalid_key(owner: User, wrong: str) -> None:
    make(owner)

    with pytest.raises(KeyRefused, match=r"^Invalid API key$"):
        authenticate(wrong, HERE)


def test_a_revoked_key_is_as_wrong_as_one_that_never_was(owner: User) -> None:
    made = create_key(user=owner, name="shop")
    authenticate(made.secret, HERE)

    revoke_key(made.key)

    with pytest.raises(KeyRefused, match=r"^Invalid API key$"):
        authenticate(made.secret, HERE)


def test_a_replaced_key_stops_at_once_and_its_successor_works(owner: User) -> None:
    made = create_key(user=owner, name="shop", allowed_from=HERE)

    fresh = rotate_key(made.key)

    with pytest.raises(KeyRefused):
        authenticate(made.secret, HERE)
    assert authenticate(fresh.secret, HERE).pk == made.key.pk
    with pytest.raises(KeyRefused, match="IP address not allowed"):
        authenticate(fresh.secret, "198.51.100.1")


def test_a_disabled_customer_is_told_so(owner: User) -> None:
    secret = make(owner)
    User.objects.update(is_active=False)

    with pytest.raises(KeyRefused, match="Your account is not active"):
        authenticate(secret, HERE)


@pytest.mark.parametrize(
    ("networks", "address", "is_in"),
    [
        ("", HERE, True),
        (HERE, HERE, True),
        (HERE, "203.0.113.8", False),
        ("203.0.113.0/24", HERE, True),
        ("203.0.113.0/24", f"::ffff:{HERE}", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", HERE, False),
        ("198.51.100.1\n203.0.113.0/24", HERE, True),
        ("203.0.113.0/24", "unknown", False),
    ],
)
def test_the_list_of_networks_decides_from_where_a_key_works(
    networks: str, address: str, *, is_in: bool
) -> None:
    assert is_allowed_from(clean_networks(networks), address) is is_in


def test_networks_are_written_one_per_line_however_they_were_typed() -> None:
    typed = f"{HERE}, 203.0.113.99/24;{HERE}\r\n 2001:DB8::1"

    assert clean_networks(typed) == f"{HERE}\n203.0.113.0/24\n2001:db8::1"


@pytest.mark.parametrize("text", ["example.com", "300.1.1.1", "10.0.0.0/33", "1.1.1.1 " * 51])
def test_what_is_no_network_is_named(text: str) -> None:
    with pytest.raises(InvalidNetwork):
        clean_networks(text)


def test_a_key_that_calls_too_often_waits_and_another_one_does_not(
    owner: User, settings: LazySettings
) -> None:
    settings.API_REQUESTS_PER_MINUTE = 3
    busy, quiet = make(owner), make(owner)

    with pytest.raises(TooManyRequests) as caught:  # noqa: PT012
        for _ in range(10):
            authenticate(busy, HERE)

    assert 1 <= caught.value.seconds <= 60
    authenticate(quiet, HERE)


def test_without_a_limit_a_key_calls_as_often_as_it_likes(
    owner: User, settings: LazySettings
) -> None:
    settings.API_REQUESTS_PER_MINUTE = 0
    secret = make(owner)

    for _ in range(20):
        authenticate(secret, HERE)


def test_an_address_that_tries_keys_has_to_wait_without_another_look_at_the_keys(
    owner: User, settings: LazySettings, django_assert_num_queries: object
) -> None:
    settings.API_WRONG_KEYS_PER_MINUTE = 3
    for number in range(3):
        with pytest.raises(KeyRefused):
            authenticate(f"guess {number}", HERE)

    with django_assert_num_queries(0), pytest.raises(TooManyRequests):  # type: ignore[operator]
        authenticate("guess 4", HERE)
    with pytest.raises(KeyRefused):
        authenticate("guess 4", "198.51.100.1")


def test_who_has_a_network_of_addresses_tries_no_more_keys_for_it(
    owner: User, settings: LazySettings
) -> None:
    settings.API_WRONG_KEYS_PER_MINUTE = 3
    for number in range(3):
        with pytest.raises(KeyRefused):
            authenticate("guess", f"2001:db8:0:1::{number}")

    with pytest.raises(TooManyRequests):
        authenticate("guess", "2001:db8:0:1:ffff::4")
    with pytest.raises(KeyRefused):
        authenticate("guess", "2001:db8:0:2::1")


def test_a_working_key_goes_on_beside_wrong_ones_and_a_fresh_one_waits(
    owner: User, settings: LazySettings
) -> None:
    settings.API_WRONG_KEYS_PER_MINUTE = 1
    working, fresh = make(owner), make(owner)
    authenticate(working, HERE)

    with pytest.raises(KeyRefused):
        authenticate("guess", HERE)

    authenticate(working, HERE)
    with pytest.raises(TooManyRequests):
        authenticate(fresh, HERE)


def test_the_last_use_is_noted_once_a_minute(owner: User) -> None:
    secret = make(owner)

    authenticate(secret, HERE)
    first = ApiKey.objects.get().last_used_at
    authenticate(secret, HERE)

    assert first is not None
    assert ApiKey.objects.get().last_used_at == first
    ApiKey.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    authenticate(secret, HERE)
    assert (ApiKey.objects.get().last_used_at or first) > first


def test_the_command_prints_the_key_alone_on_its_last_line(
    owner: User, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("create_api_key", "OWNER@example.com", "--name", "shop", "--allow", HERE)

    secret = capsys.readouterr().out.splitlines()[-1]
    key = authenticate(secret, HERE)
    assert (key.user, key.name, key.allowed_from) == (owner, "shop", HERE)


@pytest.mark.parametrize("arguments", [["nobody@example.com"], ["owner@example.com", "--allow=x"]])
def test_the_command_names_what_is_wrong(owner: User, arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("create_api_key", *arguments)
    assert not ApiKey.objects.exists()


@pytest.fixture
def page(client: Client, owner: User) -> Client:
    client.force_login(owner)
    return client


def create(page: Client, **fields: str) -> str:
    response = page.post("/account/keys/", {"do": "create", "name": "shop", **fields})
    return str(response.context["made"].secret) if response.context["made"] else ""


def test_the_page_shows_a_new_key_once(page: Client) -> None:
    secret = create(page, allowed_from=HERE)

    assert authenticate(secret, HERE).name == "shop"
    later = page.get("/account/keys/")
    assert secret not in later.content.decode()
    assert secret[:8] in later.content.decode()
    assert "no-store" in later.headers["Cache-Control"]


def test_the_page_replaces_and_revokes(page: Client, owner: User) -> None:
    first = create(page)
    key = str(ApiKey.objects.get().pk)

    second = page.post("/account/keys/", {"do": "rotate", "key": key}).context["made"].secret
    authenticate(second, HERE)
    with pytest.raises(KeyRefused):
        authenticate(first, HERE)
    response = page.post("/account/keys/", {"do": "revoke", "key": key}, follow=True)

    with pytest.raises(KeyRefused):
        authenticate(second, HERE)
    assert second[:8] not in response.content.decode()


@pytest.mark.parametrize("verb", ["rotate", "revoke"])
def test_another_customers_key_is_not_found(page: Client, verb: str) -> None:
    other = User.objects.create_user("other@example.com", "a-Long-passw0rd")
    made = create_key(user=other, name="theirs")

    for number in (str(made.key.pk), "0", "x", "9" * 30):
        assert page.post("/account/keys/", {"do": verb, "key": number}).status_code == 404
    authenticate(made.secret, HERE)


@pytest.mark.parametrize("fields", [{"name": ""}, {"allowed_from": "example.com"}])
def test_the_page_says_what_is_wrong_with_a_new_key(page: Client, fields: dict[str, str]) -> None:
    response = page.post("/account/keys/", {"do": "create", "name": "shop", **fields})

    assert response.status_code == 422
    assert not ApiKey.objects.exists()
    assert response.context["form"].errors


def test_a_customer_has_so_many_keys_and_no_more(page: Client, owner: User) -> None:
    for _ in range(MOST_KEYS):
        make(owner)

    assert create(page) == ""
    assert ApiKey.objects.count() == MOST_KEYS


def test_the_page_is_for_people_who_are_signed_in(client: Client, db: None) -> None:
    assert client.get("/account/keys/").status_code == 302
    assert client.post("/account/keys/", {"do": "create", "name": "x"}).status_code == 302
    assert not ApiKey.objects.exists()


def test_while_the_cache_is_away_keys_work_without_limits(
    owner: User, settings: LazySettings
) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "panel.cache.ForgivingRedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",
        }
    }
    settings.API_REQUESTS_PER_MINUTE = 1
    secret = make(owner)

    assert keys.authenticate(secret, HERE).user == owner
    assert keys.authenticate(secret, HERE).user == owner
    with pytest.raises(KeyRefused):
        authenticate("guess", HERE)
