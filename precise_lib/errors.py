"""The one exception that means "your input, not our code"."""


class InputError(ValueError):
    """Input that cannot be used: a file, an option or an array.

    The message is one sentence that says what is wrong and what to do about it. The command line prints it
    without a traceback and leaves with exit code 2.
    """
