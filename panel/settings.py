"""All settings, from the environment; docs/configuration.md describes every variable."""

import secrets
from logging import getLevelNamesMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import django_stubs_ext
import environ
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from panel import env, logs, schedule, unfold
from panel.local import is_local

# Lets `DecimalField[Any, Any]` and the like stand in annotations and bases at run time.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
env.read_dotenv(BASE_DIR / ".env")

DEBUG = env.flag("DEBUG")
if DEBUG and not is_local(env.site("SITE_URL", "http://127.0.0.1")):
    raise ImproperlyConfigured("DEBUG must be unset: SITE_URL is not an address of this machine")
VAR_DIR = Path(env.text("VAR_DIR", str(BASE_DIR / "var")))


def _secret_key() -> str:
    """SECRET_KEY, or one made at the first start and kept in VAR_DIR with mode 0600."""
    if value := env.text("SECRET_KEY"):
        if len(value) < 32:
            raise ImproperlyConfigured("SECRET_KEY must have at least 32 characters")
        return value
    path = VAR_DIR / "secret_key"
    if not path.exists():
        VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as new:
                path.chmod(0o600)
                new.write(secrets.token_urlsafe(50))
        except FileExistsError:
            pass  # another process of the same first start was faster
    kept = path.read_text(encoding="utf-8").strip()
    # A full disk leaves an empty file, and everything would be encrypted with no key at all.
    if len(kept) < 32:
        raise ImproperlyConfigured(f"{path} must hold at least 32 characters: put its copy back")
    return kept


SECRET_KEY = _secret_key()
# Provider keys and two-factor secrets are encrypted with the first key and read with any of them;
# without the variable they follow SECRET_KEY.
SECRET_KEYS = env.items("PANEL_SECRET_KEYS") or [SECRET_KEY]

SITE_NAME = env.text("SITE_NAME", "Panel")
CURRENCY = env.text("CURRENCY", "USD").upper()
if not (CURRENCY.isalpha() and 3 <= len(CURRENCY) <= 5):
    raise ImproperlyConfigured("CURRENCY must be a currency code such as USD")
# How a customer adds funds, shown on the wallet page as plain text.
TOP_UP_INSTRUCTIONS = env.text("TOP_UP_INSTRUCTIONS")
# Whether visitors may read the price list.
PUBLIC_CATALOG = env.flag("PUBLIC_CATALOG")
# The terms of use, a plain text file; with it every sign-up must accept them.
TERMS_PATH = env.text("TERMS_PATH")
if TERMS_PATH and not Path(TERMS_PATH).is_file():
    raise ImproperlyConfigured("TERMS_PATH must be the path of a text file")
MARKUP_PERCENT = env.amount("MARKUP_PERCENT", "50", high="100000")
# For how many days the changes of services are kept (0: for ever).
PRICE_HISTORY_DAYS = env.number("PRICE_HISTORY_DAYS", 730, high=36_500)

UPSTREAM_API_URL = env.text("UPSTREAM_API_URL")
UPSTREAM_API_KEY = env.text("UPSTREAM_API_KEY")
if UPSTREAM_API_URL and urlsplit(UPSTREAM_API_URL).scheme not in {"http", "https"}:
    raise ImproperlyConfigured("UPSTREAM_API_URL must start with https:// or http://")
if UPSTREAM_API_URL and not UPSTREAM_API_KEY:
    raise ImproperlyConfigured("UPSTREAM_API_KEY must be set when UPSTREAM_API_URL is")
ALLOW_PRIVATE_UPSTREAM = env.flag("ALLOW_PRIVATE_UPSTREAM")
UPSTREAM_CONNECT_TIMEOUT = env.amount("UPSTREAM_CONNECT_TIMEOUT", "10", low="0.1", high="60")
UPSTREAM_READ_TIMEOUT = env.amount("UPSTREAM_READ_TIMEOUT", "30", low="0.1", high="60")
UPSTREAM_TOTAL_TIMEOUT = env.amount("UPSTREAM_TOTAL_TIMEOUT", "35", low="0.2", high="120")

# Where `manage.py serve` listens.
HOST = env.text("HOST", "127.0.0.1")
PORT = env.number("PORT", 8000, low=1, high=65535)

