"""What can be wrong with a file that is read or written."""


class FormatError(ValueError):
    """A file is damaged, truncated, foreign or contradicts itself.

    Attributes:
        where: The part at fault: ``header``, ``chunk 3``, ``footer``.
        problem: What is wrong with it.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where = where
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


class WriteError(ValueError):
    """An output file cannot be written; nothing half-written is left behind."""
