"""The outbox: written with the change, sent later, never lost, in the reader's language."""

import datetime as dt
import smtplib
import socket
import uuid
from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal

import pytest
from django.core import mail as sent
from django.core.mail import EmailMessage
from django.core.mail.backends import smtp
from django.core.mail.backends.locmem import EmailBackend
from django.core.mail.message import sanitize_address
from django.db import transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import mail
from accounts.mail import Kind
from accounts.models import Mail, User
from catalog.models import Service
from orders.letters import tell_ended
from orders.models import Order
from orders.services import place_order, withdraw
from orders.settlement import apply_status
from orders.states import Dispatch, Status
from upstream.answers import OrderStatus
from upstream.parse import order_status
from wallet.services import top_up


class Away(EmailBackend):
    """A mail server that takes nothing."""

    def open(self) -> bool:
        raise ConnectionRefusedError

    def send_messages(self, _messages: object) -> int:
        raise ConnectionRefusedError


class Picky(EmailBackend):
    """A mail server that knows no customer@example.com."""

    def send_messages(self, messages: list[object]) -> int:  # type: ignore[override]
        if "customer@example.com" in messages[0].to:  # type: ignore[attr-defined]
            raise smtplib.SMTPRecipientsRefused({})
        return super().send_messages(messages)  # type: ignore[arg-type]


class Exact(EmailBackend):
    """Reads the addresses as the backend for SMTP does."""

    def send_messages(self, messages: Sequence[EmailMessage]) -> int:
        for address in messages[0].recipients():
            sanitize_address(address, "utf-8")
        return super().send_messages(messages)


HERE = f"{__name__}."


@pytest.fixture
def order(customer: User, service: Service) -> Order:
    placed = place_order(
        customer=customer,
        service=service,
        values={"link": "https://example.com/p/1", "quantity": "1000"},
        client_token=uuid.uuid4(),
    )
    Order.objects.filter(pk=placed.pk).update(
        dispatch=Dispatch.ACCEPTED, upstream_id="7", status=Status.IN_PROGRESS
    )
    placed.refresh_from_db()
    return placed


def status(raw_status: str, remains: int) -> OrderStatus:
    return order_status({"status": raw_status, "remains": str(remains), "charge": "1"}, "7")


def letter() -> sent.EmailMultiAlternatives:
    mail.send_due()
    found = sent.outbox[-1]
    assert isinstance(found, sent.EmailMultiAlternatives)
    return found


def test_a_completed_order_is_told_once_with_its_amount(order: Order) -> None:
    answer = status("Completed", 0)

    apply_status(order.pk, answer)
    apply_status(order.pk, answer)

    found = letter()
    assert len(sent.outbox) == 1
    assert found.subject == f"[Panel] Order #{order.pk} is completed"
    assert "1,000 for $2.00" in found.body
    assert f"/orders/{order.pk}/" in found.body
    html = str(found.alternatives[0][0])
    assert "<h1" in html
    assert "1,000 for $2.00" in html
    assert Mail.objects.get().sent_at


def test_a_partial_order_names_what_came_back(order: Order) -> None:
    apply_status(order.pk, status("Partial", 250))

    found = letter()

    assert "$0.50 is back" in found.subject
    assert "250 of 1,000" in found.body
    assert "so you paid $1.50" in found.body


def test_a_canceled_order_names_its_refund(order: Order) -> None:
    apply_status(order.pk, status("Canceled", 1000))

    assert "$2.00 is back" in letter().subject


def test_what_the_customer_withdrew_needs_no_mail(
    customer: User, service: Service, staff: User
) -> None:
    for actor, mails in ((customer, 0), (staff, 1)):
        placed = place_order(
            customer=customer,
            service=service,
            values={"link": "https://example.com/p/1", "quantity": "100"},
            client_token=uuid.uuid4(),
        )
        withdraw(placed.pk, actor=actor)
        assert Mail.objects.count() == mails


def test_parts_of_an_order_are_not_told(order: Order) -> None:
    Order.objects.filter(pk=order.pk).update(
        parent=order, status=Status.COMPLETED, finished_at=timezone.now()
    )

    tell_ended([order.pk])

    assert not Mail.objects.exists()


def test_a_mail_is_written_with_the_change_or_not_at_all(customer: User) -> None:
    with transaction.atomic():
        mail.write(customer, Kind.SIGN_IN, agent="x", address="y")
        transaction.set_rollback(True)

    assert not Mail.objects.exists()


def test_unwanted_mails_are_not_written(customer: User, order: Order) -> None:
    User.objects.update(mail_off=[Kind.COMPLETED, Kind.SIGN_IN])
    customer.refresh_from_db()

    Order.objects.update(status=Status.COMPLETED, finished_at=timezone.now())
    tell_ended([order.pk])
    mail.write(customer, Kind.SIGN_IN, agent="x", address="y")

    assert not Mail.objects.exists()


def test_who_was_switched_off_gets_none(customer: User, order: Order) -> None:
    customer.is_active = False
    customer.save()

    assert mail.write(customer, Kind.SIGN_IN) is None
    Order.objects.update(status=Status.COMPLETED, finished_at=timezone.now())
    tell_ended([order.pk])

    assert not Mail.objects.exists()


