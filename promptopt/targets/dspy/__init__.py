"""A DSPy program as the target: one part for each predictor's instruction, and one for demonstrations."""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ... import demonstrations as demos
from ...checks import at_least, check_argument
from ...core import ChatModel, Example, Failed, Missing, Prompt, Reply, Setup
from ...errors import UserError, require
from ...fanout import fan_out
from ...models.dspy import DSPy
from ...parts import parts_of, text_of
from ...registry import load_function
from ...text import plain
from ..replies import no_output, unusable
from .engine import Attempt, billed_lm, within
from .predictors import Fields, copied, demos_of, lms_of, part_names, set_demos, set_lms, told

__all__ = ["DSPyProgram"]

STREAM = int.from_bytes(b"dspy")
"""Key of the random stream, so that other draws of the scorer are left alone."""
UNREADABLE, RAISED, OUTSIDE = "unreadable replies", "programs that raised", "programs that failed for outside reasons"


class DSPyProgram:
    """Runs a ``dspy.Module`` of DSPy 3.4 on each example.

    A prompt has a part for the instruction of each predictor, called as in ``named_predictors`` without the ``predict``
    at the end and with ``-`` for what cannot stand in a name; a program with one predictor has the part
    ``instruction``, and may be prompted with one text. The part ``demonstrations`` holds ids of training examples
    (:mod:`promptopt.demonstrations`): every predictor shows of them the fields that it has, in place of the demos that
    the program came with; where it is empty, it keeps these. An example that is asked is never shown to itself, nor one
    with the same input. Predictors without a part of a prompt keep their instructions.

    Every LM call of the program is billed to the run as ``target``, written down and replayed. Where no model is given,
    these are the LMs that the program has, or that DSPy is configured with when the target is made. DSPy's own cache
    and retries are off; adapter, callbacks and usage tracking are those of the caller's settings. Every call has a seed
    of its own, drawn from the run's seed, the prompt, the example and what is asked, unless the predictor sets one.

    An output is the program's ``dspy.Prediction``, or one field of it. A program that raises has failed, and one that
    lost a call to the provider or the network is :class:`promptopt.core.Missing`, even where it went on without; an
    error before the first call to an LM is the program's, and ends the run. Demonstrations may show outputs that a run
    told as cases: JSON of the prediction's fields, with ``steps`` where predictors gave more than these.

    Args:
        program: the program, which is copied; or, in recipes, ``package.module:name`` of one or of a function that
            makes one.
        model: answers instead of the program's own LMs.
        input: the field of an example's input that is no table; the only one that the program takes by default.
        label: the field of a label that is no table; the last output field of the last predictor by default.
        field: the field of the prediction that is the output, for metrics that are not DSPy's.
        demonstrations: whether the program's own prompt, with which a run starts where it is given no other, has the
            part ``demonstrations``.
        examples: those that may be shown; the run's training examples.
        temperature: of calls for which neither predictor nor LM says one; providers take 1 then.
        workers: examples at a time. A program that is not safe to call from several threads needs 1.

    Raises:
        UserError: it is no program, has no predictors, or has no LM; or a number is out of range.
        MissingExtra: DSPy is not installed.
    """

    takes_demonstrations = True

    def __init__(
        self,
        *,
        program: Any,
        model: ChatModel | None = None,
        input: str | None = None,
        label: str | None = None,
        field: str | None = None,
        demonstrations: bool = False,
        examples: Sequence[Example] = (),
        temperature: float = 1.0,
        workers: int = 8,
    ) -> None:
        at_least(0, temperature=temperature)
        at_least(1, workers=workers)
        self.program = _loaded(program)
        self.parts = part_names(self.program)
        self.fields = Fields(self.program, input=input, label=label)
        self.takes_parts = (*self.parts.values(), demos.PART)
        self._model, self._temperature, self._workers = model, temperature, workers
        self._field, self._demonstrations = field, demonstrations
        self._by_id = {example.id: example for example in examples}
        self._models = _models(self.program, model)
        self._billed: dict[int, Any] = {}
        self._lock = threading.Lock()

    @property
    def start(self) -> str:
        """The program's own prompt."""
        own = {self.parts[name]: one.signature.instructions for name, one in self.program.named_predictors()}
        if len(own) == 1 and not self._demonstrations:
            return str(own["instruction"])
        return text_of({**own, demos.PART: ""} if self._demonstrations else own)

    @property
    def record(self) -> Mapping[str, Any]:
        """What program it is: its class, signatures and LMs, and the adapter."""
        dspy = require("dspy", extra="dspy")
        adapter = dspy.settings.adapter
        kind = type(self.program)
        return {
            "program": f"{kind.__module__}:{kind.__qualname__}",
            "predictors": {self.parts[name]: _signature(one) for name, one in self.program.named_predictors()},
            "demos": sum(len(one.demos) for one in self.program.predictors()),
            "models": [model.name for model, _ in self._models.values()],
            "adapter": type(adapter).__name__ if adapter else "ChatAdapter",
        }

    def begin(self, setup: Setup, /) -> None:
        """Take the run's random streams and bill the models to it."""
        self._setup = setup
        every = {id(model): model for model, _ in self._models.values()}
        billed = {key: setup.model(model, role="target") for key, model in every.items()}
        self._billed = {
            key: billed_lm(billed[id(model)], like=lm, temperature=self._temperature)
            for key, (model, lm) in self._models.items()
        }

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """Why this prompt cannot be run: a part is unknown or empty, or its demonstrations cannot be shown."""
        try:
            said = self._said(prompt)
            shown = said.pop(demos.PART, "")
            if problem := demos.problem_with(shown, self._by_id):
                return problem
            self._demos(shown)
        except UserError as error:
            return str(error)
        for name, text in said.items():
            if not text.strip():
                return f"the instruction {name} is empty; write one."
            if text.encode("utf-8", "ignore").decode() != text:
                return f"the instruction {name} holds characters that no LM can be sent; write it as Unicode."
        return None

    def applied(self, prompt: Prompt, /) -> Any:
        """A deep copy of the program that has the prompt's instructions and demonstrations, and its own LMs.

        Raises:
            UserError: as :meth:`problem_with` says.
        """
        if problem := self.problem_with(prompt):
            raise UserError(f"the prompt cannot be put into the program: {problem}")
        return self._applied(prompt, asked=None)

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> Sequence[Any]:
        """Predictions, or one field of each, in order.

        Raises:
            BudgetExhausted: the next call would exceed the budget.
            ModelError: the provider refuses whatever it is asked, or ten requests in a row got no answer.
            UserError: the program failed before it asked an LM, or asks one that is not the run's.
        """
        (outputs,) = self.run_batch([prompt], examples)
        return outputs

    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> Iterator[Sequence[Any]]:
        """What ``run`` returns, prompt by prompt, each as soon as it is complete; all run side by side.

        Raises:
            BudgetExhausted, ModelError, UserError: as ``run``.
        """
        ready: dict[tuple[str, tuple[str, ...]], Any] = {}
        jobs = [(prompt, example) for prompt in prompts for example in examples]
        outputs = fan_out(lambda job: self._run(*job, ready=ready), jobs, workers=self._workers)
        for _ in prompts:
            yield [next(outputs) for _ in examples]

    # ── One example ───────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self, prompt: Prompt, example: Example, *, ready: dict[tuple[str, tuple[str, ...]], Any]) -> Any:
        keys = zlib.crc32(_bytes(prompt.text)), zlib.crc32(_bytes(example.id))
        attempt = Attempt(lambda *more: self._setup.rng(STREAM, *keys, *more), self._flaw)
        inputs = self.fields.inputs(example)
        program = self._ready(prompt, example, ready)
        dspy = require("dspy", extra="dspy")
        try:
            with within(attempt, lm=self._billed.get(0)):
                prediction = _called(program, inputs)
                trace = list(dspy.settings.trace)
        except Exception as error:
            attempt.check()
            return self._counted(attempt) or self._failed(error, attempt, example)
        attempt.check()
        return self._counted(attempt) or self._output(prediction, self._steps(program, trace))

    def _flaw(self, reply: Reply) -> Failed | None:
        model = next(iter(self._models.values()))[0]
        return unusable(reply, model=model, setup=self._setup)

    def _ready(self, prompt: Prompt, example: Example, ready: dict[tuple[str, tuple[str, ...]], Any]) -> Any:
        """The program for a prompt, made once for all examples that are shown the same."""
        shown = self._demos(self._said(prompt).get(demos.PART, ""))
        key = prompt.text, tuple(one.example for one, other in shown if _other(other, example))
        with self._lock:
            if key not in ready:
                ready[key] = self._applied(prompt, asked=example)
                set_lms(ready[key], self._billed)
            return ready[key]

    def _applied(self, prompt: Prompt, *, asked: Example | None) -> Any:
        said = self._said(prompt)
        every = self._demos(said.get(demos.PART, ""))
        shown = [(one, example) for one, example in every if asked is None or _other(example, asked)]
        program = copied(self.program)
        for name, predictor in program.named_predictors():
            part = self.parts[name]
            if part in said:
                predictor.signature = predictor.signature.with_instructions(said[part])
            if every:
                set_demos(predictor, demos_of(shown, part=part, signature=predictor.signature, fields=self.fields))
        return program

    def _said(self, prompt: Prompt) -> dict[str, str]:
        """The parts of a prompt.

        Raises:
            UserError: it has none and the program several predictors, or it has other parts.
        """
        parts = parts_of(prompt.text)
        if not parts and len(self.parts) == 1:
            return {"instruction": prompt.text}
        names = ", ".join(self.takes_parts)
        if not parts:
            raise UserError(f"it is one text, and the program has several predictors; give a table of {names}.")
        if unknown := [name for name in parts if name not in self.takes_parts]:
            raise UserError(f"the program has no part {unknown[0]!r}; there are {names}.")
        return parts

    def _demos(self, text: str) -> list[tuple[demos.Demonstration, Example]]:
        """What a prompt shows, each with its example.

        Raises:
            UserError: an output that is to be shown is none of a program.
        """
        shown = [(one, self._by_id[one.example]) for one in demos.read(text)]
        for name, predictor in self.program.named_predictors():
            demos_of(shown, part=self.parts[name], signature=predictor.signature, fields=self.fields)
        return shown

    # ── What came of it ───────────────────────────────────────────────────────────────────────────────────────────

    def _counted(self, attempt: Attempt) -> Missing | None:
        for why in filter(None, (attempt.lost, attempt.rejected)):
            self._setup.count(why.counted("requests"))
        return attempt.missing

    def _failed(self, error: Exception, attempt: Attempt, example: Example) -> Failed | Missing:
        """What an error of the program says of the output.

        Raises:
            UserError: no LM was asked yet, so no prompt is at fault.
        """
        said = plain(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
        if not attempt.asked or isinstance(error, UserError):
            raise UserError(
                f"the program raised {said} on example {example.id!r} before it asked an LM. Mend the program, or the "
                "names of the example's fields."
            ) from error
        if attempt.rejected:
            return no_output(attempt.rejected)
        if isinstance(error, OSError):
            self._setup.count(OUTSIDE)
            return Missing(f"the program failed for outside reasons: {said}")
        if attempt.flawed:
            return Failed(attempt.flawed.reason, attempt.flawed.text)
        exceptions = require("dspy.utils.exceptions", extra="dspy")
        unreadable = isinstance(error, exceptions.AdapterParseError)
        self._setup.count(UNREADABLE if unreadable else RAISED)
        text = getattr(error, "lm_response", None) if unreadable else None
        return Failed("unreadable reply" if unreadable else f"the program raised {said}", text)

    def _output(self, prediction: Any, steps: Mapping[str, Mapping[str, Any]]) -> Any:
        if not isinstance(prediction, require("dspy", extra="dspy").Prediction):
            return prediction
        if self._field is None:
            object.__setattr__(prediction, "in_words", told(prediction, steps))  # as a field it would be the program's
            return prediction
        if self._field not in prediction:
            raise UserError(f"the prediction has no field {self._field!r}; it has {', '.join(prediction.keys())}.")
        value = prediction[self._field]
        return Failed("empty") if value is None else value

    def _steps(self, program: Any, trace: Sequence[Any]) -> dict[str, dict[str, Any]]:
        """The fields that each predictor gave last, by the name of its part."""
        names = {id(one): self.parts[name] for name, one in program.named_predictors()}
        return {names[id(one)]: dict(given.items()) for one, _, given in trace if id(one) in names}


def _loaded(program: Any) -> Any:
    module = require("dspy", extra="dspy").Module
    if isinstance(program, str):
        found = load_function(program, where="program")
        program = found() if _makes(found, module) else found
    allowed = "a dspy.Module, or package.module:name of one or of a function that makes one"
    check_argument("program", program, allowed=allowed, holds=isinstance(program, module))
    return copied(program)


def _makes(found: Any, module: type) -> bool:
    """Whether it is a program's class, or a function in Python of a module that does not come with Python."""
    if inspect.isclass(found):
        return issubclass(found, module)
    return inspect.isfunction(found) and found.__module__.partition(".")[0] not in sys.stdlib_module_names


def _models(program: Any, model: ChatModel | None) -> dict[int, tuple[ChatModel, Any]]:
    """By ``id`` of each LM of the program, and by 0 for what has none: the chat model that answers, and the LM.

    Raises:
        UserError: a predictor has no LM, and there is none to give it.
    """
    dspy = require("dspy", extra="dspy")
    own = lms_of(program)
    if model is not None:
        return {**{id(lm): (model, lm) for lm in own}, 0: (model, None)}
    found: dict[int, tuple[ChatModel, Any]] = {id(lm): (DSPy(model=lm), lm) for lm in own}
    if (lm := dspy.settings.lm) is not None:
        found[0] = found.get(id(lm)) or (DSPy(model=lm), lm)
    elif not all(one.lm for one in program.predictors()):
        raise UserError(
            "the program has no LM; give the target a model, or call dspy.configure(lm=dspy.LM(...)) before, or "
            "program.set_lm(...)."
        )
    return found


def _signature(predictor: Any) -> str:
    """A signature in short, with a number that changes with the types and descriptions of its fields."""
    whole = re.sub(r" at 0x[0-9a-f]+", "", str(predictor.signature))
    return f"{predictor.signature.signature} [{zlib.crc32(_bytes(whole)):08x}]"


def _called(program: Any, inputs: Mapping[str, Any]) -> Any:
    """What the program gives; one that is written with ``await`` alone runs in a loop of its own."""
    if hasattr(type(program), "forward"):
        return program(**inputs)
    return asyncio.run(program.acall(**inputs))


def _other(one: Example, asked: Example) -> bool:
    return one.id != asked.id and one.input != asked.input


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
