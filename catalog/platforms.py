"""Which platform a service is evidently for, and which hosts its links lead to. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

_WORD = re.compile(r"[a-z0-9]+")
_BARE_HOST = re.compile(r"[\w-]+(\.[\w-]+)+", re.UNICODE)


@dataclass(frozen=True)
class Platform:
    """A platform: its key in addresses, its name, its words in catalogues, the hosts of its links."""

    key: str
    name: str
    words: tuple[str, ...]
    hosts: tuple[str, ...]


PLATFORMS = (
    Platform("instagram", "Instagram", ("instagram",), ("instagram.com", "instagr.am", "ig.me")),
    Platform("tiktok", "TikTok", ("tiktok",), ("tiktok.com",)),
    Platform("youtube", "YouTube", ("youtube",), ("youtube.com", "youtu.be")),
    Platform("facebook", "Facebook", ("facebook",),
             ("facebook.com", "fb.com", "fb.me", "fb.watch", "messenger.com")),
    Platform("x", "X (Twitter)", ("twitter",), ("x.com", "twitter.com", "t.co")),
    Platform("telegram", "Telegram", ("telegram",), ("t.me", "telegram.me", "telegram.org", "telegram.dog")),
    Platform("spotify", "Spotify", ("spotify",), ("spotify.com", "spotify.link", "spoti.fi")),
    Platform("twitch", "Twitch", ("twitch",), ("twitch.tv",)),
    Platform("discord", "Discord", ("discord",), ("discord.com", "discord.gg", "discordapp.com")),
    Platform("linkedin", "LinkedIn", ("linkedin",), ("linkedin.com", "lnkd.in")),
    Platform("pinterest", "Pinterest", ("pinterest",), ("pinterest.com", "pin.it")),
    Platform("reddit", "Reddit", ("reddit",), ("reddit.com", "redd.it")),
    Platform("snapchat", "Snapchat", ("snapchat",), ("snapchat.com",)),
    Platform("soundcloud", "SoundCloud", ("soundcloud",), ("soundcloud.com", "snd.sc")),
    Platform("whatsapp", "WhatsApp", ("whatsapp",), ("whatsapp.com", "wa.me")),
    Platform("vimeo", "Vimeo", ("vimeo",), ("vimeo.com",)),
)  # fmt: skip
BY_KEY = {platform.key: platform for platform in PLATFORMS}
_BY_WORD = {word: platform for platform in PLATFORMS for word in platform.words}
# Names that lead nowhere (RFC 2606), so that the demo and its simulator can use them.
_RESERVED = ("example.com", "example.net", "example.org", "example", "test", "localhost")
# Such a service names a platform as a source, and its link leads to anybody's page.
_ELSEWHERE = {"traffic", "website", "site", "seo", "visitor", "visitors", "backlink", "backlinks"}


# A price list asks it of every category's title.
@lru_cache(maxsize=4096)
def named_in(text: str) -> frozenset[str]:
    """The keys of the platforms that the text names."""
    words = _WORD.findall(text.casefold())
    return frozenset(_BY_WORD[word].key for word in words if word in _BY_WORD)


def evident_platform(name: str, category: str) -> Platform | None:
    """The one platform that the service, or else its category, names; None when that is in doubt."""
    if _ELSEWHERE & set(_WORD.findall(f"{name} {category}".casefold())):
        return None
    for text in (name, category):
        if found := named_in(text):
            return BY_KEY[next(iter(found))] if len(found) == 1 else None
    return None


@lru_cache(maxsize=2048)
def host_of(link: str) -> str:
    """The host that a link leads to, without "www."; empty for a user name."""
    text = link.strip()
    if "://" not in text:
        bare = text.partition("/")[0].partition(":")[0]
        text = f"https://{text}" if _BARE_HOST.fullmatch(bare) else ""
    try:
        host = (urlsplit(text).hostname or "").rstrip(".")
    except ValueError:
        return ""
    return host.removeprefix("www.")


def belongs(host: str, hosts: Sequence[str]) -> bool:
    """Whether it is one of the hosts, or below one."""
    return any(host == each or host.endswith(f".{each}") for each in hosts)


def wrong_host(platform: Platform, link: str) -> str:
    """The host of a link that evidently leads elsewhere; empty when it may be right.

    "name.surname" may be a user name, so without a path or a scheme nothing is evident.
    """
    host = host_of(link) if "/" in link else ""
    if not host or belongs(host, platform.hosts) or belongs(host, _RESERVED):
        return ""
    # pinterest.de, pinterest.co.uk: a platform's own name before a country's ending.
    is_abroad = re.search(rf"(^|\.){platform.key}\.([a-z]{{2}}|com?\.[a-z]{{2}})$", host)
    return "" if is_abroad else host
