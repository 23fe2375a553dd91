"""From recipes to parts: typed, strict, and read off the same signatures that Python users see.

A part is written as a name (``"hill-climb"``), as a table with its options (``{name = "hill-climb", k = 5}``), or, from
Python, as the object itself. The options are the keyword arguments of the class or function behind the name, and their
types are its annotations: an unknown key, a wrong type or a misspelt name is an error that says where it stands, what
is allowed and which name is closest.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from importlib import import_module
from typing import Any, Protocol, Union, runtime_checkable

from ..errors import UnknownName, UserError
from ..loading import say
from ..registry import TABLE, load
from ..trust import check_variables

PROTOCOLS = {  # of each kind of part, where the type stands that annotates a parameter for it
    "optimizers": "promptopt.core:Optimizer",
    "scorers": "promptopt.core:Scorer",
    "targets": "promptopt.core:Target",
    "metrics": "promptopt.core:Metric",
    "models": "promptopt.core:ChatModel",
    "datasets": "promptopt.core:Dataset",
    "proposers": "promptopt.optimizers.proposers:Proposer",
    "pools": "promptopt.optimizers.pools:Pool",
    "embedders": "promptopt.core:Embedder",
}
PARTS = {  # the arguments of promptopt.optimize that take a part, and of which kind
    "optimizer": "optimizers",
    "scorer": "scorers",
    "target": "targets",
    "data": "datasets",
    "metric": "metrics",
    "tiebreak": "metrics",
}
NEEDS = {  # what an object of each kind has at the least
    "optimizers": "ask",
    "scorers": "answer",
    "targets": "run",
    "metrics": "__call__",
    "models": "complete",
    "datasets": "train",
    "proposers": "propose",
    "pools": "draw",
    "embedders": "embed",
}
MEMBERS = {  # what a class or a return type has at the least to be of a kind, before it is called
    **{kind: (name,) for kind, name in NEEDS.items()},
    "optimizers": ("ask", "tell", "best"),
    "targets": ("run", "problem_with"),
}


@runtime_checkable
class ReadsVariables(Protocol):
    """Optional, for the class or function of a part: options can name environment variables that it reads."""

    def variables_in(self, options: Mapping[str, Any], /) -> Collection[str]:
        """The names of those that a table's options name."""


# ── Parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def build(kind: str, spec: Any, *, where: str, offered: Mapping[str, Any] | None = None) -> Any:
    """The part that a name, a table or an object stands for.

    Args:
        kind: a kind of the registry, for example ``optimizers``.
        spec: a name, a mapping with ``name`` and options, or the part itself. A plain function stands for the part
            ``function`` of its kind, a list of examples for the data set ``list``.
        where: where it stands, for errors.
        offered: values for parameters that the factory has and the table leaves out, for example ``classes``.

    Raises:
        UserError: the name or an option is wrong.
    """
    if isinstance(spec, str):
        spec = {"name": spec}
    spec = _plain(kind, spec)
    if not isinstance(spec, Mapping):
        if spec is not None and (inspect.isclass(spec) or not hasattr(spec, NEEDS[kind])):
            hint = " A function of the prompt's text goes into score." if kind == "scorers" and callable(spec) else ""
            raise UserError(
                f"{where} is {spec!r}; give a name, a table with a name and options, or the object itself.{hint}"
            )
        return spec
    if not isinstance(spec.get("name"), str):
        raise UserError(f"{where}: say which one with name = \"...\"; 'promptopt list {kind}' shows them.")
    options = {key: value for key, value in spec.items() if key != "name"}
    say(f"building {where}: {spec['name']}")
    factory = factory_of(kind, spec["name"], where=where)
    make = partial(call, factory, options, where=where, offered=offered)
    models = _models.get()
    if kind != "models" or models is None:
        return make()
    given = {name: value for name, value in (offered or {}).items() if name in inspect.signature(factory).parameters}
    return models.of(spec, given, make)


def factory_of(kind: str, name: str, *, where: str = "") -> Callable[..., Any]:
    """The class or function behind a name, which makes a part of that kind; it is not called.

    A class does if it has the methods of the kind, a function if it says that it returns what has them, or says nothing
    and is none of Python's own.

    Raises:
        UserError: nothing has that name, or it makes no such part, as ``os:system``.
    """
    factory = load(kind, name, where=where)
    if name in TABLE[kind]:
        return factory
    made = factory if inspect.isclass(factory) else _returned(factory)
    protocol = PROTOCOLS[kind].partition(":")[2]
    fits = _has(made, MEMBERS[kind]) or _last(made) == protocol or (made is None and _is_users(factory))
    if not (_has_signature(factory) and fits):
        raise UserError(
            f"{where or kind}: {name!r} makes no part of {kind}. Name a class with {', '.join(MEMBERS[kind])}, or a "
            f"function that says what it returns: def ...(...) -> {protocol}."
        )
    return factory


