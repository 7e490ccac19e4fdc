from decimal import Decimal

import pytest

from catalog.models import Provider
from catalog.sync import refresh_balance, refresh_balances
from catalog.tests.panel import Panel
from upstream.simulator import Simulator


def test_the_balance_is_stored_with_its_time(provider: Provider, panel: Panel) -> None:
    panel.answers(b'{"balance":"100.84292","currency":"USD"}')

    found = refresh_balance(provider)

    assert found is not None
    assert found.amount == Decimal("100.84292")
    provider.refresh_from_db()
    assert provider.balance == Decimal("100.84292")
    assert provider.balance_checked_at is not None
    assert provider.balance_note == ""


@pytest.mark.parametrize(
    ("body", "note"),
    [
        (b'{"balance":"5","currency":"EUR"}', "The provider answers in EUR and is set to USD."),
        (b'{"balance":"1000000000.5","currency":"USD"}', "The balance is too large to be stored."),
    ],
)
def test_a_balance_that_would_mislead_is_told_and_not_stored(
    provider: Provider, panel: Panel, caplog: pytest.LogCaptureFixture, body: bytes, note: str
) -> None:
    panel.answers(body)

    assert refresh_balance(provider) is not None

    provider.refresh_from_db()
    assert (provider.balance, provider.balance_note) == (None, note)
    assert note in caplog.text

    panel.answers(b'{"balance":"5","currency":"usd"}')
    refresh_balance(provider)
    provider.refresh_from_db()
    assert (provider.balance, provider.balance_note) == (5, "")


@pytest.mark.parametrize("body", [b'{"error":"Invalid API key"}', b"<html>", b'{"balance":"n/a"}'])
def test_no_usable_answer_leaves_the_last_balance(
    provider: Provider, panel: Panel, body: bytes
) -> None:
    panel.answers(b'{"balance":"-3.5"}')
    refresh_balance(provider)
    panel.answers(body)

    assert refresh_balance(provider) is None

    provider.refresh_from_db()
    assert provider.balance == Decimal("-3.5")


def test_every_enabled_provider_is_asked(provider: Provider, panel: Panel) -> None:
    panel.answers(b"oops", 500)
    with Simulator(key="k", balance=Decimal("7.25")) as simulator:
        Provider.objects.create(name="Sim", url=simulator.url, api_key="k")
        Provider.objects.create(name="Off", url=simulator.url, api_key="k", is_enabled=False)

        assert refresh_balances() == 1

    assert panel.asked == ["balance"]
    assert Provider.objects.get(name="Sim").balance == Decimal("7.25")
    assert Provider.objects.get(name="Off").balance is None
