from django.urls import path

from orders import api, api_pages

app_name = "api"
urlpatterns = [
    # Both: a POST that is redirected to the other spelling loses its body.
    path("api/v2", api.endpoint, name="endpoint"),
    path("api/v2/", api.endpoint, name="endpoint_slash"),
    path("api/", api_pages.document, name="document"),
    path("api/openapi.json", api_pages.openapi, name="openapi"),
    path("account/callbacks/", api_pages.callbacks, name="callbacks"),
]
