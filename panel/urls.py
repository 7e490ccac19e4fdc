"""Root URLs: the customer's pages, accounts and the admin."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from panel import attention, reports, views
from panel.health import healthz, readyz
from panel.metrics import metrics

admin.autodiscover()

urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.home, name="home"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("orders/", include("orders.urls")),
    path("services/", include("catalog.urls")),
    path("wallet/", include("wallet.urls")),
    path("", include("accounts.urls")),
    path("", include("orders.api_urls")),
    path("", include("orders.personal_urls")),
    path("accounts/", include("allauth.urls")),
    path("admin/attention/", admin.site.admin_view(attention.page), name="attention"),
    path("admin/sales/", admin.site.admin_view(reports.sales_page), name="sales"),
    path("admin/", admin.site.urls),
]
