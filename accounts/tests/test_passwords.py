"""Common passwords are refused, by a list that isn't kept in memory."""

import tracemalloc
from collections.abc import Callable

import pytest
from django.contrib.auth.password_validation import (
    CommonPasswordValidator,
    get_default_password_validators,
    password_validators_help_texts,
    validate_password,
)
from django.core.exceptions import ValidationError

from accounts.passwords import UncommonPassword


@pytest.mark.parametrize("password", ["iloveyou", "ILoveYou", " iloveyou ", "trustno1"])
def test_a_common_password_is_refused_however_it_is_written(password: str) -> None:
    with pytest.raises(ValidationError) as refused:
        UncommonPassword().validate(password)

    assert refused.value.code == "password_too_common"


def test_the_first_and_the_last_of_the_list_are_refused_and_another_one_is_not() -> None:
    listed = list(UncommonPassword().passwords)

    assert set(listed) == CommonPasswordValidator().passwords
    for password in (listed[0], listed[-1]):
        with pytest.raises(ValidationError):
            UncommonPassword().validate(password)
    UncommonPassword().validate("nobody-else-has-this-one")


def test_it_is_one_of_those_that_every_form_asks() -> None:
    assert UncommonPassword in [type(each) for each in get_default_password_validators()]
    assert len(password_validators_help_texts()) == 4
    with pytest.raises(ValidationError, match="too common"):
        validate_password("basketball")


def test_the_list_is_not_kept() -> None:
    def ours() -> object:
        validator = UncommonPassword()
        validator.validate("nobody-else-has-this-one")
        return validator

    assert held_by(ours) < 100_000
    assert held_by(CommonPasswordValidator) > 1_000_000


def held_by(make: Callable[[], object]) -> int:
    """Bytes that are still held, with what was made, after it was made."""
    make()
    tracemalloc.start()
    try:
        made = make()
        held, _ = tracemalloc.get_traced_memory()
        assert made is not None
        return held
    finally:
        tracemalloc.stop()
