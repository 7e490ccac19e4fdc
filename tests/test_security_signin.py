"""Guessing passwords is slow, sessions are fresh and end, and staff need a second factor."""

from datetime import timedelta

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone

from accounts.models import User
from catalog.models import Provider, Service
from orders.tests.worlds import order_of

PASSWORD = "a-Long-passw0rd"
SIGN_IN = "/accounts/login/"


def sign_in(client: Client, email: str, password: str, **headers: str) -> bool:
    """Whether this sign-in led to a session."""
    client.post(SIGN_IN, {"login": email, "password": password}, headers=headers)
    return "_auth_user_id" in client.session


def test_after_five_wrong_passwords_the_right_one_is_refused_from_anywhere(
    customer: User,
) -> None:
    for number in range(5):
        elsewhere = Client(REMOTE_ADDR=f"192.0.2.{number}")
        assert not sign_in(elsewhere, customer.email, "wrong")

    assert not sign_in(Client(REMOTE_ADDR="192.0.2.77"), customer.email, PASSWORD)


def test_four_wrong_passwords_are_forgiven(customer: User) -> None:
    for _ in range(4):
        assert not sign_in(Client(), customer.email, "wrong")

    assert sign_in(Client(), customer.email, PASSWORD)


@pytest.mark.parametrize("page", ["/admin/login/", "/admin/login/?next=/admin/"])
def test_the_admin_has_no_sign_in_of_its_own_that_could_be_tried(
    client: Client, staff: User, page: str
) -> None:
    answer = client.post(page, {"username": staff.email, "password": PASSWORD})

    assert answer.status_code == 302
    assert answer["Location"].startswith(SIGN_IN)
    assert "_auth_user_id" not in client.session


def test_staff_are_slowed_down_like_everybody(staff: User) -> None:
    for number in range(5):
        sign_in(Client(REMOTE_ADDR=f"192.0.2.{number}"), staff.email, "wrong")

    assert not sign_in(Client(), staff.email, PASSWORD)


def _guess_many(forwarded: bool) -> bool:
    """Eleven guesses at eleven people from one address; whether the last visitor got in."""
    client = Client()
    for number in range(11):
        address = {"X-Forwarded-For": f"198.51.100.{number}"} if forwarded else {}
        sign_in(client, f"nobody{number}@example.com", "wrong", **address)
    return sign_in(client, "customer@example.com", PASSWORD, **{"X-Forwarded-For": "198.51.100.99"})


def test_an_address_that_guesses_is_stopped_whatever_it_says_about_itself(customer: User) -> None:
    assert not _guess_many(forwarded=True)


def test_behind_a_proxy_each_visitor_has_their_own_limit(
    customer: User, settings: LazySettings
) -> None:
    settings.TRUSTED_PROXY_COUNT = 1
    assert _guess_many(forwarded=True)


def test_what_a_visitor_writes_before_the_proxys_word_moves_nothing(
    customer: User, settings: LazySettings
) -> None:
    settings.TRUSTED_PROXY_COUNT = 1
    client = Client()
    for number in range(11):
        forged = f"203.0.113.{number}, 198.51.100.1"
        sign_in(client, f"nobody{number}@example.com", "wrong", **{"X-Forwarded-For": forged})

    last = {"X-Forwarded-For": "203.0.113.200, 198.51.100.1"}
    assert not sign_in(client, customer.email, PASSWORD, **last)


def test_resetting_a_password_is_limited_by_account(customer: User) -> None:
    statuses = [
        Client(REMOTE_ADDR=f"192.0.2.{number}")
        .post("/accounts/password/reset/", {"email": customer.email})
        .status_code
        for number in range(6)
    ]
    assert statuses == [302] * 5 + [429]


def test_signing_up_is_limited_by_address(db: None) -> None:
    form = {"email": "not an address", "password1": "x"}
    statuses = [Client().post("/accounts/signup/", form).status_code for _ in range(21)]
    assert statuses == [200] * 20 + [429]


def test_the_session_key_is_new_after_signing_in(client: Client, customer: User) -> None:
    client.get(SIGN_IN)
    session = client.session
    session["before"] = "1"
    session.save()
    client.cookies["sessionid"] = session.session_key or ""

    assert sign_in(client, customer.email, PASSWORD)
    assert client.cookies["sessionid"].value != session.session_key


def test_a_deactivated_customers_next_request_is_a_strangers(
    client: Client, customer: User
) -> None:
    client.force_login(customer)
    assert client.get("/orders/").status_code == 200

    customer.is_active = False
    customer.save()

    assert client.get("/orders/")["Location"].startswith(SIGN_IN)


def test_other_sessions_end_with_a_new_password(client: Client, customer: User) -> None:
    client.force_login(customer)
    customer.set_password("an0ther-Long-one")
    customer.save()

    assert client.get("/orders/").status_code == 302


def test_staff_without_a_second_factor_reach_its_set_up_and_no_page_of_the_admin(
    client: Client, staff: User, settings: LazySettings
) -> None:
    settings.REQUIRE_STAFF_2FA = True
    client.force_login(staff)

    for page in ("/admin/", "/admin/orders/order/", "/admin/orders/order/1/refund/"):
        for answer in (client.get(page), client.post(page)):
            assert answer.status_code == 302
            assert answer["Location"] == "/accounts/2fa/totp/activate/"
    assert client.get("/accounts/2fa/").status_code == 200


def test_staff_with_a_second_factor_reach_the_admin(
    client: Client, staff: User, settings: LazySettings
) -> None:
    settings.REQUIRE_STAFF_2FA = True
    TOTP.activate(staff, generate_totp_secret())
    client.force_login(staff)

    assert client.get("/admin/").status_code == 200


