from django.urls import path

from accounts import views

app_name = "accounts"
urlpatterns = [
    path("account/", views.account_settings, name="settings"),
    path("theme/", views.theme, name="theme"),
    path("language/", views.language, name="language"),
]
