"""The one exception that means "your input is at fault", as opposed to a fault of this program."""


class DataError(Exception):
    """A fault in the user's data or settings.

    The message is written for the person who owns the data: which file, what was found, what was expected, what to do.
    The command line prints it without a traceback and exits with status 1.
    """


class DataErrors(DataError):  # noqa: N818  (an error that holds several)
    """Several faults found in one pass, so that a user mends all of them at once instead of one a run."""

    def __init__(self, summary: str, faults: list[str]):
        self.faults = list(faults)
        self.summary = summary
        super().__init__("\n".join([summary, *(f"  - {fault}" for fault in self.faults)]))

    def __reduce__(self) -> tuple[type["DataErrors"], tuple[str, list[str]]]:
        return type(self), (self.summary, self.faults)  # so that one raised in a worker process reaches the parent
