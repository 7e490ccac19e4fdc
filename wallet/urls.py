from django.urls import path

from wallet import topup_views, views

app_name = "wallet"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("export/", views.export, name="export"),
    path("add/", topup_views.add, name="add"),
    path("proofs/<int:pk>/", topup_views.proof, name="proof"),
]
