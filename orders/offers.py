"""A service as it is offered to one customer: what an order is judged and priced by, in one statement."""

from django.db.models import BigIntegerField, Exists, QuerySet

from catalog.models import LinkRule, Service
from catalog.rates import for_customer
from catalog.rules import NO_RULES, Rules, read_rules
from wallet.prepared import Instances, Slot

# What `quote` and the form ask of a service; a provider's key is not even decrypted for it.
_NEEDED = (
    "name", "own_name", "type", "order_type", "cost_rate", "listed_cost_rate", "price_rate",
    "min_quantity", "max_quantity", "dripfeed", "is_sold", "is_present", "is_held", "refusal",
    "provider__is_enabled", "provider__exchange_rate", "provider__loss_tolerance",
    "category__name", "category__own_name", "category__is_visible",
)  # fmt: skip


def offer(customer_id: int, service_id: int) -> Service | None:
    """The service as it is now, on sale or not, with this customer's terms; None without one.

    Its other columns (the description, say) are read when they are asked for.
    """
    found = _offer(customer=customer_id, service=service_id)
    return found[0] if found else None


def _offered() -> QuerySet[Service]:
    found = Service.objects.select_related("provider", "category").only(*_NEEDED)
    mine = for_customer(found, Slot("customer", BigIntegerField()))
    # Most operators refuse nothing by rules: then nothing has to be read of them.
    mine = mine.annotate(has_rules=Exists(LinkRule.objects.filter(is_on=True)))
    return mine.filter(pk=Slot("service", BigIntegerField())).order_by()


_offer = Instances(_offered)


def rules_for(offered: Service) -> Rules:
    """What the operator refuses in orders, as it was when this offer was read."""
    return read_rules() if getattr(offered, "has_rules", True) else NO_RULES
