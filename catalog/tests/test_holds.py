"""Changes beyond a threshold: shown before a sync, held by it, decided by people."""

import re
from decimal import Decimal
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client

from accounts.models import User
from catalog import history
from catalog.compare import is_alike
from catalog.models import Category, HeldChange, Provider, Service, ServiceChange, SyncRun
from catalog.preview import preview
from catalog.sync import sync_provider
from catalog.tests.panel import Panel, row, sample
from catalog.tests.test_admin import PROVIDER, SERVICES, act, page, text

D = Decimal
HELD = "/admin/catalog/heldchange/"


@pytest.fixture
def owner(client: Client, staff: User) -> Client:
    client.force_login(staff)
    return client


@pytest.fixture
def careful(provider: Provider, panel: Panel) -> Provider:
    """Holds whatever can be held; one service of rate 1 is on sale."""
    Provider.objects.update(
        hold_cost_up=50, hold_retyped=True, hold_renamed=True, hold_below_cost=True
    )
    panel.lists([row(1), row(2)])
    return again()


def again() -> Provider:
    """Sync with what the panel lists now, as a job would: from a fresh row."""
    provider = Provider.objects.get()
    assert sync_provider(provider).outcome in {"applied", "unchanged"}
    return provider


def first() -> Service:
    return Service.objects.get(upstream_id="1")


def decide(owner: Client, action: str) -> None:
    chosen = list(HeldChange.objects.filter(state="open").values_list("pk", flat=True))
    form = {"action": action, "_selected_action": chosen, "confirmed": "yes"}
    assert owner.post(HELD, form).status_code == 302


@pytest.mark.parametrize(
    ("changed", "reasons"),
    [
        ({"rate": "1.50"}, []),
        ({"rate": "1.51"}, ["cost"]),
        ({"rate": "0.01"}, []),
        ({"type": "Package"}, ["type"]),
        ({"name": "Pinterest board saves, gradual"}, ["name"]),
        ({"name": "FOLLOWERS 1 [30 days refill]"}, []),
        ({"rate": "3", "type": "Poll", "name": "Zzz"}, ["cost", "type", "name"]),
        ({"min": "1", "max": "77", "refill": False}, []),
    ],
)
def test_what_crosses_a_threshold_is_held_and_the_rest_taken_over(
    careful: Provider, panel: Panel, changed: dict[str, Any], reasons: list[str]
) -> None:
    before = Service.objects.values("cost_rate", "name", "order_type", "price_rate").get(
        pk=first().pk
    )
    panel.lists([row(1, **changed), row(2, rate="1.2")])
    again()

    held = HeldChange.objects.first()
    assert (held.reasons if held else []) == reasons
    assert first().is_held is bool(reasons)
    if reasons:
        assert Service.objects.values(*before).get(pk=first().pk) == before
    assert Service.objects.get(upstream_id="2").cost_rate == D("1.2")


def test_a_pinned_price_that_would_fall_below_cost_is_held(careful: Provider, panel: Panel) -> None:
    Service.objects.update(pinned_rate=D("1.1"), price_rate=D("1.1"))
    panel.lists([row(1, rate="1.2"), row(2)])
    again()

    assert HeldChange.objects.get().reasons == ["below_cost"]


def test_a_held_change_is_held_once_and_the_next_syncs_change_nothing(
    careful: Provider, panel: Panel
) -> None:
    panel.lists([row(1, rate="3"), row(2)])
    again()
    panel.lists([row(2), row(1, rate="3")])
    again()

    runs = list(SyncRun.objects.order_by("pk").values_list("outcome", "held"))
    assert runs == [("applied", 0), ("applied", 1), ("unchanged", 0)]
    assert HeldChange.objects.count() == 1


def test_an_accepted_change_is_taken_over_and_sold_again(
    owner: Client, careful: Provider, panel: Panel, staff: User
) -> None:
    panel.lists([row(1, rate="3", name="Whatever it is"), row(2)])
    again()
    assert "cost rate: 1 → 3" in text(owner.get(HELD))
    decide(owner, "accept")

    service = first()
    assert (service.cost_rate, service.price_rate, service.name) == (3, D("4.5"), "Whatever it is")
    assert (service.is_held, service.listed_cost_rate) == (False, None)
    held = HeldChange.objects.get()
    assert (held.state, held.decided_by) == ("accepted", staff)
    assert ServiceChange.objects.get(service=service).actor == staff
    again()
    assert HeldChange.objects.count() == 1


