"""Guessing passwords is slow, sessions are fresh and end, and staff need a second factor."""

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.conf import LazySettings
from django.test import Client

from accounts.models import User

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
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    assert _guess_many(forwarded=True)


def test_what_a_visitor_writes_before_the_proxys_word_moves_nothing(
    customer: User, settings: LazySettings
) -> None:
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    client = Client()
    for number in range(11):
        forged = f"203.0.113.{number}, 198.51.100.1"
        sign_in(client, f"nobody{number}@example.com", "wrong", **{"X-Forwarded-For": forged})

    last = {"X-Forwarded-For": "203.0.113.200, 198.51.100.1"}
    assert not sign_in(client, customer.email, PASSWORD, **last)


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
    settings.STAFF_TWO_FACTOR = True
    client.force_login(staff)

    for page in ("/admin/", "/admin/orders/order/", "/admin/orders/order/1/refund/"):
        for answer in (client.get(page), client.post(page)):
            assert answer.status_code == 302
            assert answer["Location"] == "/accounts/2fa/totp/activate/"
    assert client.get("/accounts/2fa/").status_code == 200


def test_staff_with_a_second_factor_reach_the_admin(
    client: Client, staff: User, settings: LazySettings
) -> None:
    settings.STAFF_TWO_FACTOR = True
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
