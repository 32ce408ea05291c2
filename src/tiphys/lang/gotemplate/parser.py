"""Tokens to trees, as Go's text/template/parse.

    list     = { literal | action | control }
    control  = if pipe list { else if pipe list } [ else list ] end          with: likewise
             | range [ $i [ , $e ] := ] pipe list [ else list ] end
             | define "name" list end | template "name" [ pipe ] | block "name" pipe list end
             | break | continue
    pipe     = [ $x ( ":=" | "=" ) ] command { "|" command }
    command  = operand { blank operand }
    operand  = term { .field }
    term     = literal | nil | . | .field | $variable | function | "(" pipe ")"

Go's parser looks ahead one to three tokens, and the line in a message is that of the token read last; both are kept.
Nesting is bounded by `DEPTH_MAX`.
"""

from __future__ import annotations

from collections.abc import Container

from tiphys.lang.gofmt import quote
from tiphys.lang.gotemplate import constants, nodes
from tiphys.lang.gotemplate.errors import ParseError
from tiphys.lang.gotemplate.lexer import Kind, Lexer, Token

DEPTH_MAX = 100
"""Nesting of parentheses, and of controls; Go's limits are far higher, and stacks here are not."""
TEXT_MAX = 1_000_000
"""Characters of a template."""

Trees = dict[str, nodes.List]

_OPERANDS = frozenset(
    (
        Kind.BOOL, Kind.CHARACTER, Kind.COMPLEX, Kind.DOT, Kind.FIELD, Kind.IDENTIFIER, Kind.NUMBER, Kind.NIL,
        Kind.RAW_STRING, Kind.STRING, Kind.VARIABLE, Kind.LEFT_PAREN,
    )
)  # fmt: skip
_NOT_EXECUTABLE = (nodes.Bool, nodes.Dot, nodes.Nil, nodes.Number, nodes.String)


def parse(name: str, text: str, functions: Container[str]) -> Trees:
    """The trees of a template and of those that it defines, by name. Raises `ParseError`."""
    if len(text) > TEXT_MAX:
        raise ParseError(f"template: {name}: the text is longer than {TEXT_MAX} characters")
    trees: Trees = {}
    parser = _Parser(name, _Tokens(Lexer(text)), functions, trees)
    parser.parse_all()
    return trees


class _Tokens:
    """The lexer with what was put back; shared by a template and those defined inside it."""

    def __init__(self, lexer: Lexer) -> None:
        self._lexer = lexer
        self._back: list[Token] = []
        self._last = Token(Kind.EOF, 0, "", 1)

    @property
    def line(self) -> int:
        """The line of the token that was read from the text last."""
        return self._last.line

    def next(self) -> Token:
        if self._back:
            return self._back.pop()
        self._last = self._lexer.next()
        return self._last

    def back(self, *tokens: Token) -> None:
        """Puts tokens back; the first is the next to come."""
        self._back.extend(reversed(tokens))

    def peek(self) -> Token:
        token = self.next()
        self.back(token)
        return token

    def next_non_space(self) -> Token:
        token = self.next()
        while token.kind is Kind.SPACE:
            token = self.next()
        return token

    def peek_non_space(self) -> Token:
        token = self.next_non_space()
        self.back(token)
        return token


