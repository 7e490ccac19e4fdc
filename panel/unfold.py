"""How the admin looks and what its menu holds; read by settings as UNFOLD."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

NEEDS_ATTENTION = _("Needs attention")


def _may_view(permission: str) -> Callable[[HttpRequest], bool]:
    def allowed(request: HttpRequest) -> bool:
        return request.user.has_perm(permission)

    return allowed


def _item(title: Any, icon: str, model: str) -> dict[str, Any]:
    app, name = model.split(".")
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{name}_changelist"),
        "permission": _may_view(f"{app}.view_{name}"),
    }


def _stylesheet(_request: HttpRequest) -> str:
    return static("css/admin.css")


def _icon(_request: HttpRequest) -> str:
    return static("img/favicon.svg")


def config(site_name: str) -> dict[str, Any]:
    """Unfold's settings for a site of this name."""
    return {
        "SITE_TITLE": site_name,
        "SITE_HEADER": site_name,
        "SITE_SYMBOL": "storefront",
        "SITE_URL": "/",
        "SHOW_HISTORY": True,
        "SHOW_VIEW_ON_SITE": False,
        "DASHBOARD_CALLBACK": "panel.dashboard.add_figures",
        "STYLES": [_stylesheet],
        "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _icon}],
        "COLORS": {"primary": _BLUE},
        "SIDEBAR": {"show_search": True, "navigation": "panel.menu.navigation"},
    }


def menu() -> list[dict[str, Any]]:
    """The entries in groups, as Unfold wants them; whoever may not see one is not shown it."""
    return [
        {
            "items": [
                {"title": _("Dashboard"), "icon": "dashboard", "link": reverse_lazy("admin:index")},
                {
                    "title": NEEDS_ATTENTION,
                    "icon": "notifications",
                    "link": reverse_lazy("attention"),
                },
                {
                    "title": _("Sales"),
                    "icon": "monitoring",
                    "link": reverse_lazy("sales"),
                    "permission": _may_view("orders.view_dailysales"),
                },
            ]
        },
        {
            "title": _("Sales"),
            "items": [
                _item(_("Orders"), "shopping_cart", "orders.order"),
                _item(_("Bulk actions"), "playlist_add_check", "orders.bulkrun"),
                _item(_("Refills and cancels"), "autorenew", "orders.request"),
                _item(_("Wallets"), "account_balance_wallet", "wallet.account"),
                _item(_("Top-up requests"), "payments", "wallet.topuprequest"),
                _item(_("Top-up methods"), "account_balance", "wallet.topupmethod"),
                _item(_("Transactions"), "receipt_long", "wallet.entry"),
                _item(_("Approvals"), "how_to_reg", "wallet.approval"),
            ],
        },
        {
            "title": _("Catalogue"),
            "items": [
                _item(_("Services"), "sell", "catalog.service"),
                _item(_("Categories"), "category", "catalog.category"),
                _item(_("Price rules"), "percent", "catalog.siterules"),
                _item(_("Held changes"), "pause_circle", "catalog.heldchange"),
                _item(_("Bulk changes"), "edit_note", "catalog.bulkchange"),
                _item(_("Customer groups"), "groups", "catalog.customergroup"),
                _item(_("Customer prices"), "price_check", "catalog.customerprice"),
                _item(_("Providers"), "dns", "catalog.provider"),
                _item(_("Link rules"), "link_off", "catalog.linkrule"),
                _item(_("Catalogue syncs"), "sync", "catalog.syncrun"),
                _item(_("Error rules"), "rule", "catalog.errorrule"),
            ],
        },
        {
            "title": _("API"),
            "items": [
                _item(_("API keys"), "key", "accounts.apikey"),
                _item(_("Callbacks"), "webhook", "orders.callback"),
                _item(_("Callback messages"), "outgoing_mail", "orders.delivery"),
            ],
        },
        {
            "title": _("Operation"),
            "items": [
                _item(_("Users"), "group", "accounts.user"),
                _item(_("Groups"), "badge", "auth.group"),
                _item(_("Mails"), "mail", "accounts.mail"),
                _item(_("Ceilings"), "vertical_align_top", "wallet.ceiling"),
                _item(_("Audit log"), "history_edu", "accounts.auditentry"),
                _item(_("Jobs"), "schedule", "panel.job"),
                _item(_("Alerts"), "notifications", "panel.alert"),
            ],
        },
    ]


# A calm blue whose 600 holds white text at more than 4.5:1, and whose 500 does on black.
_BLUE = {
    "50": "oklch(97% .014 254.604)",
    "100": "oklch(93.2% .032 255.585)",
    "200": "oklch(88.2% .059 254.128)",
    "300": "oklch(80.9% .105 251.813)",
    "400": "oklch(70.7% .165 254.624)",
    "500": "oklch(62.3% .214 259.815)",
    "600": "oklch(54.6% .245 262.881)",
    "700": "oklch(48.8% .243 264.376)",
    "800": "oklch(42.4% .199 265.638)",
    "900": "oklch(37.9% .146 265.522)",
    "950": "oklch(28.2% .091 267.935)",
}
