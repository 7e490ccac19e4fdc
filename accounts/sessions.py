"""A person's sign-ins: noted when they happen, listed, and ended from afar."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.models import Session
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import mail
from accounts.models import Device, User

_BROWSERS = {
    "Edg": "Edge", "OPR": "Opera", "SamsungBrowser": "Samsung Internet", "Firefox": "Firefox",
    "FxiOS": "Firefox", "CriOS": "Chrome", "Chrome": "Chrome", "Safari": "Safari", "curl": "curl",
}  # fmt: skip
_SYSTEMS = {
    "iPhone": "iPhone", "iPad": "iPad", "Android": "Android", "Windows": "Windows",
    "Mac OS X": "macOS", "CrOS": "ChromeOS", "Linux": "Linux",
}  # fmt: skip
_MOST = 50


@dataclass(frozen=True)
class Listed:
    """A session that is still signed in."""

    device: Device
    is_this: bool


def browser_name(agent: str) -> str:
    """A browser's header in two words, such as "Firefox, Linux"; empty when it says neither."""
    found = (
        next((name for sign, name in names.items() if sign in agent), "")
        for names in (_BROWSERS, _SYSTEMS)
    )
    return ", ".join(word for word in found if word)


def note_sign_in(user: User, *, session_key: str, agent: str, address: str, is_known: bool) -> None:
    """Remember a sign-in, and write to the person when this browser has not signed in before."""
    Device.objects.update_or_create(
        session_key=session_key,
        defaults={"user": user, "agent": browser_name(agent), "address": address or None},
    )
    if not is_known:
        mail.write(user, mail.Kind.SIGN_IN, agent=browser_name(agent), address=address)


def sessions_of(user: User, current: str) -> list[Listed]:
    """The user's living sessions, this one first; rows of ended ones are removed on the way.

    `current` is empty for somebody who looks at the list in no session of the user's.
    """
    devices = list(user.devices.order_by("-signed_in_at")[:_MOST])
    keys = {device.session_key for device in devices}
    stored = Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    living = {row.session_key for row in stored if _is_of(row, user)} | {current}
    user.devices.filter(session_key__in=keys - living).delete()
    if current and current not in keys:
        # The password was changed here, or the session is older than this list.
        devices.append(Device.objects.create(user=user, session_key=current))
    listed = [
        Listed(device, device.session_key == current)
        for device in devices
        if device.session_key in living
    ]
    return sorted(listed, key=lambda each: not each.is_this)


def _is_of(row: Session, user: User) -> bool:
    """Whether the session would still be let in: a changed password ends the others."""
    kept: dict[str, Any] = row.get_decoded()
    is_users = str(kept.get(SESSION_KEY)) == str(user.pk)
    return is_users and kept.get(HASH_SESSION_KEY) == user.get_session_auth_hash()


def end_session(user: User, device_id: int) -> bool:
    """Sign that browser out; False when it is not a session of this user."""
    device = user.devices.filter(pk=device_id).first()
    if device is None:
        return False
    _store(device.session_key).delete()
    device.delete()
    return True


def end_others(user: User, current: str) -> int:
    """Sign every other browser out."""
    others = list(user.devices.exclude(session_key=current))
    for device in others:
        _store(device.session_key).delete()
    user.devices.exclude(session_key=current).delete()
    return len(others)


def end_all(user: User) -> None:
    """Sign the person out everywhere, here too."""
    for device in user.devices.all():
        _store(device.session_key).delete()
    user.devices.all().delete()


def _store(session_key: str) -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore(session_key)


def described(device: Device) -> str:
    return device.agent or _("A browser")