def _is_users(factory: Callable[..., Any]) -> bool:
    """Whether it is a function in Python of a module that does not come with Python, as ``subprocess`` does."""
    return inspect.isfunction(factory) and factory.__module__.partition(".")[0] not in sys.stdlib_module_names


def _has_signature(factory: Callable[..., Any]) -> bool:
    try:
        inspect.signature(factory)
    except (TypeError, ValueError):  # as some that are written in C
        return False
    return True


def _returned(factory: Callable[..., Any]) -> Any:
    """The type that a function says that it returns, or as it is written where it cannot be known here."""
    function = factory if inspect.isfunction(factory) or inspect.ismethod(factory) else None
    written = inspect.get_annotations(function).get("return") if inspect.isfunction(function) else None
    known = hints_of(function).get("return") if function is not None else None
    return written if known is Any else known


def _has(made: Any, members: Sequence[str]) -> bool:
    """Whether a type has these members; a dataclass has its fields."""
    if typing.get_origin(made) in (Union, types.UnionType):
        return any(_has(one, members) for one in typing.get_args(made))
    kind = typing.get_origin(made) or made
    if not inspect.isclass(kind):
        return False
    own = {name for one in kind.__mro__ for name in (*vars(one), *vars(one).get("__annotations__", ()))}
    return own.issuperset(members) or "__getattr__" in own


def _last(written: Any) -> str:
    """The name of a type that is written only, without its module and what stands in brackets."""
    return written.partition("[")[0].rpartition(".")[2] if isinstance(written, str) else ""


