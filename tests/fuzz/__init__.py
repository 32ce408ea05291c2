"""Fuzzing of everything that reads what users write; ``make fuzz`` (see ``__main__.py``)."""
