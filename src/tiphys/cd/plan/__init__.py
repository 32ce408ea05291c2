"""Every decision of CD as pure functions: no I/O, no clock, no chance."""