class Models:
    """The chat models of a recipe: each is built once, however many parts name it alike.

    So there is one copy of its weights, and one limit on its calls.

    Attributes:
        used: those that were asked for since they were last opened, in that order.
    """

    def __init__(self) -> None:
        self.used: list[Any] = []
        self._built: dict[str, tuple[Any, Any]] = {}

    def of(self, spec: Mapping[str, Any], given: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """The model of a table, made if there is none yet.

        Args:
            given: what it takes besides the table's options.
        """
        key = json.dumps([spec, given], sort_keys=True, default=id)  # an object is the same where it is the very same
        if key not in self._built:
            self._built[key] = make(), (spec, given)  # which are kept, so that their ids stay theirs
        model, _ = self._built[key]
        if not any(model is one for one in self.used):
            self.used.append(model)
        return model


@contextmanager
def models_shared(models: Models | None = None) -> Iterator[Models]:
    """While this is open, chat models are taken from these, from those that are open already, or from new ones."""
    if models is None and (opened := _models.get()) is not None:
        yield opened
        return
    models = models or Models()
    models.used = []
    before = _models.set(models)
    try:
        yield models
    finally:
        _models.reset(before)


_models: ContextVar[Models | None] = ContextVar("models", default=None)


def _plain(kind: str, spec: Any) -> Any:
    """What a plain function or list of examples stands for; anything else as it is.

    A metric is called with all outputs and a plain function with one, so a function that is written as a metric is told
    by the name of its first parameter, ``outputs``.
    """
    if kind == "datasets" and isinstance(spec, list | tuple):
        return {"name": "list", "examples": spec}
    if not (inspect.isroutine(spec) or isinstance(spec, partial)) or "function" not in TABLE[kind]:
        return spec
    whole = kind == "metrics" and next(iter(inspect.signature(spec).parameters), "") in ("outputs", "_outputs")
    return spec if whole else {"name": "function", "function": spec}


def accepts(kind: str, spec: Any, parameter: str) -> bool:
    """Whether the factory that a name or a table stands for has a parameter; an object has no factory."""
    name = spec.get("name") if isinstance(spec, Mapping) else spec
    return isinstance(name, str) and parameter in inspect.signature(factory_of(kind, name)).parameters


def call(
    factory: Callable[..., Any], options: Mapping[str, Any], *, where: str, offered: Mapping[str, Any] | None = None
) -> Any:
    """Call a factory with options from a recipe, checked against its signature; parts among them are built first.

    Raises:
        UserError: an option is unknown, missing or of the wrong type, or the factory itself refuses it.
    """
    offered = offered or {}
    if isinstance(factory, ReadsVariables):
        check_variables(factory.variables_in(options), where=where)
    parameters = inspect.signature(factory).parameters
    hints = hints_of(factory)
    arguments = {name: value for name, value in offered.items() if name in parameters and name not in options}
    for key, value in bind(factory, options, where=where, given=arguments).items():
        kind = kind_of(hints.get(key, Any))
        arguments[key] = build(kind, value, where=f"{where}.{key}", offered=offered) if kind else value
    try:
        return factory(**arguments)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def bind(
    factory: Callable[..., Any], options: Mapping[str, Any], *, where: str, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The options, checked against a factory's signature; those that name parts are left as they are.

    Args:
        given: parameters that come from elsewhere and need not be among the options.

    Raises:
        UserError: an option is unknown, missing or of the wrong type.
    """
    parameters = parameters_of(factory)
    hints = hints_of(factory)
    for key in options:
        if key not in parameters:
            raise UnknownName("option", key, parameters, where=where)
    required = [name for name, p in parameters.items() if p.default is p.empty]
    if missing := [name for name in required if name not in options and name not in (given or {})]:
        raise UserError(f"{where}: {', '.join(missing)} must be given.")
    return {
        key: value if kind_of(hints.get(key, Any)) else check(value, hints.get(key, Any), where=f"{where}.{key}")
        for key, value in options.items()
    }


def check(value: Any, annotation: Any, *, where: str) -> Any:
    """The value, if it fits the annotation.

    Raises:
        UserError: it does not; the message says what is allowed.
    """
    import pydantic

    try:
        adapter = pydantic.TypeAdapter(annotation, config={"arbitrary_types_allowed": True, "strict": True})
    except pydantic.PydanticUserError:  # a type with a configuration of its own
        adapter = pydantic.TypeAdapter(annotation)
    try:
        return adapter.validate_python(value)
    except pydantic.ValidationError as error:
        said = dict.fromkeys(one["msg"] for one in error.errors())
        reasons = [one for one in said if "instance of" not in one] or [*said]  # a class is no hint
        raise UserError(f"{where} is {value!r}. {_allowed(reasons)}.") from None


def _allowed(reasons: Sequence[str]) -> str:
    """What a checker says against a value, in the words of recipes."""
    begins = "Input should be "
    if all(one.startswith(begins) for one in reasons):
        reasons = [begins + " or ".join(one.removeprefix(begins) for one in reasons)]
    said = "; ".join(reasons).replace("a valid dictionary", "a table")
    return said.replace(
        f"{begins}callable",
        f"{begins}a function, which no recipe can hold: call promptopt.optimize from Python, or write a scorer and "
        'give scorer = "package.module:Name"',
    )


def parameters_of(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a factory that can be options."""
    every = inspect.signature(factory).parameters.items()
    return {name: p for name, p in every if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def parts_of(factory: Callable[..., Any]) -> dict[str, str]:
    """The parameters of a factory that take a part, and the kind of each."""
    return {name: kind for name, hint in hints_of(factory).items() if (kind := kind_of(hint))}


def hints_of(factory: Callable[..., Any]) -> dict[str, Any]:
    """The types of a factory's parameters; Any for one that cannot be known here."""
    function: Any = factory.__init__ if inspect.isclass(factory) else factory
    try:
        return typing.get_type_hints(function)
    except Exception:  # mostly a name that is imported for type checkers alone; the other annotations still count
        names = {**_for_type_checkers(factory.__module__), **getattr(function, "__globals__", {})}
        return {name: _resolved(written, names) for name, written in inspect.get_annotations(function).items()}


def _resolved(written: Any, names: dict[str, Any]) -> Any:
    try:
        return eval(written, names) if isinstance(written, str) else written
    except Exception:
        return Any


@cache
def _for_type_checkers(module: str) -> dict[str, Any]:
    """What a module imports under ``if TYPE_CHECKING:`` from where the types of parts stand, by its own names."""
    try:
        source = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, TypeError, OSError, SyntaxError):
        return {}
    homes = {place.partition(":")[0] for place in PROTOCOLS.values()}
    found: dict[str, Any] = {}
    for block in ast.walk(source):
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test):
            for line in block.body:
                if isinstance(line, ast.ImportFrom) and (home := _home(line, module)) in homes:
                    names = ((alias.asname or alias.name, alias.name) for alias in line.names)
                    found |= {own: getattr(import_module(home), name, Any) for own, name in names}
    return found


def _home(line: ast.ImportFrom, module: str) -> str:
    """The module that a line of another module imports from."""
    above = module.split(".")[: -line.level] if line.level else []
    return ".".join([*above, *filter(None, [line.module])])


@cache
def _protocols() -> dict[Any, str]:
    """The kinds of part by the types that stand for them."""
    places = ((kind, *place.split(":")) for kind, place in PROTOCOLS.items())
    return {getattr(import_module(module), name): kind for kind, module, name in places}


def kind_of(annotation: Any) -> str | None:
    """The kind of part that a parameter takes, if it takes one."""
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType):
        return next((kind for one in typing.get_args(annotation) if (kind := kind_of(one))), None)
    one = origin or annotation
    return _protocols().get(one) if inspect.isclass(one) else None
