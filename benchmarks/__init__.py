"""Measurements, each as a ratio to a floor of the same run where there is one.

    make bench                 everything: a table, and benchmarks/latest.json
    make bench ONLY=lang       only rows (or files) whose name contains the word; latest.json keeps the others

Every ``benchmarks/*.py`` but those named with an underscore has ``rows() -> Iterable[Row]`` (``_rows.py``).
"""
