"""Mistakes that the person at the keyboard can mend."""


class InputError(Exception):
    """Something given to sambench is wrong.

    The message names the file, the field and the fix in a sentence or two. The command line prints it without a
    traceback and ends with exit code 2.
    """
