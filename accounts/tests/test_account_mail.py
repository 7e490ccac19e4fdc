"""Mails about addresses and passwords: by way of the outbox, sealed there, and gone once sent."""

import logging
import re
import smtplib

import pytest
from allauth.account.models import EmailAddress
from django.core import mail as sent
from django.core.mail.backends.locmem import EmailBackend
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import mail
from accounts.models import Mail, User

PASSWORD = "a-Long-passw0rd"
ADDRESS = {"email": "new@example.com", "password1": PASSWORD}


class Broken(EmailBackend):
    """A mail server that greets and then fails."""

    def send_messages(self, _messages: object) -> int:
        raise smtplib.SMTPServerDisconnected("gone")


def letter() -> sent.EmailMultiAlternatives:
    mail.send_due()
    found = sent.outbox[-1]
    assert isinstance(found, sent.EmailMultiAlternatives)
    return found


def html_of(message: sent.EmailMultiAlternatives) -> str:
    [(html, kind)] = [(str(part[0]), part[1]) for part in message.alternatives]
    assert kind == "text/html"
    return html


def test_a_mail_server_that_is_away_holds_up_no_sign_up(
    client: Client, db: None, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    good, settings.EMAIL_BACKEND = settings.EMAIL_BACKEND, f"{__name__}.Broken"

    answer = client.post("/accounts/signup/", ADDRESS)

    assert (answer.status_code, answer["Location"]) == (302, "/orders/new/")
    assert mail.send_due() == mail.Sent(waiting=1)
    assert "confirm-email" not in caplog.text
    settings.EMAIL_BACKEND = good
    Mail.objects.update(not_before=timezone.now())
    message = letter()
    assert message.to == ["new@example.com"]
    assert message.subject == "[Panel] Please Confirm Your Email Address"
    [link] = re.findall(r"http://testserver(/accounts/confirm-email/\S+)", str(message.body))
    assert f'href="http://testserver{link}"' in html_of(message)
    client.post(link)
    assert EmailAddress.objects.get(email="new@example.com").verified


def test_the_link_is_unreadable_in_the_database_and_gone_once_it_is_sent(
    client: Client, customer: User
) -> None:
    client.post("/accounts/password/reset/", {"email": customer.email})
    with connection.cursor() as cursor:
        cursor.execute('SELECT sealed, "values" FROM accounts_mail')
        [stored] = cursor.fetchall()

    assert "password" not in str(stored).lower()
    assert Mail.objects.get().user == customer
    assert "/accounts/password/reset/key/" in str(letter().body)
    assert Mail.objects.get().sealed == ""
    assert mail.send_due().sent == 0


def test_somebody_without_an_account_is_told_so(client: Client, db: None) -> None:
    client.post("/accounts/password/reset/", {"email": "nobody@example.com"})

    assert Mail.objects.get().user is None
    assert letter().to == ["nobody@example.com"]


def test_a_letter_that_no_key_opens_holds_up_no_other(
    client: Client, customer: User, settings: Settings
) -> None:
    client.post("/accounts/password/reset/", {"email": customer.email})
    settings.SECRET_KEYS = ["another key that opens nothing of before"]
    mail.write(customer, mail.Kind.SIGN_IN, agent="x", address="y")

    assert mail.send_due() == mail.Sent(sent=1, waiting=1)

    assert Mail.objects.defer("sealed").get(sent_at=None).error == "UnreadableSecret"


def test_what_happens_to_an_account_is_told_in_its_language(
    client: Client, customer: User, staff: User
) -> None:
    User.objects.filter(pk=customer.pk).update(language="tr")
    client.force_login(customer)
    EmailAddress.objects.create(user=customer, email=customer.email, primary=True, verified=True)
    client.post(
        "/accounts/password/change/",
        {
            "oldpassword": PASSWORD,
            "password1": "an0ther-Long-word",
            "password2": "an0ther-Long-word",
        },
    )

    found = letter()

    assert "Şifre" in found.subject
    assert '<html lang="tr">' in html_of(found)
    client.force_login(staff)
    for address in (
        "/admin/accounts/mail/",
        f"/admin/accounts/mail/{Mail.objects.get().pk}/change/",
    ):
        page = client.get(address).content.decode()
        assert "Address or password" in page
        assert customer.email in page


def test_a_mail_to_nobody_is_refused_by_the_database(db: None) -> None:
    with pytest.raises(IntegrityError, match="mail_goes_to_somebody"), transaction.atomic():
        Mail.objects.create(kind=mail.ACCOUNT)
