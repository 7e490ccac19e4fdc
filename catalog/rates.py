"""What a customer pays: the one place that quotes, price lists, the order form and the API ask."""

from collections.abc import Iterable
from typing import Any

from django.db.models import (
    DecimalField,
    F,
    FilteredRelation,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
)
from django.db.models.functions import Coalesce

from accounts.models import User
from catalog.models import CustomerGroup, CustomerPrice, Service, SiteRules
from catalog.pricing import CustomerRate, customer_rate, floor_rate, site_cost
from wallet.prepared import Slot

_PERCENT: DecimalField[Any, Any] = DecimalField(max_digits=9, decimal_places=3)


def for_customer(services: QuerySet[Service], customer_id: int | Slot) -> QuerySet[Service]:
    """These services with what `rate_for` needs to price them for this customer, in one query."""
    number = Value(customer_id, IntegerField()) if isinstance(customer_id, int) else customer_id
    group = CustomerGroup.objects.filter(members__customer_id=customer_id)
    site = SiteRules.objects.values("margin_min")
    return services.annotate(
        own_price=FilteredRelation(
            "customer_prices", condition=Q(customer_prices__customer_id=customer_id)
        ),
        terms_of_customer=number,
        own_rate=F("own_price__rate"),
        own_may_undercut=F("own_price__may_undercut"),
        discount=Subquery(group.values("discount_percent")[:1]),
        group_may_undercut=Subquery(group.values("may_undercut")[:1]),
        least_margin=Coalesce(
            "margin_min",
            "category__margin_min",
            "provider__margin_min",
            Subquery(site[:1]),
            output_field=_PERCENT,
        ),
        provider_exchange_rate=F("provider__exchange_rate"),
    )


def rate_for(customer: User | int, service: Any) -> CustomerRate:
    """What this customer pays for 1,000 units (for the package), and by which rule.

    Asks nothing of the database for a service of `for_customer`; else it is looked up there.
    """
    customer_id = customer if isinstance(customer, int) else customer.pk
    if getattr(service, "terms_of_customer", None) != customer_id:
        service = for_customer(Service.objects.all(), customer_id).get(pk=service.pk)
    if service.own_rate is None and not service.discount:
        return CustomerRate(service.price_rate, "list", False)
    cost = site_cost(service.cost_rate, service.provider_exchange_rate)
    return customer_rate(
        list_rate=service.price_rate,
        floor=floor_rate(cost, service.least_margin),
        own=service.own_rate,
        own_may_undercut=bool(service.own_may_undercut),
        discount=service.discount,
        group_may_undercut=bool(service.group_may_undercut),
    )


def price_list_key(customer_id: int) -> str:
    """Which prepared price list a customer reads: the same key, the same prices; in one query.

    Empty for the list prices, else the group's, else the customer's own.
    """
    group = CustomerGroup.objects.filter(members__customer_id=OuterRef("pk")).values("pk")[:1]
    own = CustomerPrice.objects.filter(customer_id=OuterRef("pk")).values("pk")[:1]
    row = (
        User.objects.filter(pk=customer_id)
        .annotate(price_group=Subquery(group), has_own=Subquery(own))
        .values_list("price_group", "has_own")
        .first()
    )
    if row is None or row == (None, None):
        return ""
    return f"customer-{customer_id}" if row[1] is not None else f"group-{row[0]}"


def priced(services: Iterable[Service], customer_id: int | None) -> list[Any]:
    """The services of a page, each with its `rate` for this customer, or the list's for nobody."""
    shown: list[Any] = list(services)
    for service in shown:
        service.rate = (
            service.price_rate if customer_id is None else rate_for(customer_id, service).rate
        )
    return shown
