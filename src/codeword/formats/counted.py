"""A file that knows how much it was given."""

from codeword.formats.container import BinaryWriter


class Counted:
    """Counts bytes on their way to a file, or without one.

    Args:
        file: Where they go; ``None`` drops them.

    Attributes:
        num_bytes: How many there were.
    """

    def __init__(self, file: BinaryWriter | None = None) -> None:
        self._file, self.num_bytes = file, 0

    def write(self, data: bytes, /) -> int:
        """Pass bytes on."""
        taken = None if self._file is None else self._file.write(data)
        taken = len(data) if taken is None else taken
        self.num_bytes += taken
        return taken
