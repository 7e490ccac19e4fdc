"""What a provider's error texts mean: a table of phrases, not a chain of ifs.

The phrases were seen at real panels; about 1.1 million real orders say which matter. One panel
sends the sentence and the key form of the same error ("Not enough funds on balance",
"neworder.error.not_enough_funds"), so both are normalised to the same words first.
"""

import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

from upstream.errors import Kind

NO_RULES: Mapping[str, Kind] = MappingProxyType({})


def normalise(text: str) -> str:
    """Fold case, accents, punctuation and numbers, so that one rule meets every spelling.

    >>> normalise("neworder.error.MIN_quantity: 50")
    'neworder error min quantity 0'
    """
    folded = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(char for char in folded if not unicodedata.combining(char))
    # Two letters that have no decomposition, and are typed without their mark just as often.
    letters = letters.replace("ı", "i").replace("đ", "d")
    return " ".join(re.sub(r"[\W_]+", " ", re.sub(r"\d+", "0", letters)).split())


# Read from the top; a phrase matches at the beginning of a word and may be the word's beginning.
_TABLE: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    # Written by something that broke half-way: the order may have been stored before it did.
    (
        Kind.UNRECOGNISED,
        (
            "internal",
            "server error",
            "database",
            "sql",
            "exception",
            "fatal",
            "timeout",
            "timed out",
            "time out",
            "error processing",
            "something went wrong",
            "unexpected",
            "unknown error",
            "could not be created",
            "failed to place",
            "failed to create",
            "ошибка при добавлении",
            "неизвестная ошибка",
            "внутренняя ошибка",
            "lỗi hệ thống",
            "lỗi không xác định",
            "sistem hatası",
            "bilinmeyen hata",
            "bir hata oluştu",
        ),
    ),
    (
        Kind.ACCOUNT,
        (
            "api key",
            "apikey",
            "api ключ",
            "ключ api",
            "api anahtar",
            "khóa api",
            "invalid key",
            "incorrect key",
            "wrong key",
            "auth error",
            "unauthorized",
            "unauthenticated",
            "api access",
            "api is disable for this user",
            "доступ к api запрещен",
            "account suspended",
            "account is suspended",
            "account is not active",
            "account banned",
            "account is banned",
            "account blocked",
            "account disabled",
            "account is disabled",
            "аккаунт заблокирован",
            "hesabınız askıya",
            "tài khoản bị khóa",
            "ip not allowed",
            "ip is not allowed",
            "ip address not allowed",
            "access denied",
        ),
    ),
    (
        Kind.FUNDS,
        (
            "not enough funds",
            "not enough balance",
            "not enough money",
            "not enough credit",
            "insufficient balance",
            "insufficient funds",
            "insufficient credit",
            "insufficient money",
            "no money",
            "low balance",
            "balance is low",
            "balance is not enough",
            "недостаточно средств",
            "недостаточно денег",
            "недостаточный баланс",
            "недостатньо коштів",
            "số dư không đủ",
            "số dư của bạn không đủ",
            "không đủ số dư",
            "không đủ tiền",
            "yetersiz bakiye",
            "bakiye yetersiz",
            "bakiyeniz yetersiz",
            "bakiyeniz yeterli değil",
            "saldo insuficiente",
            "fondos insuficientes",
            "saldo tidak",
            "solde insuffisant",
        ),
    ),
    (
        Kind.DUPLICATE_LINK,
        (
            "active order with this link",
            "already have an active order",
            "link duplicate",
            "duplicate link",
            "already running",
            "duplicate order",
            "identical order",
            "активный заказ",
            "заказ с этой ссылкой",
            "заказ на эту ссылку",
            "уже выполняется",
            "bu bağlantıya ait",
            "bu bağlantı ile aktif",
            "bu link ile aktif",
            "aktif sipariş",
            "đang có đơn hàng",
            "đơn hàng đang chạy",
            "đơn đang chạy",
        ),
    ),
    (
        Kind.RATE_LIMIT,
        (
            "too many orders",
            "too many requests",
            "rate limit",
            "request limit",
            "requests per minute",
            "throttle",
            "лимит заданий превышен",
            "слишком много запросов",
            "превышен лимит запросов",
            "çok fazla istek",
            "quá nhiều yêu cầu",
        ),
    ),
    (
        Kind.SERVICE,
        (
            "incorrect service",
            "invalid service",
            "neworder error service",
            "service not found",
            "service is not found",
            "service id does not exist",
            "service does not exist",
            "disabled service id",
            "service unknown",
            "unknown service",
            "service inactive",
            "service is inactive",
            "неверный id услуги",
            "неверный id сервиса",
            "неверный сервис",
            "неверная услуга",
            "услуга не найдена",
            "сервис не найден",
            "dịch vụ không tồn tại",
            "dịch vụ không hợp lệ",
            "không tìm thấy dịch vụ",
            "geçersiz servis",
            "hatalı servis",
            "servis bulunamadı",
        ),
    ),
    (
        Kind.QUANTITY,
        (
            "quantity less",
            "quantity more",
            "min quantity",
            "max quantity",
            "minimum quantity",
            "maximum quantity",
            "invalid quantity",
            "incorrect quantity",
            "not enough quantity",
            "neworder error increment",
            "quantity must",
            "quantity should",
            "quantity is required",
            "limit min",
            "limit max",
            "неверное количество",
            "некорректное количество",
            "минимальное количество",
            "максимальное количество",
            "количество меньше",
            "количество больше",
            "số lượng tối thiểu",
            "số lượng tối đa",
            "số lượng không hợp lệ",
            "geçersiz miktar",
            "hatalı miktar",
            "minimum miktar",
            "maksimum miktar",
        ),
    ),
    (
        Kind.LINK,
        (
            "bad link",
            "invalid link",
            "incorrect link",
            "wrong link",
            "link incorrect",
            "link invalid",
            "link is invalid",
            "link not found",
            "link is required",
            "neworder error link",
            "is not full link",
            "is not link to the post",
            "link is not to the post",
            "invalid url",
            "incorrect url",
            "post not found",
            "account is private",
            "profile is private",
            "invalid character",
            "ссылка неправильная",
            "неправильная ссылка",
            "неверная ссылка",
            "некорректная ссылка",
            "пост не найден",
            "пост удален",
            "такого плейлиста не существует",
            "данный пост опубликован не от имени",
            "группа или страница находится в черном списке",
            "liên kết không hợp lệ",
            "link không hợp lệ",
            "đường dẫn không hợp lệ",
            "geçersiz bağlantı",
            "geçersiz link",
            "hatalı bağlantı",
            "hatalı link",
            "bağlantı geçersiz",
        ),
    ),
    (
        Kind.REQUEST,
        (
            "field is required",
            "parameter is required",
            "incorrect request",
            "invalid action",
            "incorrect action",
            "action is invalid",
            "incorrect username",
            "incorrect posts",
            "incorrect min",
            "incorrect max",
            "incorrect delay",
            "incorrect expiry",
            "incorrect comments",
            "incorrect runs",
            "incorrect interval",
            "invalid interval",
            "interval time is required",
            "runs is required",
            "neworder error comment",
            "min cannot be higher",
            "incorrect order id",
            "invalid order id",
            "incorrect order",
            "order not found",
            "maximum 0 orders",
            "incorrect refill",
            "refill not found",
            "refill request not found",
            "error refill",
            "refill is not available",
            "not eligible",
            "already completed",
            "already started",
            "cannot be cancel",
            "not supported",
            "does not support",
            "services does not support",
            "hours ago",
            "неверный id заказа",
            "заказ не найден",
            "неверный запрос",
            "sipariş bulunamadı",
            "hatalı sipariş",
            "không tìm thấy đơn",
        ),
    ),
    # Beside a cause the words above name, "try again" is politeness; alone it says nothing.
    (Kind.UNRECOGNISED, ("try again", "попробуйте еще", "thử lại", "tekrar deneyin")),
    (
        Kind.UNAVAILABLE,
        (
            "temporarily",
            "ordering is disabled",
            "api is disabled",
            "requests are currently disabled",
            "currently unavailable",
            "maintenance",
            "технические работы",
            "тех работы",
            "временно недоступ",
            "в данный момент недоступ",
            "bảo trì",
            "bakım",
            "mantenimiento",
            "manutenção",
        ),
    ),
)


def _pattern(phrases: tuple[str, ...]) -> re.Pattern[str]:
    words = "|".join(re.escape(normalise(phrase)) for phrase in phrases)
    return re.compile(rf"(?<!\S)(?:{words})")


_PATTERNS = tuple((kind, _pattern(phrases)) for kind, phrases in _TABLE)


def kind_of(text: str, rules: Mapping[str, Kind] = NO_RULES) -> Kind:
    """Say what an error text means; UNRECOGNISED when it is vague or new to us.

    `rules` are a provider's own whole texts, keyed as `normalise` returns them, and win over
    the table. The client raises Rejected(UNRECOGNISED) too: whoever called `add` must treat
    that one kind as an unknown outcome, since such texts were seen after the order was stored.
    """
    words = normalise(text)
    if words in rules:
        return rules[words]
    for kind, pattern in _PATTERNS:
        if pattern.search(words):
            return kind
    return Kind.UNRECOGNISED
