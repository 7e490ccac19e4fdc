import datetime as dt

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP
from django.core import mail
from django.forms import ModelForm
from django.test import Client
from django.utils import timezone

from accounts.keys import create_key
from accounts.mail import send_due
from accounts.models import ApiKey, User
from wallet.models import Account

PASSWORD = "a-Long-passw0rd"


@pytest.fixture
def signed_in(client: Client, customer: User) -> Client:
    client.force_login(customer)
    return client


def test_a_visitor_signs_up_and_can_start_at_once(client: Client, db: None) -> None:
    answer = client.post(
        "/accounts/signup/", {"email": "new@example.com", "password1": PASSWORD}, follow=True
    )

    assert answer.redirect_chain[-1][0] == "/orders/new/"
    assert "$0.00" in answer.content.decode()
    assert not Account.objects.exists(), "the wallet is made at its first use"


def test_signing_up_with_an_address_that_exists_tells_only_its_owner(
    client: Client, customer: User
) -> None:
    client.post("/accounts/signup/", {"email": customer.email, "password1": PASSWORD})

    assert User.objects.count() == 1


def test_signing_in_leads_to_ordering(client: Client, customer: User) -> None:
    answer = client.post("/accounts/login/", {"login": customer.email, "password": PASSWORD})

    assert answer["Location"] == "/orders/new/"


def test_a_wrong_password_keeps_the_address_and_says_so(client: Client, customer: User) -> None:
    answer = client.post("/accounts/login/", {"login": customer.email, "password": "wrong"})

    page = answer.content.decode()
    assert 'role="alert"' in page
    assert f'value="{customer.email}"' in page


def reset_password(client: Client, user: User, fresh: str = "an0ther-Long-word") -> str:
    """Set a new password by the link in a mail; the text of the page that follows."""
    client.post("/accounts/password/reset/", {"email": user.email})
    send_due()
    body = str(mail.outbox[-1].body)
    link = next(word for word in body.split() if "/accounts/password/reset/key/" in word)
    page = client.get(link, follow=True)
    form = {"password1": fresh, "password2": fresh}
    return client.post(page.redirect_chain[-1][0], form, follow=True).content.decode()


def test_a_forgotten_password_is_set_anew_by_mail(client: Client, customer: User) -> None:
    reset_password(client, customer, "an0ther-Long-word")

    customer.refresh_from_db()
    assert customer.check_password("an0ther-Long-word")


def test_who_signed_up_with_the_address_of_another_keeps_no_key_to_the_account(
    client: Client, db: None
) -> None:
    stranger = Client()
    address = "owner@example.com"
    stranger.post("/accounts/signup/", {"email": address, "password1": PASSWORD})
    owner = User.objects.get(email=address)
    create_key(user=owner, name="left behind")
    stranger.post("/accounts/email/", {"email": "stranger@example.com", "action_add": ""})
    assert EmailAddress.objects.filter(email="stranger@example.com").exists()

    text = reset_password(client, owner)

    assert "Your API keys were revoked" in text
    assert not ApiKey.objects.filter(revoked_at=None).exists()
    assert not EmailAddress.objects.exclude(email=address).exists()
    assert stranger.get("/account/").status_code == 302


def test_keys_made_since_the_address_was_confirmed_go_on_after_a_forgotten_password(
    client: Client, customer: User
) -> None:
    EmailAddress.objects.create(user=customer, email=customer.email, primary=True, verified=True)
    create_key(user=customer, name="shop")

    text = reset_password(client, customer)

    assert "revoked" not in text
    assert ApiKey.objects.filter(revoked_at=None).count() == 1


@pytest.mark.parametrize(
    "address",
    [
        "/account/",
        "/accounts/email/",
        "/accounts/2fa/",
        "/accounts/password/change/",
        "/accounts/logout/",
    ],
)
def test_the_account_pages_wear_the_same_dress(signed_in: Client, address: str) -> None:
    page = signed_in.get(address)

    assert page.status_code == 200
    assert 'id="balance"' in page.content.decode()


def test_settings_are_kept_and_take_effect(signed_in: Client, customer: User) -> None:
    answer = signed_in.post(
        "/account/",
        {"name": "Mara", "language": "tr", "time_zone": "Europe/Istanbul"},
        follow=True,
    )

    customer.refresh_from_db()
    assert (customer.name, customer.language) == ("Mara", "tr")
    assert "Kaydedildi." in answer.content.decode()


