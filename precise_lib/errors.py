"""The one exception that means "your input, not our code", and reasons in words for it."""

import re


class InputError(ValueError):
    """Input that cannot be used: a file, an option or an array.

    The message is one sentence that says what is wrong and what to do about it. The command line prints it
    without a traceback and leaves with exit code 2.
    """


def printable(text) -> str:
    """Text from outside on one line, without what would steer a terminal or a page, or is half a character."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(str(text).split()))


def reason(error: BaseException) -> str:
    """What an exception of Python, YAML or the system says, as part of a sentence: one line, no period."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    mark = getattr(error, "problem_mark", None)  # of YAML: the message itself begins with what was being read
    if mark is not None:
        return f"{error.problem} in line {mark.line + 1}"
    if isinstance(error, KeyError) and error.args:
        return f"{error.args[0]} is missing"
    text = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    text = re.sub(r"\.? Did you mean '(.+)'\?", r" (did you mean '\1'?)", text)  # Python 3.13 adds it
    text = re.sub(r"(\w+)\.__init__\(\) missing \d+ required positional arguments?: ", r"\1 lacks ", text)
    return re.sub(r"(\w+)\.__init__\(\) got an unexpected keyword argument ", r"\1 does not know ", text)
