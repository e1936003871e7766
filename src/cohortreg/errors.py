"""The exceptions that a user is meant to read."""


class UserError(Exception):
    """Something the user can fix: one sentence that says what is wrong, where, and what to do.

    The command line prints it without a traceback and ends with exit code 1.
    """


class BadImage(UserError):  # noqa: N818  (what it is, as UserError says whose it is)
    """A fault of an image or label file itself, whatever machine reads it.

    A cohort can leave such a file out and go on (`on_bad_image: exclude`). A fault of the machine (a full disk, too
    little memory, a file server that does not answer) is never one: the same file is read tomorrow.
    """


class NotFiniteError(UserError):
    """A computation that ended in NaN or infinity: a training or an optimisation that diverged."""
