"""Draws a real run as an SVG: runs a command in a pseudo-terminal, records what it shows, writes the moving picture.

    python -m tools.picture docs/images/run.svg tiphys run examples/demo.yaml

The picture shows the screen as it was at a number of moments, in real time, and stands still at the end; where an image
cannot move, the end is what is seen. Nothing in it is made up: run the command again to get it again.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

from tools.terminal import Cell, Terminal

WIDTH, HEIGHT = 120, 40
FRAMES_MAX = 40
HOLD_SECONDS = 4.0  # how long the end is shown before it starts again

FONT_SIZE, CHARACTER, LINE, MARGIN, BAR = 13, 7.83, 17, 14, 28
BACKGROUND, FOREGROUND, DIM = "#16181d", "#d7dae0", "#5c6370"
COLOURS = {31: "#e06c75", 32: "#98c379", 33: "#e5c07b", 34: "#61afef", 35: "#c678dd", 36: "#56b6c2", 37: "#ffffff"}


@dataclass(frozen=True)
class Frame:
    at_seconds: float
    rows: list[list[Cell]]


def main(arguments: list[str]) -> int:
    if len(arguments) < 2:
        print(__doc__)
        return 2
    target, command = Path(arguments[0]), arguments[1:]
    frames = thin(record(command))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(svg(frames, "$ " + " ".join(command)), encoding="utf-8")
    print(f"{target}: {len(frames)} frames, {frames[-1].at_seconds:.1f} s, {target.stat().st_size // 1024} KB")
    return 0


def record(command: list[str]) -> list[Frame]:
    """Runs ``command`` on a terminal of WIDTH × HEIGHT and returns the screen after every output."""
    reading, writing = pty.openpty()
    _set_size(writing)
    terminal = Terminal()
    frames: list[Frame] = []
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(WIDTH), "LINES": str(HEIGHT)}
    environment.pop("NO_COLOR", None)
    began = time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, env=environment
    ) as process:
        os.close(writing)
        rest = b""
        while True:
            select.select([reading], [], [])
            try:
                data = os.read(reading, 65536)
            except OSError:  # Linux: EIO when the last writer closed its end
                break
            if not data:
                break
            text, rest = _decode(rest + data)
            terminal.write(text)
            frames.append(Frame(time.monotonic() - began, terminal.snapshot()))
        os.close(reading)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n" + "\n".join(terminal.lines()))
    return frames


def _set_size(fd: int) -> None:
    import fcntl
    import struct
    import termios

    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))


def _decode(data: bytes) -> tuple[str, bytes]:
    """As much text as there is, and the bytes of a character that is not complete."""
    for cut in range(4):
        try:
            return data[: len(data) - cut].decode(), data[len(data) - cut :]
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", "replace"), b""


def thin(frames: list[Frame]) -> list[Frame]:
    """At most FRAMES_MAX of them, evenly in time; the last one stays."""
    step = frames[-1].at_seconds / FRAMES_MAX
    kept: list[Frame] = []
    for frame in frames[:-1]:
        if not kept or frame.at_seconds - kept[-1].at_seconds >= step:
            kept.append(frame)
    return [*kept, frames[-1]]


def svg(frames: list[Frame], title: str) -> str:
    rows = max(len(frame.rows) for frame in frames)
    width, height = WIDTH * CHARACTER + 2 * MARGIN, rows * LINE + 2 * MARGIN + BAR
    total = frames[-1].at_seconds + HOLD_SECONDS
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace" font-size="{FONT_SIZE}">',
        f"<title>{escape(title)}</title>",
        "<style>"
        + "".join(_times(index, frames, total) for index in range(len(frames)))
        + "text{white-space:pre}</style>",
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
        *(f'<circle cx="{18 + 16 * i}" cy="16" r="5" fill="{DIM}"/>' for i in range(3)),
        f'<text x="{width / 2:.0f}" y="20" fill="{DIM}" text-anchor="middle">{escape(title)}</text>',
    ]
    for index, frame in enumerate(frames):
        out.append(f'<g class="f{index}">')
        out += [_line(row, number) for number, row in enumerate(frame.rows) if row]
        out.append("</g>")
    return "\n".join([*out, "</svg>"]) + "\n"


def _times(index: int, frames: list[Frame], total: float) -> str:
    """CSS that shows one frame from its moment to the next one's; the last one is seen where nothing moves."""
    begin = 100 * frames[index].at_seconds / total if index else 0.0
    end = 100 * frames[index + 1].at_seconds / total if index + 1 < len(frames) else 100.0
    still = "" if index + 1 == len(frames) else "visibility:hidden;"
    before = "0%{visibility:hidden}" if index else ""
    after = f"{end:.2f}%,100%{{visibility:hidden}}" if index + 1 < len(frames) else "100%{visibility:visible}"
    return (
        f".f{index}{{{still}animation:k{index} {total:.1f}s steps(1,end) infinite}}"
        f"@keyframes k{index}{{{before}{begin:.2f}%{{visibility:visible}}{after}}}"
    )


def _line(row: list[Cell], number: int) -> str:
    """One text element; spans of one style, blanks at the end left out."""
    text = "".join(cell.character for cell in row)
    row = row[: len(text.rstrip())]
    y = BAR + MARGIN + (number + 0.75) * LINE
    spans = []
    for (colour, bold), cells in groupby(row, key=lambda cell: (cell.colour, cell.bold)):
        content = escape("".join(cell.character for cell in cells))
        style = (f' fill="{COLOURS[colour]}"' if colour in COLOURS else "") + (' font-weight="bold"' if bold else "")
        spans.append(f"<tspan{style}>{content}</tspan>" if style else content)
    return f'<text x="{MARGIN}" y="{y:.1f}" fill="{FOREGROUND}" xml:space="preserve">{"".join(spans)}</text>'


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
