"""What all pages share: their files, their languages, their errors."""

import re
from pathlib import Path

import polib
import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from django.test import Client
from django.utils import translation

from accounts.models import User
from panel.translations import compile_all

SHIPPED = [
    "css/panel.css",
    "js/panel.js",
    "img/icons.svg",
    "img/favicon.svg",
    "unfold/fonts/inter/Inter-Regular.woff2",
    "unfold/fonts/inter/Inter-SemiBold.woff2",
    "django_htmx/htmx-2.min.js",
]


@pytest.mark.parametrize("path", SHIPPED)
def test_every_file_the_pages_name_is_there(path: str) -> None:
    assert finders.find(path)


def test_the_style_sheet_is_small() -> None:
    assert (settings.BASE_DIR / "static/css/panel.css").stat().st_size <= 14 * 1024


def test_every_colour_that_is_used_is_defined() -> None:
    sheet = (settings.BASE_DIR / "static/css/panel.css").read_text(encoding="utf-8")

    used = set(re.findall(r"var\((--[a-z-]+)\)", sheet))

    assert used <= set(re.findall(r"(--[a-z-]+):", sheet))


def test_no_template_holds_styles_or_scripts_of_its_own() -> None:
    for path in (settings.BASE_DIR / "templates").rglob("*.html"):
        # A mail can't bring a stylesheet along.
        if {"admin", "mail"} & set(path.parts):
            continue
        text = path.read_text(encoding="utf-8")
        assert " style=" not in text, path
        assert " onclick=" not in text, path
        assert "<script>" not in text, path


def test_the_start_welcomes_visitors_and_leads_customers_to_ordering(
    client: Client, customer: User
) -> None:
    assert "Create an account" in client.get("/").content.decode()

    client.force_login(customer)

    assert client.get("/")["Location"] == "/orders/new/"


def test_the_policy_allows_nothing_inline(client: Client, db: None) -> None:
    policy = client.get("/")["Content-Security-Policy"]

    assert "unsafe" not in policy
    assert "default-src 'self'" in policy


def test_a_page_that_is_not_there_says_so_in_our_dress(client: Client, db: None) -> None:
    answer = client.get("/nowhere/")

    assert answer.status_code == 404
    assert "css/panel.css" in answer.content.decode()


def test_a_form_without_its_token_is_refused_with_advice_for_the_operator(db: None) -> None:
    answer = Client(enforce_csrf_checks=True).post("/theme/")

    assert answer.status_code == 403
    assert "SITE_URL" in answer.content.decode()


def test_the_page_of_last_resort_needs_nothing() -> None:
    assert "It is our fault" in render_to_string("500.html")


def test_translations_are_complete_and_nothing_in_them_is_doubtful() -> None:
    catalogue = polib.pofile(str(settings.BASE_DIR / "locale/tr/LC_MESSAGES/django.po"))

    assert [entry.msgid for entry in catalogue.untranslated_entries()] == []
    assert [entry.msgid for entry in catalogue.fuzzy_entries()] == []
    assert len(catalogue) > 300


def test_compiling_again_does_nothing_until_a_source_is_newer() -> None:
    compile_all()
    assert compile_all() == 0

    source: Path = settings.BASE_DIR / "locale/tr/LC_MESSAGES/django.po"
    source.touch()

    assert compile_all() == 1
    assert not list(source.parent.glob("*.tmp"))


def test_what_is_compiled_is_what_readers_get() -> None:
    with translation.override("tr"):
        assert translation.gettext("Wallet") == "Cüzdan"
        assert (
            translation.ngettext("%(shown)s service", "%(shown)s services", 2) == "%(shown)s servis"
        )
