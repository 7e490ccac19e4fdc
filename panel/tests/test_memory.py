import gc

from panel.memory import settle


def test_what_is_loaded_is_left_to_itself() -> None:
    gc.unfreeze()
    try:
        settle()

        assert gc.get_freeze_count() > 10_000
        assert not gc.garbage
    finally:
        gc.unfreeze()
