"""Reads the environment, and names the variable when a value makes no sense.

Every variable is described in docs/configuration.md; a test compares the two.
"""

from collections.abc import Callable, MutableMapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")

# Read plainly: django-environ's own readers take a value that begins with "$" for the name of another
# variable, and a generated secret may begin so.
_ENVIRON: MutableMapping[str, str] = environ.Env.ENVIRON


def read_dotenv(path: Path) -> None:
    """Read `.env` when it is there; the real environment wins."""
    if path.is_file():
        environ.Env.read_env(str(path))


def _read(name: str, read: Callable[[], T], meaning: str) -> T:
    try:
        return read()
    except ImproperlyConfigured:
        raise
    except (ValueError, TypeError, InvalidOperation):
        # The value may be a secret, so only the name is shown.
        raise ImproperlyConfigured(f"{name} must be {meaning}") from None


def text(name: str, default: str = "") -> str:
    """The variable itself, or the content of the file that NAME_FILE names; empty counts as unset."""
    path = _ENVIRON.get(f"{name}_FILE", "")
    if path:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as exc:
            raise ImproperlyConfigured(f"{name}_FILE can't be read: {exc.strerror}") from None
        except ValueError:
            raise ImproperlyConfigured(f"{name}_FILE can't be read: it is no UTF-8 text") from None
    return _ENVIRON.get(name, "").strip() or default


def flag(name: str, default: bool = False) -> bool:
    """A yes/no variable: 1, true, yes, on or 0, false, no, off."""

    def read() -> bool:
        value = text(name).lower()
        if value == "":
            return default
        return {"1": True, "true": True, "yes": True, "on": True}.get(value) or not {
            "0": True, "false": True, "no": True, "off": True,
        }[value]  # fmt: skip

    try:
        return read()
    except KeyError:
        raise ImproperlyConfigured(f"{name} must be true or false") from None


def number(name: str, default: int, *, low: int = 0, high: int = 10**9) -> int:
    """A whole number between `low` and `high`."""

    def read() -> int:
        value = int(text(name) or default)
        if not low <= value <= high:
            raise ValueError
        return value

    return _read(name, read, f"a whole number from {low} to {high}")


def days(name: str, default: int, *, least: int = 1) -> int:
    """A number of days, at least so many; 0 means for ever."""
    value = number(name, default, high=36_500)
    if 0 < value < least:
        raise ImproperlyConfigured(f"{name} must be 0 (for ever) or at least {least}")
    return value


def amount(name: str, default: str, *, low: str = "0", high: str = "1000000") -> Decimal:
    """A decimal number between `low` and `high`."""

    def read() -> Decimal:
        value = Decimal(text(name) or default)
        if not (value.is_finite() and Decimal(low) <= value <= Decimal(high)):
            raise ValueError
        return value

    return _read(name, read, f"a number from {low} to {high}")


def site(name: str, default: str) -> str:
    """An address of this site, without the slash at its end; its scheme in small letters."""

    def read() -> str:
        value = text(name, default).rstrip("/")
        parts = urlsplit(value)
        # Browsers ask for a name with other letters by its ASCII form, and never for a wrong port.
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            raise ValueError
        parts.netloc.encode("ascii")
        return f"{parts.scheme}{value[len(parts.scheme) :]}"

    return _read(name, read, "an address such as https://panel.example.com (in ASCII: xn--…)")


def items(name: str, default: str = "") -> list[str]:
    """A comma-separated list; blanks around items are dropped."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]
