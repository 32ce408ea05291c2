"""The parts of a parsed template. ``str`` of a node is what error messages show between ``<`` and ``>``."""

from __future__ import annotations

from dataclasses import dataclass, field

from tiphys.lang.gofmt import quote


@dataclass(eq=False, slots=True)
class Node:
    position: int


@dataclass(eq=False, slots=True)
class Text(Node):
    text: str


@dataclass(eq=False, slots=True)
class Field(Node):
    """``.a.b`` as ("a", "b")."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return "".join(f".{name}" for name in self.names)


@dataclass(eq=False, slots=True)
class Variable(Node):
    """``$x.a`` as ("$x", "a")."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.names)


@dataclass(eq=False, slots=True)
class Chain(Node):
    """``(pipe).a.b``"""

    node: Node
    names: tuple[str, ...]

    def __str__(self) -> str:
        inner = f"({self.node})" if isinstance(self.node, Pipe) else str(self.node)
        return inner + "".join(f".{name}" for name in self.names)


@dataclass(eq=False, slots=True)
class Identifier(Node):
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(eq=False, slots=True)
class Dot(Node):
    def __str__(self) -> str:
        return "."


@dataclass(eq=False, slots=True)
class Nil(Node):
    def __str__(self) -> str:
        return "nil"


@dataclass(eq=False, slots=True)
class Bool(Node):
    value: bool

    def __str__(self) -> str:
        return "true" if self.value else "false"


@dataclass(eq=False, slots=True)
class String(Node):
    source: str
    value: str

    def __str__(self) -> str:
        return self.source


@dataclass(eq=False, slots=True)
class Number(Node):
    """A constant in every type that it fits; None where it does not."""

    source: str
    integer: int | None = None
    unsigned: int | None = None
    real: float | None = None
    imaginary: complex | None = None

    def __str__(self) -> str:
        return self.source


@dataclass(eq=False, slots=True)
class Command(Node):
    """An operand, or a function or method with its arguments."""

    arguments: list[Node] = field(default_factory=list)

    def __str__(self) -> str:
        return " ".join(f"({one})" if isinstance(one, Pipe) else str(one) for one in self.arguments)


@dataclass(eq=False, slots=True)
class Pipe(Node):
    """``$a, $b := command | command``"""

    line: int
    is_assignment: bool = False
    variables: list[Variable] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)

    def __str__(self) -> str:
        head = ""
        if self.variables:
            head = f"{', '.join(map(str, self.variables))} {'=' if self.is_assignment else ':='} "
        return head + " | ".join(map(str, self.commands))


@dataclass(eq=False, slots=True)
class List(Node):
    nodes: list[Node] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Action(Node):
    pipe: Pipe

    def __str__(self) -> str:
        return f"{{{{{self.pipe}}}}}"


@dataclass(eq=False, slots=True)
class Branch(Node):
    """``if``, ``with`` or ``range``; ``word`` says which."""

    word: str
    pipe: Pipe
    body: List
    otherwise: List | None

    def __str__(self) -> str:
        return f"{{{{{self.word} {self.pipe}}}}}"


@dataclass(eq=False, slots=True)
class Call(Node):
    """``template "name" pipe``; a ``block`` is one too."""

    name: str
    pipe: Pipe | None

    def __str__(self) -> str:
        return f"{{{{template {quote(self.name)}{f' {self.pipe}' if self.pipe else ''}}}}}"


@dataclass(eq=False, slots=True)
class Break(Node):
    def __str__(self) -> str:
        return "{{break}}"


@dataclass(eq=False, slots=True)
class Continue(Node):
    def __str__(self) -> str:
        return "{{continue}}"


@dataclass(eq=False, slots=True)
class End(Node):
    def __str__(self) -> str:
        return "{{end}}"


@dataclass(eq=False, slots=True)
class Else(Node):
    def __str__(self) -> str:
        return "{{else}}"