# How often a young order's status is asked for, in seconds, and how many calls run at once.
POLL_YOUNG_SECONDS = env.number("POLL_YOUNG_SECONDS", 120, low=1, high=3600)
POLL_IN_FLIGHT = env.number("POLL_IN_FLIGHT", 4, low=1, high=64)
# Refills: for how many days after the end (0: for ever), and how many hours after it at the earliest.
REFILL_DAYS = env.number("REFILL_DAYS", 30, high=3650)
REFILL_WAIT_HOURS = env.number("REFILL_WAIT_HOURS", 0, high=720)

# API v2 for customers: calls per minute of one key (0: no limit), wrong keys per minute of one
# address, and the seconds in which a second identical order without a request ID is refused.
API_ALLOW_GET = env.flag("API_ALLOW_GET", default=True)
API_REQUESTS_PER_MINUTE = env.number("API_REQUESTS_PER_MINUTE", 600, high=1_000_000)
API_WRONG_KEYS_PER_MINUTE = env.number("API_WRONG_KEYS_PER_MINUTE", 20, low=1, high=100_000)
API_DUPLICATE_SECONDS = env.number("API_DUPLICATE_SECONDS", 60, high=86_400)
# Lets callbacks go to private addresses and plain http: for development and tests.
ALLOW_PRIVATE_CALLBACKS = env.flag("ALLOW_PRIVATE_CALLBACKS")

SITE_URL = env.site("SITE_URL", f"http://127.0.0.1:{PORT}")
_https = SITE_URL.startswith("https://")
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS") or [
    str(urlsplit(SITE_URL).hostname), "127.0.0.1", "localhost", "[::1]",
]  # fmt: skip
CSRF_TRUSTED_ORIGINS = [SITE_URL] if _https else []

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "panel.admin_app.AdminOnDemand",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "csp",
    "accounts",
    "wallet",
    "catalog",
    "orders",
    "panel",
]

MIDDLEWARE = [
    "panel.middleware.RequestNumber",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "panel.middleware.AdminContentPolicy",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.PersonalLocaleMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "accounts.middleware.StaffSession",
    "accounts.confirming.ConfirmFirst",
    "accounts.viewing.LookAtCustomer",
    "allauth.account.middleware.AccountMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "panel.middleware.StaffTwoFactor",
]

ROOT_URLCONF = "panel.urls"
WSGI_APPLICATION = "panel.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.context_processors.site",
                "wallet.context_processors.balance",
            ],
        },
    },
]


