"""Argo's template tags: ``{{inputs.parameters.x}}`` and ``{{=expression}}`` inside JSON text.

    replace(text, scope, allow_unresolved=…)   every tag of a JSON document
    replace_strict(text, scope, prefixes)      only tags that start with a prefix must be resolved
    replace_raw(text, scope, allow_unresolved=…)   any text, without the checks for JSON
    tags(text)                                 the simple tags, as validation sees them
    resolve_var(text, scope)                   one tag to its value, unquoted and unexpanded
    compile(text)                              a Template, from a bounded cache

A tag is text between ``{{`` and the next ``}}``. The document is replaced as text: values are inserted with Go's
escapes for strings, so a document that was JSON stays JSON unless a value holds control characters. What is inserted
is not looked at again; nested tags (``{{a-{{b}}}}``) take one more pass.

A scope maps dotted names to strings. None marks an absent optional: the output of a step that was skipped and has no
default. A simple tag that names one fails for good; expressions may handle it (``?? 'x'``).
"""

from __future__ import annotations

from tiphys.lang.tags.errors import TagError
from tiphys.lang.tags.template import (
    Template,
    compile,
    replace,
    replace_raw,
    replace_strict,
    resolve_var,
    tags,
)

__all__ = ["TagError", "Template", "compile", "replace", "replace_raw", "replace_strict", "resolve_var", "tags"]
