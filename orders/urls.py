from django.urls import path

from orders import pages, views

app_name = "orders"
urlpatterns = [
    path("", pages.order_list, name="list"),
    path("new/", views.new, name="new"),
    path("new/results/", views.results, name="results"),
    path("new/quote/", views.quoted, name="quote"),
    path("export/", pages.export, name="export"),
    path("rows/", pages.rows, name="rows"),
    path("<int:pk>/", pages.detail, name="detail"),
    path("<int:pk>/live/", pages.live, name="live"),
    path("<int:pk>/refill/", pages.refill, name="refill"),
    path("<int:pk>/cancel/", pages.cancel, name="cancel"),
]
