from django.urls import path

from orders import mass_views, pages, views

app_name = "orders"
urlpatterns = [
    path("", pages.order_list, name="list"),
    path("new/", views.new, name="new"),
    path("new/results/", views.results, name="results"),
    path("new/quote/", views.quoted, name="quote"),
    path("mass/", mass_views.mass, name="mass"),
    path("mass/lines/", mass_views.reckoned, name="mass_lines"),
    path("help/", pages.explained, name="help"),
    path("export/", pages.export, name="export"),
    path("rows/", pages.rows, name="rows"),
    path("<int:pk>/", pages.detail, name="detail"),
    path("<int:pk>/live/", pages.live, name="live"),
    path("<int:pk>/refill/", pages.refill, name="refill"),
    path("<int:pk>/cancel/", pages.cancel, name="cancel"),
]
