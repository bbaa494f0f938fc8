"""What can be wrong with audio that is read."""


class AudioError(ValueError):
    """Audio that cannot be used; the message is one line that names the file."""
