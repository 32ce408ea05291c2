"""expr-lang: the language of ``{{=…}}``, ``depends``, retry and stop conditions, and lifecycle hooks.

    compile(source) → Program        parsed, from a bounded cache
    Program.run(env) → value         checked against the types in env, then run
    eval_bool(source, env) → bool    for conditions
    environment(scope) → env         a scope of dotted names as Argo presents it: nested, with asInt, jsonpath, sprig …

The reference is expr-lang v1.17.8 as Argo pins it. Values are plain Python ones with Go's types kept apart (int is not
float64); what Python has no type for is in :mod:`tiphys.lang.expr.values`. Every failure is an :class:`ExprError` that
shows the place and says whether the original fails when compiling or when running.

    lexer → parser → checker → folding → compiler → closures over a Frame
"""

from __future__ import annotations

from tiphys.lang.expr.environment import environment, expand
from tiphys.lang.expr.errors import ExprError
from tiphys.lang.expr.program import Program, compile, eval_bool, evaluate

__all__ = ["ExprError", "Program", "compile", "environment", "eval_bool", "evaluate", "expand"]
