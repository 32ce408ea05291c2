"""What can go wrong with a template; the messages are text/template's.

TemplateError
├── ParseError     the text is no template
├── ExecError      it cannot be executed with this data
└── OptionError    an option that there is not
"""

from __future__ import annotations


class TemplateError(ValueError):
    """Any of these."""


class ParseError(TemplateError):
    """``template: name:line: what``"""


class ExecError(TemplateError):
    """``template: name:line:column: executing "name" at <node>: what``"""


class OptionError(TemplateError):
    """``unrecognized option: missingkey=bogus``"""