def test_a_low_balance_is_told_when_it_is_crossed_and_not_again(
    customer: User, service: Service
) -> None:
    User.objects.update(low_balance=Decimal(9))
    for number in range(3):
        place_order(
            customer=customer,
            service=service,
            values={"link": f"https://example.com/{number}", "quantity": "400"},
            client_token=uuid.uuid4(),
        )

    mails = list(Mail.objects.filter(kind=Kind.LOW_BALANCE))

    assert [Decimal(each.values["balance"]) for each in mails] == [Decimal("8.4")]
    assert "down to $8.40" in letter().subject


def test_a_server_that_is_away_loses_nothing(customer: User, settings: Settings) -> None:
    mail.write(customer, Kind.SIGN_IN, agent="Firefox, Linux", address="192.0.2.1")
    good = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = f"{HERE}Away"

    assert mail.send_due() == mail.Sent(sent=0, waiting=1)
    settings.EMAIL_BACKEND = good
    assert mail.send_due().sent == 1

    assert "Firefox, Linux" in sent.outbox[0].body


def test_one_address_that_is_refused_holds_up_nobody(
    customer: User, staff: User, settings: Settings
) -> None:
    for user in (customer, staff):
        mail.write(user, Kind.SIGN_IN, agent="x", address="y")
    settings.EMAIL_BACKEND = f"{HERE}Picky"

    assert mail.send_due() == mail.Sent(sent=1, waiting=1)

    left = Mail.objects.get(sent_at=None)
    assert (left.attempts, left.error) == (1, "SMTPRecipientsRefused")
    assert left.not_before > timezone.now()
    assert mail.send_due().sent == 0


def test_an_address_that_no_letter_can_be_written_to_holds_up_nobody(
    client: Client, customer: User, settings: Settings
) -> None:
    """Anybody can sign up with one: this is an encoded word with a line's end in it."""
    unwritable = {"email": "=?utf-8?q?a=0ab?=@example.com", "password1": "a-Long-passw0rd"}
    assert client.post("/accounts/signup/", unwritable).status_code == 302
    mail.write(customer, Kind.SIGN_IN, agent="x", address="y")
    settings.EMAIL_BACKEND = f"{HERE}Exact"

    assert mail.send_due() == mail.Sent(sent=1, waiting=1)

    assert Mail.objects.get(sent_at=None).error == "ValueError"


def test_old_news_is_dropped(customer: User) -> None:
    mail.write(customer, Kind.SIGN_IN, agent="x", address="y")
    Mail.objects.update(created_at=timezone.now() - dt.timedelta(days=4))

    assert mail.send_due() == mail.Sent(given_up=1)


def test_mails_speak_the_readers_language(customer: User) -> None:
    User.objects.update(language="tr")
    mail.write(customer, Kind.LOW_BALANCE, balance="1.5", limit="2")

    found = letter()

    assert "$1,50" in found.subject
    assert "Bakiyeniz" in found.subject
    assert '<html lang="tr">' in str(found.alternatives[0][0])


def test_what_others_wrote_is_text_in_the_mail(customer: User) -> None:
    mail.write(
        customer, Kind.TOP_UP, state="refused", credit="5", balance="5",
        reference="<b>x</b>", reason="<script>1</script>",
    )  # fmt: skip

    found = letter()

    assert "<script>1</script>" in found.body
    assert "<script>" not in str(found.alternatives[0][0])


def test_which_mails_to_get_is_chosen(client: Client, customer: User) -> None:
    client.force_login(customer)
    assert "checked" in client.get("/account/mails/").content.decode()

    client.post("/account/mails/", {"wanted": ["completed", "top_up"], "low_balance": "2.50"})

    customer.refresh_from_db()
    assert sorted(customer.mail_off) == ["canceled", "partial", "sign_in"]
    assert customer.low_balance == Decimal("2.5")


@pytest.mark.parametrize("amount", ["-1", "x", "NaN", "1.001"])
def test_an_amount_that_makes_no_sense_is_refused(
    client: Client, customer: User, amount: str
) -> None:
    client.force_login(customer)

    page = client.post("/account/mails/", {"low_balance": amount}).content.decode()

    assert 'aria-invalid="true"' in page


def test_a_top_up_is_no_low_balance(customer: User) -> None:
    User.objects.update(low_balance=Decimal(100))

    top_up(user=customer, amount=Decimal(1))

    assert not Mail.objects.exists()


def test_no_text_of_others_makes_a_header(customer: User) -> None:
    """Names come from providers and from customers themselves."""
    evil = "Followers\r\nBcc: everybody@example.com\n\nHello"
    User.objects.update(name=evil)
    mail.write(customer, Kind.COMPLETED, order=7, service=evil, link=evil, quantity=10, paid="1")

    letter = mail.letter(Mail.objects.select_related("user").get())

    sent = letter.message()
    assert sent["Bcc"] is None
    assert "\n" not in letter.subject
    assert sent["To"] == customer.email


def test_a_mail_server_that_falls_silent_does_not_hold_the_job_for_ever(
    settings: Settings,
) -> None:
    assert smtp.EmailBackend().timeout == 30

    settings.EMAIL_TIMEOUT = 0.2
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        server = smtp.EmailBackend(host="127.0.0.1", port=silent.getsockname()[1])
        with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
            server.open()
