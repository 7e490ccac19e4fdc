"""Links that evidently lead elsewhere, and what the operator refuses."""

import time
import uuid

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from accounts.models import User
from catalog.models import LinkRule, Service
from catalog.platforms import BY_KEY, PLATFORMS, evident_platform, host_of, wrong_host
from catalog.rules import Rules, read_rules, refuses
from orders.bulk import Wanted
from orders.errors import InvalidLines, InvalidOrder
from orders.quotes import quote
from orders.services import place_many, place_order


@pytest.mark.parametrize(
    ("name", "category", "key"),
    [
        ("Instagram Likes", "", "instagram"),
        ("Likes, fast", "📸 INSTAGRAM – Likes", "instagram"),
        ("YouTube views", "TikTok", "youtube"),
        ("Likes for Instagram and TikTok", "Instagram", None),
        ("Website traffic from Instagram", "Traffic", None),
        ("Likes", "Everything", None),
        ("Twitter Retweets", "", "x"),
    ],
)
def test_the_platform_is_what_the_name_or_else_the_category_says(
    name: str, category: str, key: str | None
) -> None:
    found = evident_platform(name, category)

    assert (found.key if found else None) == key


@pytest.mark.parametrize(
    ("link", "host"),
    [
        ("https://www.Instagram.com/p/x", "instagram.com"),
        ("instagram.com/p/x", "instagram.com"),
        ("http://user:pw@evil.example:8080/instagram.com", "evil.example"),
        ("johndoe", ""),
        ("@johndoe", ""),
        ("https://[broken", ""),
        ("https://example.com./", "example.com"),
    ],
)
def test_the_host_is_where_a_link_leads(link: str, host: str) -> None:
    assert host_of(link) == host


@pytest.mark.parametrize(
    "link",
    [
        "https://www.instagram.com/p/1", "https://m.instagram.com/p/1", "instagram.com/x",
        "johndoe", "john.doe", "@john.doe", "https://example.com/demo", "https://shop.example/",
    ],
)  # fmt: skip
def test_a_link_that_may_be_right_is_let_through(link: str) -> None:
    assert wrong_host(BY_KEY["instagram"], link) == ""


@pytest.mark.parametrize(
    "link",
    [
        "https://tiktok.com/@x", "https://notinstagram.com/", "https://instagram.com.evil.net/",
        "tiktok.com/@x",
    ],
)  # fmt: skip
def test_a_link_that_leads_elsewhere_is_named(link: str) -> None:
    assert wrong_host(BY_KEY["instagram"], link)


def test_a_platforms_addresses_in_other_countries_count() -> None:
    assert wrong_host(BY_KEY["pinterest"], "https://www.pinterest.de/pin/1") == ""
    assert wrong_host(BY_KEY["pinterest"], "https://pinterest.co.uk/pin/1") == ""


def test_the_table_is_written_as_it_is_compared() -> None:
    for platform in PLATFORMS:
        assert all(text == text.casefold() for text in (*platform.words, *platform.hosts))


@pytest.mark.parametrize(
    ("kind", "text", "value", "is_refused"),
    [
        ("host", "bad.example", "https://sub.bad.example/x", True),
        ("host", "bad.example", "https://notbad.example/x", False),
        ("word", "casino", "https://x.example/CASINO-1", True),
        ("word", "casino", "https://x.example/", False),
        ("pattern", "*/private/*", "https://x.example/private/1", True),
        ("pattern", "*/private/*", "https://x.example/public/1", False),
        ("pattern", "https://x.example/?", "https://x.example/1", True),
        ("pattern", "*[a-z]*", "https://x.example/", False),
        ("pattern", "*(.*)+$*", "https://x.example/", False),
    ],
)
def test_a_rule_refuses_what_it_says(kind: str, text: str, value: str, is_refused: bool) -> None:
    assert refuses(LinkRule(kind=kind, text=text), "link", value) is is_refused


def test_words_count_in_every_field_and_hosts_in_links_alone() -> None:
    values = {"comments": "a casino at https://bad.example/"}

    assert Rules((LinkRule(kind="host", text="bad.example"),)).refusal(values) is None
    assert Rules((LinkRule(kind="word", text="casino", message="No."),)).refusal(values) == (
        "comments",
        "No.",
    )


def test_no_pattern_can_keep_the_server_busy() -> None:
    rule = LinkRule(kind="pattern", text="*a" * 95 + "*b")
    start = time.thread_time()

    assert not refuses(rule, "link", "a" * 1000)

    assert time.thread_time() - start < 1


@pytest.mark.parametrize(
    ("kind", "text"),
    [("host", "no host"), ("host", "https://x.example/"), ("pattern", "**?*"), ("word", "ab")],
)
def test_a_rule_that_makes_no_sense_is_not_kept(kind: str, text: str) -> None:
    with pytest.raises(ValidationError):
        LinkRule(kind=kind, text=text).full_clean(validate_unique=False, validate_constraints=False)


def errors_of(service: Service, link: str) -> dict[str, str]:
    with pytest.raises(InvalidOrder) as refusal:
        quote(service, {"link": link, "quantity": "100"}, rules=read_rules())
    return refusal.value.errors


def test_an_order_is_refused_with_the_operators_message(service: Service) -> None:
    service.refresh_from_db()
    LinkRule.objects.create(kind="host", text="bad.example", message="Not that site.")
    LinkRule.objects.create(kind="word", text="example", is_on=False)

    assert errors_of(service, "https://bad.example/1") == {"link": "Not that site."}
    harmless = {"link": "https://example.com/1", "quantity": "100"}
    assert quote(service, harmless, rules=read_rules()).units == 100


def test_no_way_of_placing_an_order_passes_by_the_rules(customer: User, service: Service) -> None:
    LinkRule.objects.create(kind="word", text="casino", message="No.")
    values = {"link": "https://example.com/casino", "quantity": "100"}

    with pytest.raises(InvalidOrder):
        place_order(customer=customer, service=service, values=values, client_token=uuid.uuid4())
    with pytest.raises(InvalidLines):
        place_many(
            customer=customer, wanted=[Wanted(service.pk, values)], client_token=uuid.uuid4()
        )


def test_an_order_whose_link_leads_elsewhere_says_where(service: Service) -> None:
    service.name = "Instagram Followers"

    said = errors_of(service, "https://www.tiktok.com/@x")["link"]

    assert said == "This service is for Instagram, and the link leads to tiktok.com."


def test_rules_are_read_in_one_statement(service: Service) -> None:
    LinkRule.objects.create(kind="word", text="casino")

    assert [rule.text for rule in read_rules().rows] == ["casino"]


def test_the_admin_keeps_rules(client: Client, staff: User) -> None:
    client.force_login(staff)
    address = reverse("admin:catalog_linkrule_add")

    refused = client.post(address, {"kind": "host", "text": "x y", "is_on": "on"})
    client.post(address, {"kind": "host", "text": " BAD.example ", "is_on": "on"})

    assert refused.status_code == 200
    assert LinkRule.objects.get().text == "bad.example"
