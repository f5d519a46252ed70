"""The console that commands print tables to."""

from rich.console import Console

#: Wide enough for every table; a log file or a pipe has no edge to break lines at.
WIDTH_WITHOUT_TERMINAL = 1_000


def wide_console() -> Console:
    """A console as wide as the terminal, or wide where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, WIDTH_WITHOUT_TERMINAL))