def test_the_password_alone_signs_nobody_in_who_has_a_second_factor(
    client: Client, staff: User
) -> None:
    secret = generate_totp_secret()
    TOTP.activate(staff, secret)

    assert not sign_in(client, staff.email, PASSWORD)
    assert secret not in str(Authenticator.objects.get().data)


def walk(client: Client, frozen: time_machine.Traveller, hours: float, *, every: float) -> float:
    """Ask for the admin at this pace; after how many hours it is not given any more."""
    passed = 0.0
    while passed < hours:
        frozen.shift(timedelta(hours=every))
        passed += every
        if client.get("/admin/").status_code != 200:
            return passed
    return hours


def test_a_staff_session_ends_after_twelve_hours_however_busy(staff: User) -> None:
    client = Client()
    with time_machine.travel(timezone.now(), tick=False) as frozen:
        client.force_login(staff)
        assert client.get("/admin/").status_code == 200

        assert walk(client, frozen, 20, every=0.5) == 12
        answer = client.get("/admin/", follow=True)

    assert SIGN_IN in answer.redirect_chain[-1][0]
    assert "Staff sessions end" in answer.content.decode()


def test_staff_who_are_away_for_an_hour_are_signed_out(staff: User, settings: LazySettings) -> None:
    settings.STAFF_SESSION_HOURS = 48
    client = Client()
    with time_machine.travel(timezone.now(), tick=False) as frozen:
        client.force_login(staff)
        client.get("/admin/")
        assert walk(client, frozen, 24, every=0.98) == 24
        assert walk(client, frozen, 24, every=1) == 1

        settings.STAFF_IDLE_MINUTES = 0
        client.force_login(staff)
        client.get("/admin/")
        assert walk(client, frozen, 20, every=10) == 20


def test_customers_stay_signed_in_for_two_weeks(customer: User) -> None:
    client = Client()
    with time_machine.travel(timezone.now(), tick=False) as frozen:
        client.force_login(customer)
        frozen.shift(timedelta(days=13))
        assert client.get("/orders/").status_code == 200
        frozen.shift(timedelta(days=2))
        assert client.get("/orders/").status_code == 302


def test_the_time_is_kept_by_the_server_and_written_once_a_minute(staff: User) -> None:
    client = Client()
    with time_machine.travel(timezone.now(), tick=False) as frozen:
        client.force_login(staff)
        client.get("/admin/")
        kept = dict(client.session)
        frozen.shift(timedelta(seconds=59))
        client.get("/admin/")
        assert dict(client.session) == kept
        frozen.shift(timedelta(seconds=1))
        client.get("/admin/")
        assert dict(client.session) != kept


HIGH_VALUE = {
    "/admin/wallet/account/{account}/adjust/": {"amount": "5", "reason": "x"},
    "/admin/orders/order/{order}/resend_unknown/": {"reason": "x"},
    "/admin/accounts/user/{customer}/delete_account/": {"reason": "x"},
}


@pytest.fixture
def paths(customer: User, service: Service) -> dict[str, int]:
    order = order_of(customer, service)
    return {
        "account": customer.account.pk, "order": order.pk, "customer": customer.pk,
        "provider": service.provider_id,
    }  # fmt: skip


def test_what_cant_be_taken_back_needs_a_recent_sign_in(
    staff: User, paths: dict[str, int], settings: LazySettings
) -> None:
    settings.STAFF_CONFIRM_MINUTES = 10
    client = Client()
    with time_machine.travel(timezone.now(), tick=False) as frozen:
        assert sign_in(client, staff.email, PASSWORD)
        for page in HIGH_VALUE:
            assert client.get(page.format(**paths)).status_code == 200, page
        frozen.shift(timedelta(minutes=11))

        for page, form in HIGH_VALUE.items():
            path = page.format(**paths)
            for answer in (client.get(path), client.post(path, form)):
                assert answer.status_code == 302, path
                assert answer["Location"].startswith("/accounts/reauthenticate/?next=%2Fadmin%2F")
            fragment = client.get(path, headers={"HX-Request": "true"})
            assert fragment["HX-Redirect"].startswith("/accounts/reauthenticate/"), path
        # Looking is free; changing a provider's key is not.
        provider = f"/admin/catalog/provider/{paths['provider']}/change/"
        assert client.get(provider).status_code == 200
        sent = client.post(provider, {"new_key": "another-key-of-a-thief"})
        assert sent["Location"].startswith("/accounts/reauthenticate/")
        assert Provider.objects.get().api_key == "key-of-the-fixture"
        assert "another-key-of-a-thief" not in str(dict(client.session))

        adjust = "/admin/wallet/account/{account}/adjust/".format(**paths)
        asked = client.get(adjust)["Location"]
        confirmed = client.post(asked, {"password": PASSWORD})
        assert confirmed["Location"] == f"/admin/wallet/account/{paths['account']}/change/"
        assert client.get(adjust).status_code == 200


def test_a_code_of_the_second_factor_works_once(staff: User) -> None:
    secret = generate_totp_secret()
    TOTP.activate(staff, secret)
    with time_machine.travel(timezone.now(), tick=False):
        code = format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time()))))
        signed_in = []
        for _ in range(2):
            client = Client()
            sign_in(client, staff.email, PASSWORD)
            client.post("/accounts/2fa/authenticate/", {"code": code})
            signed_in.append("_auth_user_id" in client.session)

    assert signed_in == [True, False]
