from django.urls import path

from orders import personal_pages

app_name = "personal"
urlpatterns = [
    path("account/data/", personal_pages.own_data, name="data"),
    path("account/data/export/", personal_pages.export, name="export"),
    path("account/data/delete/", personal_pages.close, name="close"),
]
