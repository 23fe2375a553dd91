"""OpenAI's images endpoint as a target, against a server on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import promptopt
from promptopt import retries
from promptopt.api import prepare
from promptopt.cli import app
from promptopt.core import Example, Failed, Message, Missing, Picture, Prompt, Request, Usage
from promptopt.data.drawings import drawings
from promptopt.errors import ModelError, UserError
from promptopt.recipe.build import build
from promptopt.record.ledger import read
from promptopt.run.estimate import estimate
from promptopt.targets.openai_images import OpenAIImages
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import TargetContract

from ..models.openai_server import HANG, RESET, Answer, Received, Server, failure, serving
from .image_server import MODERATED, Painter, drawn, images, picture

pytest.importorskip("openai")

KEY = "sk-planted-0123456789abcdef"
P = Prompt("a red square")
EXAMPLES = drawings(wish="red", pictures=3, test=0).train
PRICES = {"input": 5.0, "output": 30.0}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("PROMPTOPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("PROMPTOPT_PRICES", raising=False)
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.01)


def begun(server: Server, **options: Any) -> tuple[OpenAIImages, FakeSetup]:
    target, setup = (
        OpenAIImages(base_url=server.url, **{"model": "gpt-image-2", "size": "64x64", **options}),
        FakeSetup(),
    )
    target.begin(setup)
    return target, setup


class TestOpenAIImages(TargetContract):
    """The suite; its server draws the same for equal prompts."""

    prompts = ("a red square", "a blue square")
    bad_prompts = (" ", "x" * 32_001)

    @pytest.fixture(autouse=True)
    def server(self) -> Any:
        with serving(script=lambda r: images(*[picture(len(r.body["prompt"])).data] * r.body.get("n", 1))) as server:
            self.at = server
            yield

    def make(self) -> OpenAIImages:
        return OpenAIImages(model="gpt-image-2", size="64x64", base_url=self.at.url)

    def examples(self) -> Sequence[Example]:
        return EXAMPLES


# ── One request ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_sent_and_what_comes_back() -> None:
    with serving(script=Painter()) as server:
        target, setup = begun(server, quality="low", moderation="low", background="opaque", output_format="png")
        assert target.run(P, EXAMPLES) == [picture(0), picture(1), picture(2)]
        (request,) = server.requests
    assert (request.path, request.key) == ("/v1/images/generations", KEY)
    assert request.body == {
        "model": "gpt-image-2",
        "prompt": "a red square",
        "n": 3,
        "size": "64x64",
        "quality": "low",
        "background": "opaque",
        "moderation": "low",
        "output_format": "png",
        "response_format": "b64_json",
    }
    assert setup.counts == {}
    assert setup.notes == [
        "no price known for openai:gpt-image-2: dollars are not counted",
        "openai:gpt-image-2 takes no seed: its pictures cannot be reproduced",
    ]
    assert setup.roles == ["target"]


def test_many_pictures_are_so_many_requests_and_prompts_go_side_by_side() -> None:
    many = drawings(wish="red", pictures=7, test=0).train
    with serving(script=Painter()) as server:
        target, _ = begun(server, n=3, workers=1)
        first, second = target.run_batch([P, Prompt("other")], many)
        assert [one.body.get("n", 1) for one in server.requests] == [3, 3, 1] * 2
    assert [*first, *second] == [picture(number) for number in range(14)]


def test_the_wish_goes_where_the_template_says() -> None:
    examples = [Example("a", "cat", ""), Example("b", "cat", ""), Example("c", "dog", "")]
    with serving(script=Painter()) as server:
        target, _ = begun(server, template="{input}, {prompt}", workers=1)
        assert len(target.run(Prompt("in oil {input}"), examples)) == 3
        asked = [(one.body["prompt"], one.body.get("n", 1)) for one in server.requests]
    assert asked == [("cat, in oil {input}", 2), ("dog, in oil {input}", 1)]


def test_a_server_that_ignores_n_is_asked_again_and_one_that_refuses_fields_without_them() -> None:
    def script(request: Received) -> Answer:
        for field in ("response_format", "quality"):
            if field in request.body:
                return failure(400, f"Unknown parameter: '{field}'.", param=field)
        return images(drawn())

    with serving(script=script) as server:
        target, _ = begun(server)
        with pytest.warns(UserWarning, match="takes no quality: it draws as its provider chose"):
            assert target.run(P, EXAMPLES) == [Picture(drawn())] * 3
        assert len(server.requests) == 2 + 3


# ── What goes wrong ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "output", "counted"),
    [
        (MODERATED, Failed("moderated: Your request was rejected by the safety system. "), "moderated pictures"),
        (images({"url": None, "b64_json": None}), Failed("moderated: the provider sent no pic"), "moderated pictures"),
        (failure(400, "Prompt is too odd."), Failed("requests rejected by the prov"), "requests rejected by the provi"),
        (images("!!! no base64"), Missing("broken picture: 13 characters that"), "pictures that cannot be used"),
        (images(drawn()[:-30]), Missing("broken picture: broken: "), "pictures that cannot be used"),
        (images(b"<svg/>"), Missing("broken picture: 8 characters that"), "pictures that cannot be used"),
    ],
)
def test_one_bad_picture_ends_nothing(answer: Answer, output: Failed | Missing, counted: str) -> None:
    with serving(answer) as server:
        target, setup = begun(server)
        (given,) = target.run(P, EXAMPLES[:1])
    assert isinstance(given, type(output))
    assert given.reason.startswith(output.reason)
    ((what, n),) = setup.counts.items()
    assert (what.startswith(counted), n) == (True, 1)


def test_a_picture_of_another_size_is_kept_and_counted() -> None:
    with serving(images(drawn(size=(32, 32)))) as server:
        target, setup = begun(server)
        assert target.run(P, EXAMPLES[:1]) == [Picture(drawn(size=(32, 32)))]
    assert setup.counts == {"pictures of another size than asked for": 1}


def test_a_lost_request_leaves_its_pictures_missing() -> None:
    with serving(script=lambda request: failure(500, "oops")) as server:
        target, setup = begun(server, retries=2)
        outputs = target.run(P, EXAMPLES)
        assert len(server.requests) == 3
    assert [type(one) for one in outputs] == [Missing] * 3
    assert setup.counts == {"requests lost after all retries": 1}


@pytest.mark.parametrize(
    "fault", [failure(429, "Slow down.", headers={"retry-after-ms": "1"}), failure(500, "x"), RESET], ids=str
)
def test_transient_errors_are_tried_again(fault: Answer) -> None:
    with serving(fault, images(drawn())) as server:
        target, setup = begun(server)
        assert target.run(P, EXAMPLES[:1]) == [Picture(drawn())]
    assert setup.counts == {}


def test_a_server_that_hangs_is_given_up() -> None:
    with serving(script=lambda request: HANG) as server:
        target, _ = begun(server, timeout=0.2, retries=1)
        (output,) = target.run(P, EXAMPLES[:1])
        assert len(server.requests) == 2
    assert isinstance(output, Missing)
    assert "timed out" in output.reason


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (failure(401, f"Incorrect API key provided: {KEY}."), "Check the environment variable OPENAI_API_KEY"),
        (failure(404, "The model does not exist."), "Check model and base_url"),
        (failure(429, "You exceeded your quota.", code="insufficient_quota"), "exceeded your quota"),
        (Answer({"error": "what?"}), "it is not a list of pictures: 'what\\?'"),
        (Answer(b"<html>"), "cannot be read"),
    ],
)
def test_what_no_other_prompt_would_mend_ends_the_run(answer: Answer, message: str) -> None:
    with serving(answer) as server:
        target, _ = begun(server)
        with pytest.raises(ModelError, match=message) as caught:
            target.run(P, EXAMPLES[:1])
    assert KEY not in str(caught.value)


def test_a_long_answer_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptopt.bodies.LARGEST", 100)
    with serving(images(drawn())) as server:
        target, _ = begun(server)
        assert target.run(P, EXAMPLES[:1]) == [Picture(drawn())]


# ── A run ─────────────────────────────────────────────────────────────────────────────────────────────────────────

LOST = "requests lost after all retries"
PROMPTS = ["a square", "blood", "a red square", "a circle"]


def first_byte(output: Picture, example: Example) -> float:
    return output.data[-20] / 255


def search(server: Server, folder: Path | None, **options: Any) -> promptopt.Result:
    given: dict[str, Any] = {
        "start": "a square",
        "target": {"name": "openai-images", "model": "gpt-image-2", "base_url": server.url, "size": "64x64", **(
            options.pop("how", {"quality": "low", "prices": PRICES})
        )},
        "data": drawings(wish="red", pictures=2, test=2),
        "metric": first_byte,
        "optimizer": {"name": "random-search", "pool": {"name": "list", "prompts": PROMPTS}, "batch": 1},
        "budget": 4,
        "reply_cache": False,
        "shorten": 0,
        "watch": False,
        "run": folder,
        **options,
    }  # fmt: skip
    return promptopt.optimize(**given)


def calls(folder: Path) -> list[dict[str, Any]]:
    return [event for event in read(folder / "ledger.jsonl") if event["event"] == "call"]


def test_dollars_are_billed_moderation_is_counted_and_a_resumed_run_buys_nothing(tmp_path: Path) -> None:
    with serving(script=Painter()) as server:
        result = search(server, tmp_path)
        asked = len(server.requests)
        again = search(server, tmp_path)
        assert len(server.requests) == asked
    drawn_each = 2 * (12 * 5 + 272 * 30) / 1e6
    requests = [one.body["prompt"] for one in server.requests]
    assert requests.count("blood") == 1
    assert result.costs.calls == asked
    assert result.costs.dollars == pytest.approx((asked - 1) * drawn_each)
    assert result.counts["moderated pictures"] == 2
    assert (again.best, again.costs.dollars, again.counts) == (result.best, result.costs.dollars, result.counts)
    refused = next(e for e in read(tmp_path / "ledger.jsonl") if e["event"] == "answer" and e["prompt"] == "blood")
    assert refused["value"] == 0
    assert refused["coverage"]["failed"] == 2
    assert "moderated" in refused["coverage"]["reasons"]


@pytest.mark.parametrize(
    ("fault", "billed", "counted", "shown"),
    [
        (MODERATED, 0, "moderated pictures", "2 outputs over all prompts: moderated"),
        (failure(500, "oops"), None, LOST, f"2 outputs over all prompts: {LOST}"),
        (HANG, None, LOST, f"2 outputs over all prompts: {LOST}"),
        (failure(429, "Wait.", headers={"retry-after": "900"}), None, LOST, f"2 outputs over all prompts: {LOST}"),
        (images("!!!", drawn()), 2, "pictures that cannot be used", "1 outputs over all prompts: broken picture"),
        (images(drawn(size=(8, 8)), drawn(size=(8, 8))), 2, "pictures of another size than asked for", ""),
    ],
    ids=["moderated", "500", "hang", "429", "broken", "size"],
)
def test_what_a_bad_answer_costs_and_what_the_user_sees(
    tmp_path: Path, fault: Answer, billed: int | None, counted: str, shown: str
) -> None:
    """``billed`` pictures of the bad answer are paid for; None where it is no answer, and so no call."""

    def script(request: Received) -> Answer:
        return fault if request.body["prompt"] == "a circle" else images(picture(1).data, picture(2).data)

    how = {"quality": "low", "prices": PRICES, "timeout": 1.5 if fault is HANG else 30.0, "retries": 0}
    pool = {"name": "list", "prompts": ["a circle", "a line"]}
    options = {"how": how, "budget": 3, "verdict": False}
    with serving(script=script) as server:
        result = search(server, tmp_path, **options, optimizer={"name": "random-search", "pool": pool})
        asked = len(server.requests)
        search(server, tmp_path, **options, optimizer={"name": "random-search", "pool": pool})
        assert len(server.requests) == asked
    assert result.costs.calls == 2 + (billed is not None)
    assert result.costs.dollars == pytest.approx((4 + (billed or 0)) * (12 * 5 + 272 * 30) / 1e6)
    assert counted in result.counts
    assert shown in CliRunner().invoke(app, ["show", str(tmp_path)]).output


def test_a_key_that_is_refused_in_the_middle_ends_the_run_which_goes_on_with_another(tmp_path: Path) -> None:
    refused = iter([True])
    painter = Painter()

    def script(request: Received) -> Answer:
        if request.body["prompt"] == "a circle" and next(refused, False):
            return failure(401, "Incorrect API key provided.")
        return painter(request)

    with serving(script=script) as server:
        with pytest.raises(ModelError, match="Check the environment variable OPENAI_API_KEY"):
            search(server, tmp_path, verdict=False)
        result = search(server, tmp_path, verdict=False)
        asked = [one.body["prompt"] for one in server.requests]
    assert sorted(asked) == sorted([*PROMPTS, "a circle"])
    assert result.costs.calls == len(PROMPTS)


def test_the_ledger_holds_names_and_the_pictures_lie_beside_it(tmp_path: Path) -> None:
    with serving(script=Painter()) as server:
        search(server, tmp_path)
        names = [one[2] for call in calls(tmp_path) for one in call["replies"] if len(one) > 2]
    assert len(names) == 2 * (len(server.requests) - 1)
    assert {str(file.relative_to(tmp_path)) for file in (tmp_path / "pictures").iterdir()} == {*names}
    assert max(map(len, (tmp_path / "ledger.jsonl").read_text().splitlines())) < 5_000


@pytest.mark.parametrize(("budget", "requests"), [(0.245, 1), (0.5, 4)])
def test_the_budget_is_checked_before_a_request(tmp_path: Path, budget: float, requests: int) -> None:
    """Two pictures of low quality take 2,000 tokens at most, which are 24 cents here, and 544 in fact: 6.5 cents."""
    pool = {"name": "list", "prompts": [f"square {n}" for n in range(40)]}
    options = {"optimizer": {"name": "random-search", "pool": pool, "batch": 1}, "verdict": False}
    how = {"quality": "low", "prices": {"input": 0.0, "output": 120.0}}
    with serving(script=Painter()) as server:
        result = search(server, tmp_path, how=how, budget={"dollars": budget}, **options)
        assert len(server.requests) == requests
    assert result.stop_reason == "budget: dollars"
    assert result.costs.dollars == pytest.approx(requests * 544 * 120 / 1e6)


def test_a_price_for_each_picture(tmp_path: Path) -> None:
    with serving(
        script=lambda r: MODERATED if "blood" in r.body["prompt"] else images(drawn(), drawn(), usage=None)
    ) as s:
        result = search(s, tmp_path, how={"price": 0.04})
        assert result.costs.dollars == pytest.approx(0.08 * (len(s.requests) - 1))
    assert not [note for note in result.notes if "price" in note]


def test_pictures_come_from_the_cache_and_broken_and_moderated_ones_do_not(tmp_path: Path) -> None:
    broken = iter([True])

    def script(request: Received) -> Answer:
        if request.body["prompt"] == "a circle" and next(broken, False):
            return images("!!!", "!!!")
        return painter(request)

    painter = Painter()
    with serving(script=script) as server:
        search(server, tmp_path / "one", reply_cache=True, verdict=False)
        before = len(server.requests)
        search(server, tmp_path / "two", reply_cache=True, verdict=False)
        bought = [one.body["prompt"] for one in server.requests[before:]]
    assert sorted(bought) == ["a circle", "blood"]


def test_a_server_that_sends_addresses_ends_the_run_with_what_to_do_and_is_not_asked_again(tmp_path: Path) -> None:
    address = {"url": "https://example.org/a.png"}
    with serving(script=lambda request: images(address, address)) as server:
        for _ in range(2):
            with pytest.raises(UserError, match=r'not fetched\. .* extra = \{response_format = "b64_json"\}'):
                search(server, tmp_path)
        assert len(server.requests) == 1
    assert calls(tmp_path)[0]["usage"] == [1, 24, 544, pytest.approx(0.01644)]


def test_ten_moderated_prompts_in_a_row_are_no_end(tmp_path: Path) -> None:
    pool = {"name": "list", "prompts": [f"blood {n}" for n in range(12)] + ["a circle"]}
    with serving(script=Painter()) as server:
        result = search(
            server,
            tmp_path,
            start="blood",
            optimizer={"name": "random-search", "pool": pool, "batch": 1},
            budget=14,
            verdict=False,
        )
    assert result.counts["moderated pictures"] == 2 * 13
    assert result.best == "a circle"


def test_the_estimate_is_in_dollars_and_sends_nothing() -> None:
    data = drawings(wish="red", pictures=4, test=2)
    how = {"name": "openai-images", "model": "gpt-image-2", "quality": "high", "base_url": "http://127.0.0.1:1"}
    arguments = {"start": "x", "data": data, "metric": first_byte, "budget": 5, "run": None, "shorten": 0}
    arguments["optimizer"] = {"name": "random-search", "pool": {"name": "list", "prompts": PROMPTS}}
    found = estimate(prepare({"target": {**how, "prices": PRICES}, **arguments})).shares["target"]
    assert found.expected.calls == 5 + 2
    assert found.expected.output_tokens == (5 * 4 + 2 * 2) * 8_000
    assert found.expected.dollars == pytest.approx(24 * 8_000 * 30 / 1e6, rel=0.001)
    assert found.at_most.dollars == pytest.approx(24 * 16_000 * 30 / 1e6, rel=0.01)
    each = estimate(prepare({"target": {**how, "price": 0.04}, **arguments})).shares["target"]
    assert each.expected.dollars == each.at_most.dollars == pytest.approx(24 * 0.04)


def test_a_key_is_missed_before_the_data_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    target = {"name": "openai-images", "model": "gpt-image-2"}
    optimizer = {"name": "random-search", "pool": {"name": "list", "prompts": PROMPTS}}
    data = drawings(wish="red")
    plan = prepare({"start": "x", "target": target, "data": data, "metric": first_byte, "optimizer": optimizer})
    with pytest.raises(UserError, match="openai:gpt-image-2 needs a key: set the environment variable OPENAI_API_KEY"):
        plan.check_keys()


# ── Mistakes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": " "}, "model is ' '"),
        ({"size": "large"}, "size is 'large'; allowed is auto or WIDTHxHEIGHT"),
        ({"size": "0x64"}, "size is '0x64'"),
        ({"size": "1000x1000"}, "allowed is sides that 16 divides"),
        ({"size": "64x256"}, "none longer than 3 times the other, for gpt-image-2"),
        ({"n": 11}, "n is 11; allowed is 1 to 10"),
        ({"n": 0}, "n is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"timeout": 0.0}, "timeout is 0"),
        ({"price": -1.0}, "price is -1"),
        ({"picture_tokens": 0}, "picture_tokens is 0"),
        ({"template": "{input}"}, "never sends the prompt"),
        ({"output_compression": 101}, "output_compression is 101; allowed is 0 to 100"),
        ({"background": "transparent"}, "background is 'transparent'; allowed is opaque or auto for gpt-image-2"),
        ({"model": "m", "background": "transparent", "output_format": "jpeg"}, "transparent wants PNG"),
        ({"extra": {"size": "1x1"}}, "extra: size is set by the request itself"),
        ({"prices": {"input": 1.0}}, "both input and output are needed"),
        ({"quality": "best"}, "quality is 'best'"),
        ({"base_url": f"http://x/?key={KEY}"}, "base_url"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build("targets", {"name": "openai-images", "model": "gpt-image-2", **options}, where="target")


def test_bounds_and_guesses() -> None:
    model = OpenAIImages(model="gpt-image-2", quality="low", prices=PRICES)._model
    request = Request([Message("user", "x" * 400)], n=3)
    most = model.at_most(request)
    assert (most.calls, most.output_tokens) == (3, 3_000)
    assert model.expected(request) == Usage(1, 100, 1_500, pytest.approx((100 * 5 + 1_500 * 30) / 1e6))
