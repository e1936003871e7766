"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something the user can mend: one sentence that says what is wrong, where, and what to do.

    The command line prints it without a traceback and ends with exit code 1.
    """
