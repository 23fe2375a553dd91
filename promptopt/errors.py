"""The errors of promptopt.

PromptoptError
├── UserError             something the user can mend: one message, no traceback, exit 2
│   ├── UnknownName       a part, a key or a choice that does not exist, with the closest that does
│   ├── BrokenFile        one file of a data set is there but cannot be decoded; its example stays unscored
│   ├── MissingExtra      a package that an optional part needs is not installed
│   ├── LockedRun         another process works in the same run folder
│   └── ReplayMismatch    a resumed run asks something else than what its ledger records
├── NothingUsable         a run got nothing that could be rated or compared
├── BudgetExhausted       the next spend would exceed the budget; the run catches it and stops
└── ModelError            a chat model refused for good: authentication, unknown model, no credit
    ├── Unanswered        one request got no answer, after all retries: the server's or the network's fault
    └── Rejected          one request was refused for what stands in it, for example because it is too long
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable
from types import ModuleType

CLOSE = 0.6  # how alike two names are at least for one to be taken for the other misspelt


class PromptoptError(Exception):
    """Anything that promptopt itself raises."""


class UserError(PromptoptError):
    """A mistake that the user can mend. The message says what was given, what is allowed and what to do."""


class UnknownName(UserError):
    """A name that is not there.

    Args:
        what: what was looked up, for example ``optimizer``.
        given: the name as the user wrote it.
        allowed: the names that exist.
        where: where the name stands, for example ``recipe.toml, [optimizer]``.
    """

    def __init__(self, what: str, given: str, allowed: Iterable[str], *, where: str = "") -> None:
        names = sorted(allowed)
        close = difflib.get_close_matches(given, names, n=1, cutoff=CLOSE)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        place = f"{where}: " if where else ""
        super().__init__(f"{place}unknown {what} {given!r}.{hint} Allowed: {', '.join(names) or 'none'}.")


class MissingExtra(UserError):
    """An optional package is missing; the message is the line that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"This needs the package {package!r}, which is not installed. "
            f'Install it with: pip install "promptopt-toolkit[{extra}]"'
        )


class BrokenFile(UserError):
    """A file of a data set that is there but cannot be decoded: one example fails by it, and not the run."""


class LockedRun(UserError):
    """Another process holds the run folder."""


class ReplayMismatch(UserError):
    """The optimizer asked something else than the ledger holds: the recipe, the data or the code changed."""


class BudgetExhausted(PromptoptError):
    """The next spend would exceed the budget. ``limit`` names it: questions, calls, tokens, dollars or seconds."""

    def __init__(self, limit: str) -> None:
        super().__init__(f"the budget for {limit} is used up")
        self.limit = limit


class NothingUsable(PromptoptError):
    """A run got nothing that could be rated or compared; the message says why, and what to do."""


class ModelError(PromptoptError):
    """A chat model's final no; retrying would not help. The message is the provider's own, with its request id."""


class Unanswered(ModelError):
    """A transient error outlasted the retries. Other requests may be answered, so one alone ends no run."""


class Rejected(ModelError):
    """This one request was refused for what stands in it. Others may be answered, so one alone ends no run."""


def need(package: str, *, extra: str) -> None:
    """See that an optional package is installed, without importing it.

    Raises:
        MissingExtra: it is not.
    """
    try:
        found = importlib.util.find_spec(package)
    except ImportError:
        found = None
    if found is None:
        raise MissingExtra(package, extra)


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional package, or say in one line what to install.

    Raises:
        MissingExtra: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtra(module.split(".")[0], extra) from None
