from django.conf import settings
from django.http import HttpRequest

THEMES = ("light", "dark")


def site(request: HttpRequest) -> dict[str, str | bool]:
    """The site's name and what it offers visitors, and the theme the visitor chose (empty: as the system)."""
    theme = request.COOKIES.get("theme", "")
    return {
        "site_name": settings.SITE_NAME,
        "theme": theme if theme in THEMES else "",
        "public_catalog": settings.PUBLIC_CATALOG,
        "has_terms": bool(settings.TERMS_PATH),
    }