@pytest.mark.parametrize(
    ("url", "form"), [("/account/", {"name": "Ada"}), ("/account/mails/", {"low_balance": "5"})]
)
def test_saving_undoes_nothing_that_happens_meanwhile(
    signed_in: Client,
    customer: User,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    form: dict[str, str],
) -> None:
    """Such as being switched off, which nobody may outrun by sending a form again and again."""
    check = ModelForm.full_clean

    def switched_off_meanwhile(self: ModelForm[User]) -> None:
        check(self)
        User.objects.filter(pk=customer.pk).update(is_active=False, password="another")

    monkeypatch.setattr(ModelForm, "full_clean", switched_off_meanwhile)

    assert signed_in.post(url, form).status_code == 302

    customer.refresh_from_db()
    assert (customer.is_active, customer.password) == (False, "another")
    assert customer.name or customer.low_balance


def test_a_time_zone_that_does_not_exist_is_refused(signed_in: Client, customer: User) -> None:
    page = signed_in.post("/account/", {"time_zone": "Mars/Olympus"}).content.decode()

    customer.refresh_from_db()
    assert customer.time_zone == ""
    assert 'aria-describedby="id_time_zone_helptext id_time_zone_error"' in page
    assert 'aria-invalid="true"' in page


def test_dates_are_shown_in_the_customers_time_zone(signed_in: Client, customer: User) -> None:
    User.objects.update(time_zone="Asia/Tokyo")
    entry = customer.account.entries.get()

    page = signed_in.get("/wallet/").content.decode()

    assert (entry.created_at + dt.timedelta(hours=9)).strftime("%H:%M") in page
    assert timezone.get_current_timezone_name() == "UTC", "the zone ends with the request"


def test_a_zone_the_system_forgot_falls_back_to_the_sites(signed_in: Client) -> None:
    User.objects.update(time_zone="Gone/Zone")

    assert signed_in.get("/wallet/").status_code == 200


def test_the_accounts_language_wins_over_the_browsers(signed_in: Client) -> None:
    User.objects.update(language="tr")

    page = signed_in.get("/wallet/", headers={"accept-language": "en"}).content.decode()

    assert '<html lang="tr"' in page
    assert "Cüzdan" in page


def test_a_visitors_language_comes_from_the_browser(client: Client, db: None) -> None:
    page = client.get("/", headers={"accept-language": "tr,en;q=0.5"}).content.decode()

    assert "Hesap oluştur" in page


def test_the_language_button_is_remembered(signed_in: Client, customer: User) -> None:
    answer = signed_in.post("/language/", {"language": "tr", "next": "/wallet/"})

    customer.refresh_from_db()
    assert answer["Location"] == "/wallet/"
    assert customer.language == "tr"
    assert answer.cookies["django_language"].value == "tr"


def test_an_unknown_language_changes_nothing(signed_in: Client, customer: User) -> None:
    answer = signed_in.post("/language/", {"language": "xx"})

    customer.refresh_from_db()
    assert customer.language == ""
    assert "django_language" not in answer.cookies


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "javascript:1", ""])
def test_a_button_never_leads_to_another_site(client: Client, db: None, target: str) -> None:
    assert client.post("/theme/", {"next": target})["Location"] == "/"


def test_the_theme_button_works_without_scripts(client: Client, db: None) -> None:
    client.post("/theme/")
    dark = client.get("/").content.decode()
    client.post("/theme/")
    light = client.get("/").content.decode()

    assert 'data-theme="dark"' in dark
    assert 'data-theme="light"' in light


def test_a_theme_cookie_with_something_else_in_it_is_ignored(client: Client, db: None) -> None:
    client.cookies["theme"] = '"><script>'

    assert "data-theme=" not in client.get("/").content.decode()


def test_two_factor_secrets_are_encrypted_at_rest(customer: User) -> None:
    secret = "JBSWY3DPEHPK3PXP"

    TOTP.activate(customer, secret)

    stored = str(Authenticator.objects.get().data)
    assert secret not in stored
    assert TOTP(Authenticator.objects.get()).instance.wrap() is not None


def test_signing_out_needs_a_press(signed_in: Client) -> None:
    assert signed_in.get("/accounts/logout/").status_code == 200
    assert signed_in.get("/wallet/").status_code == 200

    signed_in.post("/accounts/logout/")

    assert signed_in.get("/wallet/").status_code == 302
