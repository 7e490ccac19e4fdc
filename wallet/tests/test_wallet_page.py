from decimal import Decimal

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from wallet.models import Entry
from wallet.services import top_up

MOST_QUERIES = 12
MOST_BYTES = 60_000


@pytest.fixture
def signed_in(client: Client, customer: User) -> Client:
    client.force_login(customer)
    return client


def test_the_wallet_shows_the_balance_and_every_movement(signed_in: Client, customer: User) -> None:
    top_up(user=customer, amount=Decimal("2.5"), note="Bank transfer")

    page = signed_in.get("/wallet/").content.decode()

    assert "$12.50" in page
    assert "+$2.50" in page
    assert "Bank transfer" in page


def test_pages_of_fifty_lead_on_and_back(signed_in: Client, customer: User) -> None:
    for _ in range(60):
        top_up(user=customer, amount=Decimal(1))

    newest = signed_in.get("/wallet/").context["page"]
    older = signed_in.get(f"/wallet/{newest.older}").context["page"]
    back = signed_in.get(f"/wallet/{older.newer}").context["page"]

    assert len(newest.rows) == 50
    assert len(older.rows) == 11
    assert newest.newer == older.older == back.newer == ""
    assert [row.pk for row in back.rows] == [row.pk for row in newest.rows]
    shown = [row.pk for row in newest.rows + older.rows]
    assert shown == sorted(Entry.objects.values_list("pk", flat=True), reverse=True)


def test_the_last_page_of_exactly_fifty_leads_nowhere(signed_in: Client, customer: User) -> None:
    for _ in range(49):
        top_up(user=customer, amount=Decimal(1))

    assert signed_in.get("/wallet/").context["page"].older == ""


@pytest.mark.parametrize("query", ["before=x", "before=-1", "before=" + "9" * 40, "after=²"])
def test_a_page_key_that_is_no_number_shows_the_newest(signed_in: Client, query: str) -> None:
    assert len(signed_in.get(f"/wallet/?{query}").context["page"].rows) == 1


def test_movements_are_filtered_by_type(signed_in: Client) -> None:
    assert len(signed_in.get("/wallet/?type=top_up").context["page"].rows) == 1
    assert len(signed_in.get("/wallet/?type=refund").context["page"].rows) == 0


def test_nobody_sees_anothers_movements(client: Client, customer: User) -> None:
    other = User.objects.create_user("other@example.com")
    client.force_login(other)

    page = client.get("/wallet/")

    assert page.context["page"].rows == []
    assert "$0.00" in page.content.decode()


def test_a_visitor_is_sent_to_sign_in(client: Client, db: None) -> None:
    assert client.get("/wallet/")["Location"] == "/accounts/login/?next=/wallet/"


def test_the_operators_instructions_are_shown_as_text(
    signed_in: Client, settings: Settings
) -> None:
    settings.TOP_UP_INSTRUCTIONS = "Send to <IBAN>"

    assert "Send to &lt;IBAN&gt;" in signed_in.get("/wallet/").content.decode()


def test_a_full_page_stays_small_and_needs_few_queries(
    signed_in: Client, customer: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(50):
        top_up(user=customer, amount=Decimal("123.45678"), note="N" * 150)

    with django_assert_max_num_queries(MOST_QUERIES):
        page = signed_in.get("/wallet/")

    assert len(page.content) <= MOST_BYTES


def test_movements_are_searched_by_type_words_and_day(signed_in: Client, customer: User) -> None:
    top_up(user=customer, amount=Decimal(3), note="bank transfer 77", reference="t-77")

    def amounts(query: str) -> list[Decimal]:
        return [entry.amount for entry in signed_in.get(f"/wallet/?{query}").context["page"].rows]

    assert amounts("q=transfer") == [3]
    assert amounts("q=t-77") == [3]
    assert amounts("type=top_up") == [3, 10]
    assert amounts("type=charge") == []
    assert amounts("since=2999-01-01") == []
    assert len(amounts("until=2999-01-01")) == 2
    assert len(amounts("since=0001-01-01&until=nonsense&type=x")) == 2
    assert amounts("q=%00zzz") == []


def test_an_empty_filter_says_what_to_do_next(signed_in: Client) -> None:
    assert "No transaction matches" in signed_in.get("/wallet/?q=zzz").content.decode()


def test_the_download_holds_what_the_page_shows_and_no_formula(
    signed_in: Client, customer: User
) -> None:
    top_up(user=customer, amount=Decimal("1.00005"), note="=1+1", reference="t-1")

    answer = signed_in.get("/wallet/export/?q=t-1")

    lines = b"".join(answer.streaming_content).decode().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "date,type,order,reference,note,amount,balance_after"
    assert lines[1].endswith("top_up,,t-1,'=1+1,1.000050,11.000050")
    assert len(lines) == 2
    assert answer["Content-Disposition"] == 'attachment; filename="transactions.csv"'
