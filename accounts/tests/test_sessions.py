"""Where a person is signed in, the terms they accepted, and the change of their address."""

from pathlib import Path

import pytest
from django.core import mail
from django.test import Client
from pytest_django import Settings

from accounts.mail import send_due
from accounts.models import Device, Mail, User
from accounts.sessions import browser_name

PASSWORD = "a-Long-passw0rd"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"


def sign_in(user: User, client: Client | None = None) -> Client:
    client = client or Client(headers={"user-agent": FIREFOX})
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    return client


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (FIREFOX, "Firefox, Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/126.0 Safari/537.36 Edg/126.0", "Edge, Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Safari/604.1",
         "Safari, iPhone"),
        ("<script>", ""),
    ],
)  # fmt: skip
def test_a_browser_is_named_in_two_words(agent: str, name: str) -> None:
    assert browser_name(agent) == name


def test_sessions_are_listed_and_ended_from_afar(customer: User) -> None:
    here, there = sign_in(customer), sign_in(customer)
    page = here.get("/account/sessions/")
    assert page.content.decode().count("Firefox, Linux") >= 2
    other = next(each.device for each in page.context["sessions"] if not each.is_this)

    here.post("/account/sessions/", {"session": other.pk})

    assert there.get("/wallet/").status_code == 302
    assert here.get("/wallet/").status_code == 200
    assert len(here.get("/account/sessions/").context["sessions"]) == 1


@pytest.mark.parametrize("number", ["", "-1", "9" * 30, "9" * 5000])
def test_what_is_no_session_ends_none(customer: User, number: str) -> None:
    here = sign_in(customer)

    assert here.post("/account/sessions/", {"session": number}).status_code == 302

    assert here.get("/wallet/").status_code == 200


def test_all_others_are_ended_at_once(customer: User) -> None:
    here, others = sign_in(customer), [sign_in(customer) for _ in range(3)]

    here.post("/account/sessions/", {"session": "others"})

    assert [each.get("/wallet/").status_code for each in others] == [302] * 3
    assert here.get("/wallet/").status_code == 200


def test_nobody_ends_a_strangers_session(customer: User, staff: User) -> None:
    mine, theirs = sign_in(customer), sign_in(staff)
    device = Device.objects.get(user=staff)

    page = mine.post("/account/sessions/", {"session": device.pk}, follow=True)

    assert "already ended" in page.content.decode()
    assert theirs.get("/wallet/").status_code == 200
    assert mine.post("/account/sessions/", {"session": "x"}).status_code == 302


def test_a_session_that_was_not_noted_is_listed_too(client: Client, customer: User) -> None:
    client.force_login(customer)

    listed = client.get("/account/sessions/").context["sessions"]

    assert [each.is_this for each in listed] == [True]


def test_sessions_ended_by_a_new_password_are_not_listed(customer: User) -> None:
    here, there = sign_in(customer), sign_in(customer)
    fresh = "an0ther-Long-word"
    here.post(
        "/accounts/password/change/",
        {"oldpassword": PASSWORD, "password1": fresh, "password2": fresh},
    )

    assert there.get("/wallet/").status_code == 302
    assert len(here.get("/account/sessions/").context["sessions"]) == 1


def test_a_new_browser_is_told_by_mail_and_a_known_one_is_not(customer: User) -> None:
    first = sign_in(customer)
    assert Mail.objects.filter(kind="sign_in").count() == 1
    first.post("/accounts/logout/")

    sign_in(customer, first)
    assert Mail.objects.filter(kind="sign_in").count() == 1

    sign_in(customer)
    assert Mail.objects.filter(kind="sign_in").count() == 2
    assert Mail.objects.filter(kind="sign_in").latest("pk").values["agent"] == "Firefox, Linux"


def test_a_forged_cookie_makes_no_browser_known(customer: User) -> None:
    client = Client()
    client.cookies["known"] = f"{customer.pk}:forged"

    sign_in(customer, client)

    assert Mail.objects.filter(kind="sign_in").exists()


def test_signing_up_is_no_news(client: Client, db: None) -> None:
    client.post("/accounts/signup/", {"email": "new@example.com", "password1": PASSWORD})

    assert Device.objects.count() == 1
    assert not Mail.objects.filter(kind="sign_in").exists()


@pytest.fixture
def terms(settings: Settings, tmp_path: Path) -> str:
    path = tmp_path / "terms.txt"
    path.write_text("Be kind.\n\n<b>No</b> spam.", encoding="utf-8")
    settings.TERMS_PATH = str(path)
    return str(path)


def test_without_terms_nothing_is_asked(client: Client, db: None) -> None:
    assert "terms" not in client.get("/accounts/signup/").content.decode()
    assert client.get("/terms/").status_code == 404


def test_terms_are_shown_as_text(client: Client, db: None, terms: str) -> None:
    page = client.get("/terms/").content.decode()

    assert "Be kind." in page
    assert "&lt;b&gt;No" in page
    assert "/terms/" in client.get("/accounts/signup/").content.decode()


def test_terms_must_be_accepted_and_version_and_time_are_kept(
    client: Client, db: None, terms: str
) -> None:
    asked = {"email": "new@example.com", "password1": PASSWORD}
    assert client.post("/accounts/signup/", asked).status_code == 200
    assert not User.objects.exists()

    client.post("/accounts/signup/", {**asked, "terms": "on"})

    user = User.objects.get()
    first = user.terms_version
    assert len(first) == 12
    assert user.terms_at
    Path(terms).write_text("Be kinder.", encoding="utf-8")
    assert first not in client.get("/terms/").content.decode()


def test_an_address_changes_when_the_new_one_is_confirmed(client: Client, customer: User) -> None:
    sign_in(customer, client)
    client.post("/accounts/email/", {"email": "fresh@example.com", "action_add": ""})
    customer.refresh_from_db()
    assert customer.email == "customer@example.com"
    assert "fresh@example.com" in client.get("/accounts/email/").content.decode()

    send_due()
    message = next(each for each in mail.outbox if each.to == ["fresh@example.com"])
    link = next(word for word in str(message.body).split() if "/confirm-email/" in word)
    client.post(link)
    client.post("/accounts/email/", {"email": "fresh@example.com", "action_primary": ""})

    customer.refresh_from_db()
    assert customer.email == "fresh@example.com"
