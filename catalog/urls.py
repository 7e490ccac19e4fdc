from django.urls import path

from catalog import views

app_name = "catalog"
urlpatterns = [
    path("", views.services, name="services"),
    path("favourite/", views.favourite, name="favourite"),
]