def test_a_service_that_was_moved_meanwhile_stays_there_when_its_change_is_accepted(
    owner: Client, careful: Provider, panel: Panel
) -> None:
    panel.lists([row(1, rate="3"), row(2)])
    again()
    moved_to = Category.objects.create(name="Best", markup_percent=200)
    Service.objects.filter(upstream_id="1").update(category=moved_to, keeps_category=True)

    decide(owner, "accept")

    assert first().category == moved_to
    assert (first().cost_rate, first().price_rate) == (3, 9)


def test_an_ignored_change_stays_ignored_until_the_list_says_something_else(
    owner: Client, careful: Provider, panel: Panel
) -> None:
    panel.lists([row(1, rate="3"), row(2)])
    again()
    decide(owner, "ignore")
    panel.lists([row(2), row(1, rate="3")])
    again()

    service = first()
    assert (service.cost_rate, service.listed_cost_rate, service.is_held) == (1, 3, False)
    assert HeldChange.objects.get().state == "ignored"

    panel.lists([row(1, rate="4"), row(2)])
    again()
    assert HeldChange.objects.filter(state="open").count() == 1
    assert first().is_held


def test_the_price_of_a_service_whose_change_was_ignored_follows_the_markup_all_the_same(
    owner: Client, careful: Provider, panel: Panel, settings: LazySettings
) -> None:
    listed = [row(1, rate="3"), row(2)]
    panel.lists(listed)
    again()
    decide(owner, "ignore")
    position = first().position
    settings.MARKUP_PERCENT = D(100)

    panel.lists(listed[::-1])
    again()

    service = first()
    assert (service.price_rate, service.cost_rate, service.position) == (2, 1, position)
    assert (service.listed_cost_rate, service.is_held) == (3, False)
    assert HeldChange.objects.get().state == "ignored"
    newest = ServiceChange.objects.filter(service=service).latest("pk").fields
    assert {name: [D(price) for price in prices] for name, prices in newest.items()} == {
        "price_rate": [D("1.5"), D(2)]
    }
    assert SyncRun.objects.latest("pk").repriced == 2


def test_the_price_of_a_service_follows_the_markup_in_the_sync_that_holds_its_change(
    careful: Provider, panel: Panel, settings: LazySettings
) -> None:
    settings.MARKUP_PERCENT = D(100)
    panel.lists([row(1, rate="3"), row(2)])
    again()

    assert (first().price_rate, first().cost_rate, first().is_held) == (2, 1, True)
    [price] = [each.fields["price_rate"] for each in ServiceChange.objects.filter(service=first())
               if "price_rate" in each.fields]  # fmt: skip
    assert [D(each) for each in price] == [D("1.5"), 2]


def test_a_list_that_goes_back_lets_go_of_what_was_held(careful: Provider, panel: Panel) -> None:
    panel.lists([row(1, rate="3"), row(2)])
    again()
    panel.lists([row(1), row(2)])
    again()

    service = first()
    assert (service.is_held, service.listed_cost_rate, service.set_aside) == (False, None, "")
    assert HeldChange.objects.get().state == "outdated"


def test_a_service_held_for_another_reason_stays_held_after_the_decision(
    owner: Client, careful: Provider, panel: Panel
) -> None:
    Service.objects.filter(upstream_id="1").update(is_held=True)
    panel.lists([row(1, rate="3"), row(2)])
    again()
    panel.lists([row(1, rate="4"), row(2)])
    again()
    decide(owner, "accept")

    assert first().is_held
    assert first().cost_rate == 4


def test_an_open_change_keeps_its_service_from_being_released(
    owner: Client, careful: Provider, panel: Panel
) -> None:
    panel.lists([row(1, rate="3"), row(2)])
    again()

    form = {"action": "release_held", "_selected_action": [first().pk], "confirmed": "yes"}
    owner.post("/admin/catalog/service/", form)

    assert first().is_held


@pytest.mark.parametrize(
    ("setting", "changed", "kept"),
    [
        ("sync_names", {"name": "Followers 1 new"}, {"name": "Followers 1"}),
        ("sync_categories", {"category": "Other"}, {"category__name": "Followers"}),
        ("sync_limits", {"min": "5", "max": "7"}, {"min_quantity": 10, "max_quantity": 1000}),
        ("sync_flags", {"refill": False, "dripfeed": False}, {"refill": True, "dripfeed": True}),
        ("sync_descriptions", {"desc": "New"}, {"description": ""}),
    ],
)
def test_a_sync_leaves_alone_what_the_provider_s_settings_keep(
    careful: Provider, panel: Panel, setting: str, changed: dict[str, Any], kept: dict[str, Any]
) -> None:
    Provider.objects.update(**{setting: False})
    panel.lists([row(1, rate="1.1", **changed), row(2)])
    again()

    assert Service.objects.filter(upstream_id="1", cost_rate=D("1.1"), **kept).exists()
    Provider.objects.update(**{setting: True})
    again()
    assert not Service.objects.filter(upstream_id="1", **kept).exists()


