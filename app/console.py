"""Tables on the command line."""

from rich.console import Console
from rich.table import Table

_WIDE = 160  # columns of a file or a pipe: no screen cuts its lines


def print_table(table: Table) -> None:
    """Prints a table as wide as the terminal allows; into a file or a pipe as wide as it is."""
    console = Console()
    (console if console.is_terminal else Console(width=_WIDE)).print(table)
