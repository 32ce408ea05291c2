"""Programs for developers of tiphys; none of them is installed."""