def test_the_preview_writes_nothing_and_the_sync_then_writes_what_it_showed(
    owner: Client, careful: Provider, panel: Panel
) -> None:
    panel.lists([row(1, rate="1.2"), row(3, rate="5"), row(4, name="----")])
    url = f"/admin/catalog/provider/{careful.pk}/preview/"
    before = list(Service.objects.order_by("pk").values())
    asked = len(panel.asked)
    assert owner.get(url).status_code == 200
    assert len(panel.asked) == asked

    shown = owner.post(url)

    assert list(Service.objects.order_by("pk").values()) == before
    assert SyncRun.objects.count() == 1
    found = shown.context["found"]
    assert [(each.what, each.upstream_id, each.price) for each in found.rows] == [
        ("changed", "1", D("1.8")), ("new", "3", D("7.5")), ("new", "4", D("1.5")),
        ("gone", "2", None),
    ]  # fmt: skip
    assert "cost rate: 1 → 1.2" in text(shown)
    assert found.is_short

    button = re.search(r'action="([^"]*sync_now[^"]*)"(.*?)</form>', text(shown), re.DOTALL)
    assert button
    posted = dict(re.findall(r'name="(\w+)" value="([^"]*)"', button[2]))
    assert owner.post(button[1], posted).status_code == 302
    for each in found.rows:
        service = Service.objects.get(upstream_id=each.upstream_id)
        assert service.is_present is (each.what != "gone")
        assert each.price in (None, service.price_rate)


def test_the_preview_names_what_would_be_held(
    owner: Client, careful: Provider, panel: Panel
) -> None:
    panel.lists([row(1, rate="3"), row(2)])
    shown = text(owner.post(f"/admin/catalog/provider/{careful.pk}/preview/"))

    assert "held: cost rises too much" in shown
    assert not HeldChange.objects.exists()


def test_another_list_than_the_previewed_one_is_not_applied(
    owner: Client, careful: Provider, panel: Panel
) -> None:
    panel.lists([row(1, rate="1.2"), row(2)])
    found = owner.post(f"/admin/catalog/provider/{careful.pk}/preview/").context["found"]
    panel.lists([row(1, rate="1.4"), row(2)])

    answer = act(owner, careful, "sync_now", expected=found.fingerprint)

    assert "The list has changed since the preview" in text(answer)
    assert first().cost_rate == 1


def test_the_previewed_list_in_another_order_is_the_previewed_list(
    careful: Provider, panel: Panel
) -> None:
    listed = [row(1, rate="1.2"), row(2)]
    panel.lists(listed)
    expected = preview(careful).fingerprint

    panel.lists([row(2), row(1)])  # what is stored: known, and not what was shown
    assert sync_provider(Provider.objects.get(), expected=expected).outcome == "refused"
    panel.lists(listed[::-1])
    assert sync_provider(Provider.objects.get(), expected=expected).changed == 1


def test_a_provider_that_fails_is_a_sentence_in_the_preview(
    owner: Client, careful: Provider, panel: Panel
) -> None:
    panel.answers(b'{"error":"Invalid API key"}')
    shown = text(owner.post(f"/admin/catalog/provider/{careful.pk}/preview/"))

    assert "The provider refused: Invalid API key" in shown


def test_how_much_may_vanish_is_the_provider_s_setting(careful: Provider, panel: Panel) -> None:
    panel.lists([row(1)])
    assert sync_provider(Provider.objects.get()).outcome == "refused"
    Provider.objects.update(hold_vanishing=50)
    assert sync_provider(Provider.objects.get()).outcome == "applied"


def test_real_lists_83_days_apart_hold_the_leaps_and_nothing_twice(
    careful: Provider, panel: Panel
) -> None:
    Service.objects.all().delete()
    panel.answers(sample("smm-api_2024-06-21"))
    again()
    panel.answers(sample("smm-api_2024-09-12"))
    again()

    run = SyncRun.objects.first()
    assert run is not None
    assert run.held == HeldChange.objects.filter(state="open").count() == 132
    assert sum("name" in each.reasons for each in HeldChange.objects.all()) == 5
    assert sum("type" in each.reasons for each in HeldChange.objects.all()) == 13


@pytest.mark.parametrize(
    ("before", "after", "is_so"),
    [
        ("TikTok Likes | 10k", "TikTok Likes | 20k | Refill 30", True),
        ("Fb Views 2", "TikTok Shares | Non Drop | 300k/Day", False),
        ("ISASix10k10M", "TikTok Story Likes | Brazil | Instant", False),
        ("Instagram Followers", "instagram followers ♻️", True),
        ("粉丝 真实", "粉丝 真实 30天", True),
    ],
)
def test_a_name_is_recognised_by_its_words_or_letters(before: str, after: str, is_so: bool) -> None:
    assert is_alike(before, after) is is_so


