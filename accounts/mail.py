"""Mails to customers: written in the transaction of what they tell, sent later by a job.

A mail server that is away costs time and no mail: what was not sent is tried again.
"""

import datetime as dt
import logging
import smtplib
from dataclasses import dataclass

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import models
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.translation import gettext_lazy as _

from accounts.encryption import UnreadableSecret
from accounts.keeping import delete_in_parts
from accounts.middleware import zone
from accounts.models import Mail, User

logger = logging.getLogger(__name__)

# What allauth writes about an address or a password; nobody can switch it off.
ACCOUNT = "account"

# A mail about yesterday's order is news for nobody.
_GIVE_UP_AFTER = dt.timedelta(days=3)
_LONGEST_WAIT = dt.timedelta(hours=1)


class Kind(models.TextChoices):
    """What a mail is about. Values are stored, so a name changes only with a migration."""

    COMPLETED = "completed", _("An order is completed")
    PARTIAL = "partial", _("An order was delivered in part, and the rest refunded")
    CANCELED = "canceled", _("An order was canceled and refunded")
    TOP_UP = "top_up", _("A top-up was credited or refused")
    LOW_BALANCE = "low_balance", _("The balance fell below an amount")
    SIGN_IN = "sign_in", _("A sign-in from a new browser")


def write(user: User, kind: Kind, **values: str | int) -> Mail | None:
    """Put a mail into the outbox, in the caller's transaction; None when the person wants none."""
    if kind in user.mail_off or not user.is_active:
        return None
    return Mail.objects.create(user=user, kind=kind, values=values)


def write_letter(*, to: str, user: User | None, subject: str, body: str, language: str) -> Mail:
    """Put a finished letter into the outbox, in the caller's transaction."""
    sealed = f"{subject}\n\n{body}"
    return Mail.objects.create(
        to=to, user=user, kind=ACCOUNT, sealed=sealed, values={"language": language}
    )


@dataclass(frozen=True)
class Sent:
    """What one run of the outbox did."""

    sent: int = 0
    waiting: int = 0
    given_up: int = 0


def send_due(limit: int = 200) -> Sent:
    """Send what is due. A mail is sent again only when the server did not take it.

    One connection for all; when it can't be made or breaks, everything left waits for the next run.
    """
    now = timezone.now()
    unsent = Mail.objects.filter(sent_at=None, created_at__lt=now - _GIVE_UP_AFTER)
    given_up = delete_in_parts(unsent, most=None)
    # Each letter is unsealed by itself: one that no key opens must not hold up the others.
    due = Mail.objects.filter(sent_at=None, not_before__lte=now).defer("sealed")
    mails = list(due.select_related("user").order_by("not_before", "pk")[:limit])
    sent = 0
    if mails:
        try:
            with get_connection() as server:
                sent = sum(_send(mail, server) for mail in mails)
        except (OSError, smtplib.SMTPException) as exc:
            logger.warning("mail server away: %s", type(exc).__name__)
    waiting = Mail.objects.filter(sent_at=None).count()
    return Sent(sent=sent, waiting=waiting, given_up=given_up)


def _send(mail: Mail, server: BaseEmailBackend) -> bool:
    """Send one mail; an error of the connection itself goes on to the caller."""
    try:
        letter(mail, server).send()
    except (smtplib.SMTPRecipientsRefused, UnreadableSecret, ValueError) as exc:
        # The last: addresses that sign-up takes and no letter can be written to.
        _later(mail, exc)
        return False
    except (OSError, smtplib.SMTPException) as exc:
        _later(mail, exc)
        raise
    mail.sent_at = timezone.now()
    mail.sealed = ""
    mail.save(update_fields=["sent_at", "sealed"])
    return True


def _later(mail: Mail, exc: Exception) -> None:
    mail.attempts += 1
    wait = min(_LONGEST_WAIT, dt.timedelta(seconds=10) * 2 ** min(mail.attempts, 10))
    mail.not_before = timezone.now() + wait
    mail.error = type(exc).__name__
    mail.save(update_fields=["attempts", "not_before", "error"])


def letter(mail: Mail, server: BaseEmailBackend | None = None) -> EmailMultiAlternatives:
    """The mail as text and HTML, in its reader's language and time zone.

    Raises UnreadableSecret when no key opens a sealed one.
    """
    language = _language(mail)
    user_zone = zone(mail.user.time_zone) if mail.user else None
    with translation.override(language), timezone.override(user_zone):
        context = {
            **mail.values,
            "site_name": settings.SITE_NAME,
            "site_url": settings.SITE_URL,
            "user": mail.user,
            "at": mail.created_at,
            "language": language,
        }
        text = _text(mail, context)
        # The first line is the subject.
        subject, _newline, body = text.strip().partition("\n")
        paragraphs = [part for part in body.strip().split("\n\n") if part.strip()]
        html = render_to_string(
            "mail/letter.html", {**context, "subject": subject, "paragraphs": paragraphs}
        )
    built = EmailMultiAlternatives(
        subject=f"{settings.ACCOUNT_EMAIL_SUBJECT_PREFIX}{subject}",
        body=body.strip() + "\n",
        to=[mail.to or (mail.user.email if mail.user else "")],
        connection=server,
    )
    built.attach_alternative(html, "text/html")
    return built


def _language(mail: Mail) -> str:
    chosen = mail.user.language if mail.user else ""
    return str(mail.values.get("language") or chosen or settings.LANGUAGE_CODE)


def _text(mail: Mail, context: dict[str, object]) -> str:
    if mail.kind == ACCOUNT:
        return mail.sealed
    return render_to_string(f"mail/{mail.kind}.txt", context)
