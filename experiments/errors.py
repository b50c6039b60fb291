"""Errors that the command line turns into one message and an exit status."""


class InputError(ValueError):
    """What the user asked for makes no sense; the text is one line that says what would."""


class UnknownName(InputError):  # noqa: N818 (it reads as what it says)
    """No figure, experiment or benchmark has this name; the text suggests the nearest."""


class RunFailed(RuntimeError):  # noqa: N818
    """A run raised, or its process died; every run that finished is stored."""


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep; the text says what is kept."""


class ClaimError(RuntimeError):
    """The check of a claim raised, or gave no `Outcome`; the text names the claim."""


class StoreWarning(UserWarning):
    """Something in the store was damaged or foreign and was set aside."""