def test_a_held_change_s_page_opens(owner: Client, careful: Provider, panel: Panel) -> None:
    panel.lists([row(1, rate="3"), row(2)])
    again()

    assert "cost rises too much" in text(owner.get(page(HeldChange.objects.get())))


def configured(owner: Client, provider: Provider, **form: str) -> None:
    """Save the provider's page with these fields; boxes that are not named are not ticked."""
    answer = owner.post(page(provider), {**PROVIDER, "url": provider.url, **form})
    assert answer.status_code == 302, answer.context["errors"]


@pytest.mark.parametrize(
    ("form", "changed", "label"),
    [
        ({"hold_cost_up": "20"}, {"rate": "1.21"}, "cost rises too much"),
        ({"hold_cost_up": "20"}, {"rate": "1.2"}, ""),
        ({"hold_cost_up": ""}, {"rate": "100"}, ""),
        ({"hold_below_cost": "on"}, {"rate": "1.2"}, "the pinned price falls below cost"),
        ({"hold_below_cost": "on"}, {"rate": "1.1"}, ""),
        ({}, {"rate": "1.2"}, ""),
        ({"hold_retyped": "on"}, {"type": "Package"}, "the type changes"),
        ({}, {"type": "Package"}, ""),
        ({"hold_renamed": "on"}, {"name": "Pinterest board saves, gradual"}, "the name is another one"),
        ({}, {"name": "Pinterest board saves, gradual"}, ""),
    ],
)  # fmt: skip
def test_each_threshold_is_set_previewed_held_and_accepted_on_the_admins_pages(
    owner: Client,
    careful: Provider,
    panel: Panel,
    form: dict[str, str],
    changed: dict[str, Any],
    label: str,
) -> None:
    """What the preview names as held is held, and what it shows as written is written."""
    configured(owner, careful, **form)
    pinned = {"is_sold": "on", "pinned_rate": "1.1" if "rate" in changed else ""}
    assert owner.post(page(first()), pinned).status_code == 302
    panel.lists([row(1, **changed), row(2)])
    preview = page(careful, "preview_sync")
    found = next(each for each in owner.post(preview).context["found"].rows)
    assert (found.what, ", ".join(found.reasons)) == ("held" if label else "changed", label)

    said = text(act(owner, careful, "sync_now"))

    assert f"{int(bool(label))} held" in said
    assert first().is_held is bool(label)
    if label:
        assert first().price_rate == (D("1.1") if "rate" in changed else D("1.5"))
        waiting = text(owner.get(f"{HELD}?state__exact=open"))
        assert label in waiting
        decide(owner, "accept")
    service = first()
    assert (service.price_rate, service.is_held) == (found.price, False)
    for name, (_before, after) in found.fields.items():
        if name != "category":
            assert history.plain(getattr(service, name)) == after


def test_how_much_may_vanish_is_set_on_the_providers_page_and_may_be_overruled(
    owner: Client, careful: Provider, panel: Panel
) -> None:
    panel.lists(row(number) for number in range(1, 11))
    act(owner, careful, "sync_now")
    configured(owner, careful, hold_vanishing="10")
    panel.lists(row(number) for number in range(1, 9))

    assert owner.post(page(careful, "preview_sync")).context["found"].is_short
    assert "Only 8 of 10 services" in text(act(owner, careful, "sync_now"))
    assert not Service.objects.filter(is_present=False).exists()

    assert "2 vanished" in text(act(owner, careful, "sync_now", accepts_short="on"))
    panel.lists(row(number) for number in range(1, 8))
    configured(owner, careful, hold_vanishing="20")
    assert "1 vanished" in text(act(owner, careful, "sync_now"))


def test_what_comes_back_waits_on_the_service_list_until_it_is_released(
    owner: Client, careful: Provider, panel: Panel
) -> None:
    panel.lists([row(2)])
    act(owner, careful, "sync_now", accepts_short="on")
    vanished = owner.get(f"{SERVICES}?state=vanished").context["cl"].result_list
    assert [each.upstream_id for each in vanished] == ["1"]
    panel.lists([row(1), row(2)])
    assert owner.post(page(careful, "preview_sync")).context["found"].rows[0].what == "returned"
    act(owner, careful, "sync_now")

    assert [each.pk for each in owner.get(f"{SERVICES}?state=held").context["cl"].result_list] == [
        first().pk
    ]
    form = {"action": "release_held", "_selected_action": [first().pk], "confirmed": "yes"}
    owner.post(SERVICES, form)
    assert (first().is_held, first().is_present) == (False, True)
