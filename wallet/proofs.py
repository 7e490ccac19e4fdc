"""Proof images: what is accepted as one, by its content and never by its name."""

import uuid
from typing import BinaryIO

MOST_BYTES = 5 * 1024 * 1024
TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}


def image_type(head: bytes) -> str:
    """The kind of image that begins with these bytes, a key of TYPES; "" for anything else."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return ""


def type_of(upload: BinaryIO) -> str:
    """`image_type` of an uploaded file, which is left at its begin."""
    upload.seek(0)
    head = upload.read(16)
    upload.seek(0)
    return image_type(head)


def stored_name(kind: str) -> str:
    """A name that says nothing about the customer and can't be guessed."""
    return f"{uuid.uuid4().hex}.{kind}"
