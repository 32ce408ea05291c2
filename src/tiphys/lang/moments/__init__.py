"""Go's time values: moments, spans, zones, and the layouts ("2006-01-02") that print and read them.

Python's datetime knows neither nanoseconds nor the year 0 that a layout without a date gives, so moments are kept as
seconds since 1970 with nanoseconds beside them, as Go does. There is no clock here: whoever needs the present time
passes it in. Zone rules come from the operating system or the tzdata package through zoneinfo.
"""

from __future__ import annotations

from tiphys.lang.moments.layouts import format_time
from tiphys.lang.moments.reading import TimeError, parse, recognise
from tiphys.lang.moments.values import LOCAL, UTC, Duration, Location, Month, Time, Weekday, date, load_location

__all__ = [
    "LOCAL",
    "UTC",
    "Duration",
    "Location",
    "Month",
    "Time",
    "TimeError",
    "Weekday",
    "date",
    "format_time",
    "load_location",
    "parse",
    "recognise",
]