class _Parser:
    """One template; those defined inside have parsers of their own on the same tokens."""

    def __init__(
        self, name: str, tokens: _Tokens, functions: Container[str], trees: Trees, *, file: str = "", depth: int = 0
    ) -> None:
        self.name = name
        self.file = file or name
        self.tokens = tokens
        self.functions = functions
        self.trees = trees
        self.variables = ["$"]
        self.ranges = 0
        self.depth = depth
        self.parens = 0
        self.action_line = 0

    def fail(self, message: str) -> ParseError:
        return ParseError(f"template: {self.file}:{self.tokens.line}: {message}")

    def unexpected(self, token: Token, context: str) -> ParseError:
        if token.kind is not Kind.ERROR:
            return self.fail(f"unexpected {token} in {context}")
        extra = ""
        if self.action_line and self.action_line != token.line:
            extra = f" in action started at {self.file}:{self.action_line}"
            if token.text.endswith(" action"):
                extra = extra.removeprefix(" in action")
        return self.fail(f"{token}{extra}")

    def expect(self, kind: Kind, context: str) -> Token:
        token = self.tokens.next_non_space()
        if token.kind is not kind:
            raise self.unexpected(token, context)
        return token

    def parse_all(self) -> None:
        root = nodes.List(self.tokens.peek().position)
        while self.tokens.peek().kind is not Kind.EOF:
            if self.tokens.peek().kind is Kind.LEFT:
                left = self.tokens.next()
                word = self.tokens.next_non_space()
                if word.kind is Kind.DEFINE:
                    self._definition()
                    continue
                self.tokens.back(left, word)
            node = self.text_or_action()
            if isinstance(node, nodes.End | nodes.Else):
                raise self.fail(f"unexpected {node}")
            root.nodes.append(node)
        self._add(self.name, root)

    def _inner(self, name: str) -> _Parser:
        if self.depth >= DEPTH_MAX:
            raise self.fail(f"nested deeper than {DEPTH_MAX}")
        return _Parser(name, self.tokens, self.functions, self.trees, file=self.file, depth=self.depth + 1)

    def _definition(self) -> None:
        context = "define clause"
        token = self.tokens.next_non_space()
        name = self._template_name(token, context)
        self.expect(Kind.RIGHT, context)
        self._inner(name).body_of_definition(context)

    def body_of_definition(self, context: str) -> None:
        body, end = self.item_list()
        if not isinstance(end, nodes.End):
            raise self.fail(f"unexpected {end} in {context}")
        self._add(self.name, body)

    def _add(self, name: str, root: nodes.List) -> None:
        """A later definition replaces an empty one; two that are not empty are an error."""
        present = self.trees.get(name)
        if present is None or _is_empty(present):
            self.trees[name] = root
        elif not _is_empty(root):
            raise self.fail(f"template: multiple definition of template {quote(name)}")

    def item_list(self) -> tuple[nodes.List, nodes.Node]:
        """Nodes up to ``end`` or ``else``, and that one."""
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise self.fail(f"nested deeper than {DEPTH_MAX}")
        found = nodes.List(self.tokens.peek_non_space().position)
        while self.tokens.peek_non_space().kind is not Kind.EOF:
            node = self.text_or_action()
            if isinstance(node, nodes.End | nodes.Else):
                self.depth -= 1
                return found, node
            found.nodes.append(node)
        raise self.fail("unexpected EOF")

    def text_or_action(self) -> nodes.Node:
        token = self.tokens.next_non_space()
        if token.kind is Kind.TEXT:
            return nodes.Text(token.position, token.text)
        if token.kind is Kind.LEFT:
            self.action_line = token.line
            node = self.action()
            self.action_line = 0
            return node
        raise self.unexpected(token, "input")

    def action(self) -> nodes.Node:
        token = self.tokens.next_non_space()
        match token.kind:
            case Kind.BLOCK:
                return self._block()
            case Kind.BREAK | Kind.CONTINUE:
                return self._jump(token)
            case Kind.ELSE:
                return self._else()
            case Kind.END:
                return nodes.End(self.expect(Kind.RIGHT, "end").position)
            case Kind.IF | Kind.RANGE | Kind.WITH:
                return self._control(token.text)
            case Kind.TEMPLATE:
                return self._call()
        self.tokens.back(token)
        return nodes.Action(token.position, self.pipeline("command", Kind.RIGHT))

    def _jump(self, token: Token) -> nodes.Node:
        following = self.tokens.next_non_space()
        if following.kind is not Kind.RIGHT:
            raise self.unexpected(following, f"{{{{{token.text}}}}}")
        if not self.ranges:
            raise self.fail(f"{{{{{token.text}}}}} outside {{{{range}}}}")
        return nodes.Break(token.position) if token.kind is Kind.BREAK else nodes.Continue(token.position)

    def _else(self) -> nodes.Node:
        token = self.tokens.peek_non_space()
        if token.kind in (Kind.IF, Kind.WITH):
            return nodes.Else(token.position)
        return nodes.Else(self.expect(Kind.RIGHT, "else").position)

    def _control(self, word: str) -> nodes.Branch:
        variables = len(self.variables)
        pipe = self.pipeline(word, Kind.RIGHT)
        self.ranges += word == "range"
        body, end = self.item_list()
        self.ranges -= word == "range"
        otherwise = None
        if isinstance(end, nodes.Else):
            otherwise = self._otherwise(word, end)
        del self.variables[variables:]
        return nodes.Branch(pipe.position, word, pipe, body, otherwise)

    def _otherwise(self, word: str, start: nodes.Else) -> nodes.List:
        following = self.tokens.peek()
        if word in ("if", "with") and following.kind is Kind[word.upper()]:
            self.tokens.next()
            self.depth += 1
            if self.depth > DEPTH_MAX:
                raise self.fail(f"nested deeper than {DEPTH_MAX}")
            found = nodes.List(start.position, [self._control(word)])
            self.depth -= 1
            return found
        found, end = self.item_list()
        if not isinstance(end, nodes.End):
            raise self.fail(f"expected end; found {end}")
        return found

    def _block(self) -> nodes.Call:
        context = "block clause"
        token = self.tokens.next_non_space()
        name = self._template_name(token, context)
        pipe = self.pipeline(context, Kind.RIGHT)
        self._inner(name).body_of_definition(context)
        return nodes.Call(token.position, name, pipe)

    def _call(self) -> nodes.Call:
        context = "template clause"
        token = self.tokens.next_non_space()
        name = self._template_name(token, context)
        following = self.tokens.next_non_space()
        if following.kind is Kind.RIGHT:
            return nodes.Call(token.position, name, None)
        self.tokens.back(following)
        return nodes.Call(token.position, name, self.pipeline(context, Kind.RIGHT))

    def _template_name(self, token: Token, context: str) -> str:
        if token.kind not in (Kind.STRING, Kind.RAW_STRING):
            raise self.unexpected(token, context)
        return self._unquoted(token.text)

    def _unquoted(self, source: str) -> str:
        try:
            return constants.unquote(source)
        except ValueError as err:
            raise self.fail(str(err)) from None

    def pipeline(self, context: str, end: Kind) -> nodes.Pipe:
        token = self.tokens.peek_non_space()
        pipe = nodes.Pipe(token.position, token.line)
        self._declarations(pipe, context)
        while True:
            token = self.tokens.next_non_space()
            if token.kind is end:
                self._check(pipe, context)
                return pipe
            if token.kind not in _OPERANDS:
                raise self.unexpected(token, context)
            self.tokens.back(token)
            pipe.commands.append(self.command())

    def _declarations(self, pipe: nodes.Pipe, context: str) -> None:
        while self.tokens.peek_non_space().kind is Kind.VARIABLE:
            variable = self.tokens.next()
            after = self.tokens.peek()
            following = self.tokens.next_non_space()
            if following.kind in (Kind.ASSIGN, Kind.DECLARE):
                pipe.is_assignment = following.kind is Kind.ASSIGN
                self._declare(pipe, variable)
                return
            if following.kind is not Kind.OTHER or following.text != ",":
                self.tokens.back(variable, *([after] if after.kind is Kind.SPACE else []), following)
                return
            self._declare(pipe, variable)
            if context != "range" or len(pipe.variables) > 1:
                raise self.fail(f"too many declarations in {context}")
            if self.tokens.peek_non_space().kind not in (Kind.VARIABLE, Kind.RIGHT, Kind.RIGHT_PAREN):
                raise self.fail("range can only initialize variables")

    def _declare(self, pipe: nodes.Pipe, variable: Token) -> None:
        pipe.variables.append(nodes.Variable(variable.position, tuple(variable.text.split("."))))
        self.variables.append(variable.text)

    def _check(self, pipe: nodes.Pipe, context: str) -> None:
        if not pipe.commands:
            raise self.fail(f"missing value for {context}")
        for stage, command in enumerate(pipe.commands[1:], start=2):
            if isinstance(command.arguments[0], _NOT_EXECUTABLE):
                raise self.fail(f"non executable command in pipeline stage {stage}")

    def command(self) -> nodes.Command:
        command = nodes.Command(self.tokens.peek_non_space().position)
        while True:
            self.tokens.peek_non_space()
            operand = self.operand()
            if operand is not None:
                command.arguments.append(operand)
            token = self.tokens.next()
            if token.kind is Kind.SPACE:
                continue
            if token.kind in (Kind.RIGHT, Kind.RIGHT_PAREN):
                self.tokens.back(token)
            elif token.kind is not Kind.PIPE:
                raise self.unexpected(token, "operand")
            break
        if not command.arguments:
            raise self.fail("empty command")
        return command

    def operand(self) -> nodes.Node | None:
        node = self.term()
        if node is None or self.tokens.peek().kind is not Kind.FIELD:
            return node
        position = self.tokens.peek().position
        names: list[str] = []
        while self.tokens.peek().kind is Kind.FIELD:
            names.append(self.tokens.next().text[1:])
        if isinstance(node, nodes.Field):
            return nodes.Field(position, (*node.names, *names))
        if isinstance(node, nodes.Variable):
            return nodes.Variable(position, (*node.names, *names))
        if isinstance(node, _NOT_EXECUTABLE):
            raise self.fail(f"unexpected . after term {quote(str(node))}")
        return nodes.Chain(position, node, tuple(names))

    def term(self) -> nodes.Node | None:
        token = self.tokens.next_non_space()
        match token.kind:
            case Kind.IDENTIFIER:
                if token.text not in self.functions:
                    raise self.fail(f"function {quote(token.text)} not defined")
                return nodes.Identifier(token.position, token.text)
            case Kind.DOT:
                return nodes.Dot(token.position)
            case Kind.NIL:
                return nodes.Nil(token.position)
            case Kind.VARIABLE:
                if token.text not in self.variables:
                    raise self.fail(f"undefined variable {quote(token.text)}")
                return nodes.Variable(token.position, (token.text,))
            case Kind.FIELD:
                return nodes.Field(token.position, (token.text[1:],))
            case Kind.BOOL:
                return nodes.Bool(token.position, token.text == "true")
            case Kind.CHARACTER | Kind.COMPLEX | Kind.NUMBER:
                return self._number(token)
            case Kind.LEFT_PAREN:
                return self._parenthesised()
            case Kind.STRING | Kind.RAW_STRING:
                return nodes.String(token.position, token.text, self._unquoted(token.text))
        self.tokens.back(token)
        return None

    def _number(self, token: Token) -> nodes.Number:
        read = {Kind.CHARACTER: constants.character, Kind.COMPLEX: constants.complex_number}
        try:
            return read.get(token.kind, constants.number)(token.position, token.text)
        except ValueError as err:
            raise self.fail(str(err)) from None

    def _parenthesised(self) -> nodes.Pipe:
        if self.parens >= DEPTH_MAX:
            raise self.fail("max expression depth exceeded")
        self.parens += 1
        pipe = self.pipeline("parenthesized pipeline", Kind.RIGHT_PAREN)
        self.parens -= 1
        return pipe


def _is_empty(tree: nodes.List) -> bool:
    return all(isinstance(node, nodes.Text) and not node.text.strip() for node in tree.nodes)
