"""create_customer and top_up, as an operator runs them."""

import re
from decimal import Decimal
from io import StringIO

import pytest
from allauth.account.models import EmailAddress
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import User
from wallet.models import Account, Entry


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_a_new_customer_has_a_wallet_a_balance_and_no_password() -> None:
    run("create_customer", "new@example.com", "--balance", "12.50")

    user = User.objects.get(email="new@example.com")
    assert not user.has_usable_password()
    assert Account.objects.get(user=user).balance == Decimal("12.5")
    assert EmailAddress.objects.get(user=user).verified


@pytest.mark.django_db
def test_the_printed_link_lets_the_customer_choose_a_password(
    client: Client, settings: LazySettings
) -> None:
    settings.SITE_URL = "https://panel.example.com"

    printed = run("create_customer", "new@example.com")

    found = re.search(r"https://panel\.example\.com(/\S+)", printed)
    assert found is not None
    form = client.get(found[1], follow=True)
    assert form.status_code == 200
    client.post(
        form.redirect_chain[-1][0],
        {"password1": "a-Long-passw0rd", "password2": "a-Long-passw0rd"},
    )
    assert User.objects.get(email="new@example.com").check_password("a-Long-passw0rd")


@pytest.mark.django_db
def test_without_a_balance_the_wallet_is_empty() -> None:
    run("create_customer", "new@example.com")

    assert Account.objects.get().balance == 0
    assert not Entry.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["create_customer", "nobody"], "is not an e-mail address"),
        (["create_customer", "CUSTOMER@example.com"], "has an account already"),
        (["create_customer", "new@example.com", "--balance", "much"], "is not an amount"),
        (["create_customer", "new@example.com", "--balance", "NaN"], "above nothing"),
        (["create_customer", "new@example.com", "--balance", "0.000001"], "can't be posted"),
        (["top_up", "nobody@example.com", "5", "--note", "cash"], "nobody has the address"),
        (["top_up", "customer@example.com", "five", "--note", "cash"], "is not an amount"),
        (["top_up", "customer@example.com", "0", "--note", "cash"], "above nothing"),
        (["top_up", "customer@example.com", "1e12", "--note", "cash"], "can't be posted"),
        (["top_up", "customer@example.com", "5"], "--note"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence_and_nothing_is_written(
    customer: User, arguments: list[str], sentence: str
) -> None:
    with pytest.raises(CommandError, match=sentence):
        run(*arguments)

    assert User.objects.count() == 1
    assert Entry.objects.count() == 1


@pytest.mark.django_db
def test_a_top_up_is_in_the_ledger_with_its_note(customer: User) -> None:
    printed = run("top_up", "Customer@Example.com", "2.5", "--note", "bank transfer 17")

    assert Account.objects.get(user=customer).balance == Decimal("12.5")
    entry = Entry.objects.latest("pk")
    assert (entry.kind, entry.note) == (Entry.Kind.TOP_UP, "bank transfer 17")
    assert "2.5 USD added, balance 12.5" in printed


@pytest.mark.django_db
def test_a_payment_with_a_reference_is_credited_once(customer: User) -> None:
    payment = ["top_up", customer.email, "2", "--note", "bank", "--reference", "bank-17"]
    run(*payment)

    with pytest.raises(CommandError, match="was credited before"):
        run(*payment)

    assert Account.objects.get(user=customer).balance == Decimal(12)
