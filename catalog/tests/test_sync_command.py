from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from catalog.models import Provider, Service
from catalog.tests.panel import Panel, row


def sync_catalog(*args: str) -> str:
    out = StringIO()
    call_command("sync_catalog", *args, stdout=out)
    return out.getvalue()


def test_progress_and_summary_are_shown(provider: Provider, panel: Panel) -> None:
    panel.lists([row(1), *(row(at, rate=0) for at in range(2, 27))])

    said = sync_catalog()

    assert "Fetching the list of Panel" in said
    assert "Panel: applied." in said
    assert "  added: 26\n" in said
    assert "  vanished: 0\n" in said
    assert "    2 Followers 2: rate is zero or negative\n" in said
    assert said.count("rate is zero") == 20
    assert "and 5 more" in said


def test_a_failed_sync_ends_with_an_error(provider: Provider, panel: Panel) -> None:
    panel.answers(b'{"error":"Invalid API key"}')

    with pytest.raises(CommandError, match="Nothing was changed for: Panel") as failure:
        sync_catalog()

    assert failure.value.returncode == 1


def test_a_short_list_is_refused_unless_it_is_accepted(provider: Provider, panel: Panel) -> None:
    panel.lists([row(1), row(2)])
    sync_catalog()
    panel.lists([row(1)])

    with pytest.raises(CommandError):
        sync_catalog()
    assert Service.objects.filter(is_present=True).count() == 2

    sync_catalog("--accept-short")
    assert Service.objects.filter(is_present=True).count() == 1


def test_one_provider_is_chosen_by_name_even_when_it_is_disabled(
    provider: Provider, panel: Panel
) -> None:
    Provider.objects.create(name="Off", url=panel.url, api_key="k", is_enabled=False)
    panel.lists([row(1)])

    sync_catalog("--provider", "Off")

    assert {one.provider.name for one in Service.objects.all()} == {"Off"}
    with pytest.raises(CommandError, match="no provider named Nobody"):
        sync_catalog("--provider", "Nobody")


@pytest.mark.django_db
def test_without_any_provider_it_says_what_to_do() -> None:
    with pytest.raises(CommandError, match="set UPSTREAM_API_URL and UPSTREAM_API_KEY"):
        sync_catalog()


@pytest.mark.django_db
def test_the_provider_of_the_environment_is_made_and_synced(
    panel: Panel, settings: Settings
) -> None:
    settings.ALLOW_PRIVATE_UPSTREAM = True
    settings.UPSTREAM_API_URL, settings.UPSTREAM_API_KEY = panel.url, "k"
    panel.lists([row(1)])

    sync_catalog()

    assert Service.objects.get().provider.name == "127.0.0.1"
