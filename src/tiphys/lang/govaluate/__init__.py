"""govaluate: the small language of ``when`` in steps, DAG tasks and CronWorkflows.

    should_execute(when)      ``when`` of a step or task: bare words are strings
    should_schedule(when)     ``when`` of a CronWorkflow: bare words are parameters (of which there are none)
    evaluate(text, params)    any expression
    compile(text)             the program behind them, from a bounded cache

The language is Knetic/govaluate's, with its surprises kept: numbers are float64, ``a-b`` is a subtraction, quoted
dates become Unix seconds, ``1 in (1)`` fails because one element is not a list, and tokens after a complete
expression are ignored. Every failure is a :class:`GovaluateError` with the original's text.
"""

from __future__ import annotations

from tiphys.lang.govaluate.errors import GovaluateError
from tiphys.lang.govaluate.program import Program, compile, evaluate
from tiphys.lang.govaluate.when import should_execute, should_schedule

__all__ = ["GovaluateError", "Program", "compile", "evaluate", "should_execute", "should_schedule"]
