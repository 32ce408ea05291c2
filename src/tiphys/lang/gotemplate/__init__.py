"""Go's text/template.

    compile(text, name, functions) → Template    from a bounded cache
    Template.execute(data, options) → str
    appset.render(text, params, options)         as ApplicationSets do, with sprig
    appset.replace_tags(text, params)            ``{{name}}`` alone

| Concept | File |
|---|---|
| tokens, literals | ``lexer.py``, ``constants.py`` |
| trees | ``parser.py``, ``nodes.py`` |
| running | ``compiler.py``, ``state.py`` (limits, errors), ``values.py`` (fields, methods, types) |
| functions | ``builtins.py``; sprig's are in ``tiphys.lang.sprig`` |

Output, steps and nesting are bounded, so that no template takes more than a moment.
"""

from __future__ import annotations

from tiphys.lang.gotemplate.errors import ExecError, OptionError, ParseError, TemplateError
from tiphys.lang.gotemplate.template import NO_FUNCTIONS, Functions, Template, compile

__all__ = [
    "NO_FUNCTIONS",
    "ExecError",
    "Functions",
    "OptionError",
    "ParseError",
    "Template",
    "TemplateError",
    "compile",
]
