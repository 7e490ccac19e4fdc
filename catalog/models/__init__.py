from catalog.models.changes import BulkChange, HeldChange, ServiceChange, SyncRun
from catalog.models.customers import CustomerGroup, CustomerPrice, GroupMember
from catalog.models.links import LinkRule
from catalog.models.providers import (
    DIGESTS,
    BalanceSample,
    ErrorRule,
    ExchangeRate,
    Provider,
    ProviderQuerySet,
    connections,
)
from catalog.models.rules import RULE_FIELDS, Percent, PriceLayer, SiteRules, complete
from catalog.models.services import Category, Favourite, Service, ServiceQuerySet
from catalog.models.stock import StockMark

__all__ = [
    "DIGESTS",
    "RULE_FIELDS",
    "BalanceSample",
    "BulkChange",
    "Category",
    "CustomerGroup",
    "CustomerPrice",
    "ErrorRule",
    "ExchangeRate",
    "Favourite",
    "GroupMember",
    "HeldChange",
    "LinkRule",
    "Percent",
    "PriceLayer",
    "Provider",
    "ProviderQuerySet",
    "Service",
    "ServiceChange",
    "ServiceQuerySet",
    "SiteRules",
    "StockMark",
    "SyncRun",
    "complete",
    "connections",
]