def _database() -> dict[str, Any]:
    url = env.text("DATABASE_URL", f"sqlite:///{VAR_DIR / 'panel.sqlite3'}")
    try:
        config: dict[str, Any] = environ.Env.db_url_config(url)
    except (ImproperlyConfigured, ValueError, KeyError):
        raise ImproperlyConfigured(
            "DATABASE_URL must look like postgres://… or sqlite:///…"
        ) from None
    options = config.setdefault("OPTIONS", {})
    if config["ENGINE"] == "django.db.backends.sqlite3":
        VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        # IMMEDIATE is what serialises money on SQLite; FULL is what makes a commit survive a power cut.
        options.setdefault("timeout", 20)
        options.setdefault("transaction_mode", "IMMEDIATE")
        options.setdefault("init_command", "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
        # A file, as in real use: threads on an in-memory database get "table is locked" at once.
        config["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}
        return config
    if config["ENGINE"] != "django.db.backends.postgresql":
        raise ImproperlyConfigured("DATABASE_URL must name PostgreSQL or SQLite")
    config["CONN_MAX_AGE"] = env.number("CONN_MAX_AGE", 60)
    config["CONN_HEALTH_CHECKS"] = True
    options.setdefault(
        "options", "-c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000"
    )
    # For the statements of wallet.prepared; Django itself prepares none.
    options.setdefault("prepare_threshold", 5 if env.flag("PREPARED_STATEMENTS", True) else None)
    return config


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.text("REDIS_URL")
if REDIS_URL and urlsplit(REDIS_URL).scheme not in {"redis", "rediss"}:
    raise ImproperlyConfigured("REDIS_URL must start with redis:// or rediss://")
CACHES = {
    "default": (
        {"BACKEND": "panel.cache.ForgivingRedisCache", "LOCATION": REDIS_URL, "KEY_PREFIX": "panel",
         "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1}}
        if REDIS_URL
        else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    )
}  # fmt: skip

# Celery: messages are wake-ups worth nothing, so nothing is retried, kept or delayed by the broker.
CELERY_BROKER_URL = REDIS_URL or "memory://localhost/"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BROKER_POOL_ACQUIRE_TIMEOUT = 2
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    {
        "visibility_timeout": 600,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "max_retries": 0,
        "global_keyprefix": env.text("REDIS_PREFIX", "panel:"),
    }
    if REDIS_URL
    else {"polling_interval": 0.02}
)
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_DISABLE_PREFETCH = bool(REDIS_URL)
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 60
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_TIME_LIMIT = 300
CELERY_BEAT_ENABLE_REMOTE_CONTROL = bool(REDIS_URL)
CELERY_TIMEZONE = "UTC"
CELERY_TASK_DEFAULT_QUEUE = schedule.SUBMIT
# Bulk actions take their time; sending orders must not wait behind them.
CELERY_TASK_ROUTES = {"orders.tasks.work_on_run": {"queue": schedule.POLL}}
PERIODIC_JOBS = schedule.periodic_jobs(
    sync_minutes=env.number("CATALOG_SYNC_MINUTES", 60, low=1, high=10_080),
    poll_seconds=POLL_YOUNG_SECONDS,
)
CELERY_BEAT_SCHEDULE = schedule.beat_schedule(PERIODIC_JOBS)
# The database connection of a worker thread is kept: closing it after each task costs a third of the rate.
CELERY_DB_REUSE_MAX = 1_000_000

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "accounts.passwords.UncommonPassword"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_REDIRECT_URL = "orders:new"
LOGIN_URL = "account_login"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = env.text("EMAIL_VERIFICATION", "optional")
if ACCOUNT_EMAIL_VERIFICATION not in {"mandatory", "optional", "none"}:
    raise ImproperlyConfigured("EMAIL_VERIFICATION must be mandatory, optional or none")
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_SIGNUP_FORM_CLASS = "accounts.signup.TermsForm"
ACCOUNT_FORMS = {"reset_password_from_key": "accounts.recovery.ResetForm"}
# The old address and the new one, until the new one is confirmed and made the first.
ACCOUNT_MAX_EMAIL_ADDRESSES = 2
# The admin is shut to staff who sign in with a password alone.
REQUIRE_STAFF_2FA = env.flag("REQUIRE_STAFF_2FA", default=True)
# When staff are signed out: after so many hours in any case, and after so long without a request.
STAFF_SESSION_HOURS = env.number("STAFF_SESSION_HOURS", 12, low=1, high=336)
STAFF_IDLE_MINUTES = env.number("STAFF_IDLE_MINUTES", 60, high=1440)
# How old a sign-in may be for what can't be taken back; 0: as old as the session.
STAFF_CONFIRM_MINUTES = env.number("STAFF_CONFIRM_MINUTES", 10, high=1440)
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = SITE_NAME
MFA_ADAPTER = "accounts.adapter.MFAAdapter"
ACCOUNT_EMAIL_SUBJECT_PREFIX = f"[{SITE_NAME}] "
# A changed password, address or second factor is told to its owner, who may not have done it.
ACCOUNT_EMAIL_NOTIFICATIONS = True

EMAIL_URL = env.text("EMAIL_URL", "consolemail://")
try:
    vars().update(environ.Env.email_url_config(EMAIL_URL))
except (ImproperlyConfigured, ValueError, KeyError):
    raise ImproperlyConfigured(
        "EMAIL_URL must look like smtp+tls://user:password@host:587"
    ) from None
# Without one a mail server that falls silent would hold the jobs that send mails and alerts for ever.
EMAIL_TIMEOUT = 30
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM", f"{SITE_NAME} <panel@localhost>")

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("tr", _("Turkish"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = env.text("TIME_ZONE", "UTC")
try:
    ZoneInfo(TIME_ZONE)
except (ZoneInfoNotFoundError, ValueError, OSError):
    raise ImproperlyConfigured(
        "TIME_ZONE must be the name of a time zone such as Europe/Istanbul"
    ) from None
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = Path(env.text("STATIC_ROOT", str(VAR_DIR / "staticfiles")))
# WhiteNoise warns when it is missing.
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
STATICFILES_DIRS = [BASE_DIR / "static"]
# The demo and SQLite set-ups serve straight from the packages; a collected folder wins when there is one.
WHITENOISE_USE_FINDERS = True

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SESSION_COOKIE_AGE = 14 * 24 * 3600
BEHIND_PROXY = env.flag("BEHIND_PROXY")
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# Only with a proxy that says how it was asked: without one every request would be sent round for ever.
SECURE_SSL_REDIRECT = _https and BEHIND_PROXY
SECURE_REDIRECT_EXEMPT = ["^healthz$", "^readyz$", "^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
SECURE_REFERRER_POLICY = "same-origin"
# Subdomains and the browsers' preload list are the domain owner's to decide, not a panel's.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
# How many proxies add to X-Forwarded-For; none may be believed that a visitor could have written.
TRUSTED_PROXY_COUNT = env.number("TRUSTED_PROXY_COUNT", int(BEHIND_PROXY), high=10)
ACCOUNT_RATE_LIMITS = {
    "login": "30/m/ip",
    "login_failed": "10/m/ip,5/5m/key",
    "signup": "20/h/ip",
    "reset_password": "20/m/ip,5/m/key",
}
X_FRAME_OPTIONS = "DENY"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    }
}

UNFOLD = unfold.config(SITE_NAME)

# Who may read /metrics and the details of /readyz; empty: whoever asks on this machine itself.
METRICS_TOKEN = env.text("METRICS_TOKEN")

# Where `manage.py backup` puts its copies.
BACKUP_DIR = Path(env.text("BACKUP_DIR", str(VAR_DIR / "backups")))

# For how many days what is neither money nor an order is kept (0: for ever). The least is what the
# panel itself still reads: typical times need timelines, the search for lost answers needs readings.
KEEP_TIMELINES_DAYS = env.days("KEEP_TIMELINES_DAYS", 730, least=100)
KEEP_ANSWERS_DAYS = env.days("KEEP_ANSWERS_DAYS", 180, least=7)
KEEP_MAILS_DAYS = env.days("KEEP_MAILS_DAYS", 30)
KEEP_SESSIONS_DAYS = env.days("KEEP_SESSIONS_DAYS", 90)
KEEP_RUNS_DAYS = env.days("KEEP_RUNS_DAYS", 180)
KEEP_BULK_RUNS_DAYS = env.days("KEEP_BULK_RUNS_DAYS", 730)
KEEP_READINGS_DAYS = env.days("KEEP_READINGS_DAYS", 400, least=31)
# The links of orders whose customer deleted the account.
KEEP_DELETED_LINKS_DAYS = env.days("KEEP_DELETED_LINKS_DAYS", 90)

# Who is told, once each, what needs a person.
ALERT_EMAILS = env.items("ALERT_EMAILS")
ALERT_WEBHOOK_URL = env.text("ALERT_WEBHOOK_URL")
if ALERT_WEBHOOK_URL and urlsplit(ALERT_WEBHOOK_URL).scheme not in {"http", "https"}:
    raise ImproperlyConfigured("ALERT_WEBHOOK_URL must start with https:// or http://")
ALERT_BALANCE_DAYS = env.number("ALERT_BALANCE_DAYS", 3, high=365)
ALERT_UNCONFIRMED_MINUTES = env.number("ALERT_UNCONFIRMED_MINUTES", 30, high=10_080)

LOG_FORMAT = env.text("LOG_FORMAT", "text")
if LOG_FORMAT not in {"text", "json"}:
    raise ImproperlyConfigured("LOG_FORMAT must be text or json")
LOG_LEVEL = env.text("LOG_LEVEL", "INFO").upper()
if LOG_LEVEL not in getLevelNamesMapping():
    raise ImproperlyConfigured("LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR")
LOGGING = logs.config(LOG_FORMAT, LOG_LEVEL)
# Errors are reported there when the package sentry-sdk is installed beside the panel's own.
SENTRY_DSN = env.text("SENTRY_DSN")
