from django.urls import path

from accounts import views

app_name = "accounts"
urlpatterns = [
    path("account/", views.account_settings, name="settings"),
    path("account/mails/", views.mails, name="mails"),
    path("account/sessions/", views.sessions, name="sessions"),
    path("terms/", views.terms, name="terms"),
    path("account/keys/", views.keys, name="keys"),
    path("theme/", views.theme, name="theme"),
    path("language/", views.language, name="language"),
]
