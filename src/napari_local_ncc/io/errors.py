"""What reading a file may raise, and warn of."""


class ReadError(ValueError):
    """A file that cannot be read as asked; the message says how to mend it."""


class ReadNote(UserWarning):
    """What is read is not all that a reader might think; the message says what it is."""
