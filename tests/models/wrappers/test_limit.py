"""The limit on calls: the rate's control against simulated servers, and the waiting with a clock of its own."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from promptopt.core import Completion, Message, Reply, Request, Usage
from promptopt.errors import ModelError, UserError
from promptopt.fanout import fan_out
from promptopt.models.openai import OpenAI
from promptopt.models.wrappers.limit import LimitedModel, Pace, Start, throttled
from promptopt.testing import ScriptedModel

from ..openai_server import SOON, completion, failure, serving

HELLO = [Message("user", "Hello")]


# ── The rate ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Bucket:
    """Allows ``rate`` calls a second, after a pause up to ``capacity`` at once; the rate may change at given times."""

    rate: float
    capacity: float
    changes: Mapping[float, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokens, self.filled = self.capacity, 0.0

    def allows(self, now: float, busy: int) -> bool:
        rate = next((rate for at, rate in reversed(self.changes.items()) if now >= at), self.rate)
        self.tokens, self.filled = min(self.capacity, self.tokens + (now - self.filled) * rate), now
        allowed = self.tokens >= 1
        self.tokens -= allowed
        return allowed


@dataclass
class Places:
    """Allows so many calls at once."""

    places: int

    def allows(self, now: float, busy: int) -> bool:
        return busy < self.places


@dataclass(order=True)
class Event:
    at: float
    number: int
    act: Callable[[], None] = field(compare=False)


class Simulation:
    """``callers`` who always want another call, before one server; nothing in it waits for real time.

    Latencies are log-normal. A call reaches the server a few random milliseconds after it was let go. A refused call
    waits for its turn and then for ``retry_after``, as the SDK does. ``seen`` holds when the server saw a call, and
    whether it allowed it.
    """

    def __init__(
        self, server: Bucket | Places, *, latency: float, retry_after: float = 1.0, callers: int = 64, seed: int = 0
    ) -> None:
        self.server, self.latency, self.retry_after, self.free = server, latency, retry_after, callers
        self.pace = Pace()
        self.random = random.Random(seed)
        self.seen: list[tuple[float, bool]] = []
        self.now, self.busy, self.retries, self.asleep = 0.0, 0, 0, False
        self.events: list[Event] = []
        self.numbers = itertools.count()

    def run(self, seconds: float) -> Simulation:
        self.let_go()
        while self.events and self.events[0].at <= seconds:
            event = heapq.heappop(self.events)
            self.now = event.at
            event.act()
        return self

    def rejected(self, since: float) -> float:
        flags = [not allowed for at, allowed in self.seen if at >= since]
        return sum(flags) / len(flags)

    def throughput(self, since: float, until: float) -> float:
        return sum(allowed for at, allowed in self.seen if since <= at < until) / (until - since)

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.events, Event(self.now + seconds, next(self.numbers), act))

    def let_go(self) -> None:
        """Retries first, as far as the pace allows."""
        while self.retries or self.free:
            ahead = self.retry_after if self.retries else 0.0
            wait = self.pace.wait(self.now + ahead)
            if wait > 1e-9:
                if not self.asleep:
                    self.asleep = True
                    self.later(wait, self.wake)
                return
            self.retries, self.free = (self.retries - 1, self.free) if self.retries else (0, self.free - 1)
            start = self.pace.start(self.now, self.now + ahead)
            self.later(ahead + self.random.expovariate(1 / 0.003), lambda start=start: self.arrive(start))  # type: ignore[misc]

    def wake(self) -> None:
        self.asleep = False
        self.let_go()

    def arrive(self, start: Start) -> None:
        allowed = self.server.allows(self.now, self.busy)
        self.seen.append((self.now, allowed))
        if allowed:
            self.busy += 1
            self.later(self.latency * self.random.lognormvariate(-0.18, 0.6), lambda: self.finish(start))
        else:
            self.later(0.01, lambda: self.refuse(start))

    def finish(self, start: Start) -> None:
        self.busy -= 1
        self.free += 1
        self.pace.succeeded(start)
        self.let_go()

    def refuse(self, start: Start) -> None:
        self.pace.throttled(self.now, self.retry_after, start)
        self.retries += 1
        self.let_go()


@pytest.mark.parametrize("retry_after", [0.05, 1.0])
@pytest.mark.parametrize("latency", [0.02, 0.2])
@pytest.mark.parametrize("capacity", [20.0, 1200.0])
def test_twenty_a_second_are_used_and_at_most_two_in_a_hundred_refused(
    capacity: float, latency: float, retry_after: float
) -> None:
    settled = 10.0 + capacity / 20
    simulation = Simulation(Bucket(20, capacity), latency=latency, retry_after=retry_after).run(settled + 120)
    assert simulation.rejected(since=settled) <= 0.02
    assert simulation.throughput(settled, settled + 120) >= 0.9 * 20


@pytest.mark.parametrize("rate", [2.0, 200.0])
def test_other_rates_are_found_as_well(rate: float) -> None:
    simulation = Simulation(Bucket(rate, rate), latency=0.2).run(240)
    assert simulation.rejected(since=60) <= 0.02
    assert simulation.throughput(60, 240) >= 0.6 * rate


def test_a_limit_on_calls_at_once_is_kept_to_as_well() -> None:
    simulation = Simulation(Places(8), latency=1.0).run(300)
    assert simulation.rejected(since=60) <= 0.02
    assert simulation.throughput(60, 300) >= 0.4 * 8


def test_it_follows_a_server_that_allows_less_and_then_more() -> None:
    simulation = Simulation(Bucket(20, 20, changes={60.0: 5.0, 160.0: 20.0}), latency=0.2).run(300)
    assert simulation.throughput(100, 160) == pytest.approx(5, rel=0.2)
    assert simulation.throughput(240, 300) >= 0.8 * 20


def test_without_a_refusal_nothing_waits() -> None:
    pace = Pace()
    for call in range(1_000):
        assert pace.wait(0.001 * call) <= 0
        pace.succeeded(pace.start(0.001 * call, 0.001 * call))
    assert math.isinf(pace.rate)


def slowed(pace: Pace, *, calls: int = 40) -> float:
    """Refuse one call after so many went well within a second, and return when the next may start."""
    starts = [pace.start(i / calls, i / calls) for i in range(calls)]
    pace.throttled(1.0, 2.0, starts[-1])
    return 1.0 + pace.wait(1.0)


def test_nothing_starts_before_retry_after() -> None:
    assert slowed(Pace()) == 3.0


def test_refusals_of_calls_let_go_before_the_cut_do_not_cut_again() -> None:
    pace = Pace()
    before = pace.start(0.9, 0.9)
    slowed(pace)
    rate = pace.rate
    pace.throttled(5.0, 1.0, before)
    assert pace.rate == rate
    assert pace.wait(5.0) == 1.0


def test_the_rate_comes_back_fast_rests_at_what_was_refused_and_then_goes_beyond() -> None:
    pace = Pace()
    now = slowed(pace)
    rates = [pace.rate]
    for _ in range(250):
        now += max(0.0, pace.wait(now))
        pace.succeeded(pace.start(now, now))
        rates.append(pace.rate)
    base, top = rates[0], 4 * rates[0]  # the first refusal leaves a quarter
    back = next(i for i, rate in enumerate(rates) if rate >= 0.999 * top)
    assert rates == sorted(rates)
    assert rates[back // 3] > (base + top) / 2
    assert rates[back + 10] < 1.01 * top
    assert rates[-1] > 1.5 * top


def test_a_refusal_leaves_most_of_what_the_server_has_been_taking() -> None:
    simulation = Simulation(Bucket(20, 20), latency=0.2).run(60)
    pace = simulation.pace
    pace.throttled(60.0, 1.0, pace.start(60.0, 60.0))
    assert 0.7 * 20 < pace.rate < 0.95 * 20


def test_calls_that_need_not_wait_do_not_raise_the_rate() -> None:
    pace = Pace()
    now = slowed(pace)
    pace.start(now, now)
    before = pace.rate
    for call in range(1, 100):
        pace.succeeded(pace.start(now + 60 * call, now + 60 * call))
    assert pace.rate == before


def test_the_rate_never_stops_altogether() -> None:
    pace, now = Pace(), 0.0
    for _ in range(200):
        now += max(0.0, pace.wait(now)) + 1.0
        pace.throttled(now, 0.1, pace.start(now, now))
    assert pace.rate == pytest.approx(0.05)
    start = pace.start(now + 100, now + 100)
    for _ in range(300):
        pace.succeeded(Start(start.decided, paced=True))
    assert pace.rate > 0.05


# ── The model ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Hosted:
    """A model whose server refuses some attempts; its SDK tries again ``retries`` times, after ``retry_after``."""

    name = "hosted"

    def __init__(self, clock: Clock, *, refuses: Callable[[int], bool], retry_after: float | None = 2.0) -> None:
        self.clock, self.refuses, self.retry_after = clock, refuses, retry_after
        self.attempts: list[float] = []
        self.retries = 2

    def complete(self, request: Request, /) -> Completion:
        for _ in range(1 + self.retries):
            self.attempts.append(self.clock())
            if not self.refuses(len(self.attempts) - 1):
                return Completion((Reply("yes"),))
            throttled(self.retry_after)
            self.clock.now += self.retry_after or 0.4
        raise ModelError("429 Too Many Requests")

    def at_most(self, request: Request, /) -> Usage:
        return Usage(7)


def test_a_refused_call_waits_and_so_do_those_behind_it() -> None:
    clock = Clock()
    hosted = Hosted(clock, refuses=lambda attempt: attempt == 1)
    limited = LimitedModel(hosted, clock=clock, sleep=clock.sleep)
    for _ in range(3):
        limited.complete(Request(HELLO))
    assert hosted.attempts == [100.0, 100.0, 102.0, 106.0]  # one call was taken in a second: a quarter of that first


def test_a_call_that_runs_out_of_retries_is_begun_again_if_others_get_through() -> None:
    clock = Clock()
    hosted = Hosted(clock, refuses=lambda attempt: attempt < 3)
    limited = LimitedModel(hosted, clock=clock, sleep=clock.sleep)

    refuses = hosted.refuses

    def others_get_through(attempt: int) -> bool:
        limited._gate._succeeded += 1
        return refuses(attempt)

    hosted.refuses = others_get_through
    assert limited.complete(Request(HELLO)).replies == (Reply("yes"),)
    assert len(hosted.attempts) == 4


def test_a_call_that_is_refused_when_nobody_gets_through_fails() -> None:
    clock = Clock()
    hosted = Hosted(clock, refuses=lambda attempt: True, retry_after=None)
    with pytest.raises(ModelError):
        LimitedModel(hosted, clock=clock, sleep=clock.sleep).complete(Request(HELLO))
    assert len(hosted.attempts) == 3


def test_nobody_waits_longer_than_the_sdk_would() -> None:
    clock = Clock()
    hosted = Hosted(clock, refuses=lambda attempt: attempt == 0, retry_after=3600.0)
    limited = LimitedModel(hosted, clock=clock, sleep=clock.sleep)
    limited.complete(Request(HELLO))
    limited.complete(Request(HELLO))
    assert clock.slept == []


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_through_the_real_sdk(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(completion("one"), failure(status, "slow down", headers=SOON), completion("two")) as server:
        limited = LimitedModel(OpenAI(model="m", base_url=server.url))
        assert limited.complete(Request(HELLO)).replies == (Reply("one"),)
        assert math.isinf(limited.rate)
        assert limited.complete(Request(HELLO)).replies == (Reply("two"),)
        assert math.isfinite(limited.rate)
        assert len(server.requests) == 3


def test_two_wrappers_of_one_model_share_a_limit() -> None:
    clock = Clock()
    hosted = Hosted(clock, refuses=lambda attempt: attempt == 0)
    one = LimitedModel(hosted, clock=clock, sleep=clock.sleep)
    other = LimitedModel(hosted, clock=clock, sleep=clock.sleep)
    one.complete(Request(HELLO))
    assert math.isfinite(one.rate)
    assert other.rate == one.rate


def test_the_model_is_left_as_it_was() -> None:
    clock = Clock()
    hosted = Hosted(clock, refuses=lambda attempt: attempt == 0)
    before = {name: value for name, value in vars(hosted).items() if name != "attempts"}
    LimitedModel(hosted, clock=clock, sleep=clock.sleep).complete(Request(HELLO))
    assert {name: value for name, value in vars(hosted).items() if name != "attempts"} == before


@pytest.mark.parametrize("earlier", [1, 64])
def test_no_more_calls_at_once_than_allowed(earlier: int) -> None:
    lock, both = threading.Lock(), threading.Barrier(2, timeout=10)
    running, peak = 0, 0

    def reply(messages: Sequence[Message]) -> str:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        both.wait()
        with lock:
            running -= 1
        return "yes"

    class Unlocked(ScriptedModel):
        def complete(self, request: Request, /) -> Completion:
            return Completion((Reply(reply(request.messages)),))

    model = Unlocked(["unused"])
    LimitedModel(model, most=earlier)  # of another run with the same model
    limited = LimitedModel(model, most=2)
    assert len(list(fan_out(lambda _: limited.complete(Request(HELLO)), range(20), workers=8))) == 20
    assert peak == 2


def test_many_threads_under_refusals_all_get_their_reply() -> None:
    lock = threading.Lock()
    refused = iter(i % 5 == 4 for i in itertools.count())

    class Busy:
        name = "busy"

        def complete(self, request: Request, /) -> Completion:
            with lock:
                refuse = next(refused)
            if refuse:
                throttled(0.0)
            return Completion((Reply(request.messages[0].text),))

        def at_most(self, request: Request, /) -> Usage:
            return Usage(request.n)

    clock = Clock()
    limited = LimitedModel(Busy(), most=8, clock=clock, sleep=clock.sleep)
    texts = [str(i) for i in range(200)]
    replies = fan_out(
        lambda text: limited.complete(Request([Message("user", text)])).replies[0].text, texts, workers=16
    )
    assert list(replies) == texts


def test_what_is_passed_through() -> None:
    scripted = ScriptedModel(["yes", "no"], dollars=1.0)
    limited = LimitedModel(scripted)
    completion = limited.complete(Request(HELLO, n=2, temperature=0.5, seed=0, schema={"type": "object"}))
    [call] = scripted.calls
    assert [reply.text for reply in completion.replies] == ["yes", "no"]
    assert (call.n, call.temperature, call.seed, call.schema) == (2, 0.5, 0, {"type": "object"})
    assert (limited.name, limited.identity, limited.at_most(Request(HELLO)).dollars) == ("scripted", None, 1.0)


def test_most_is_at_least_one() -> None:
    with pytest.raises(UserError, match="most is 0; allowed is 1 or more"):
        LimitedModel(ScriptedModel([]), most=0)
