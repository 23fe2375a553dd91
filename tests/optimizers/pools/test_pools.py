"""Pools: distinct prompts in an order that only the generator decides."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from itertools import islice, permutations, product

import numpy as np
import pytest

from promptopt.errors import UserError
from promptopt.optimizers import HillClimb, LexicalProposer, RandomSearch
from promptopt.optimizers.pools.distinct import Distinct
from promptopt.optimizers.pools.listed import FilePool, ListPool
from promptopt.optimizers.pools.templates import Grammar, ImagenetTemplates
from promptopt.testing import FakeSetup

PHRASES = {
    "frames": ["a photo of a", "a scan of a"],
    "adjectives": ["blurry", "white on black", "tiny"],
    "nouns": ["digit"],
    "suffixes": ["on paper", ", in ink"],
}


def drawn(pool, seed=0, n=None):
    return list(islice(pool.draw(np.random.default_rng(seed)), n))


@pytest.mark.parametrize("pool", [ListPool(prompts=[f"{i} {{}}" for i in range(30)]), Grammar(phrases=PHRASES)])
def test_draws_depend_on_the_generator_alone(pool):
    assert drawn(pool) == drawn(pool)
    assert drawn(pool) != drawn(pool, 1)
    assert sorted(drawn(pool)) == sorted(drawn(pool, 1))
    assert len(set(drawn(pool))) == len(drawn(pool))


def test_a_list_pool_gives_each_prompt_once():
    assert sorted(drawn(ListPool(prompts=["b", "a", "b", "c"]))) == ["a", "b", "c"]
    firsts = {drawn(ListPool(prompts=["a", "b", "c"]), seed, 1)[0] for seed in range(20)}
    assert firsts == {"a", "b", "c"}


def test_an_empty_list():
    with pytest.raises(UserError, match="there are no prompts"):
        ListPool(prompts=[])


def test_a_file_pool_reads_lines(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes("a {}\n\n# no comment {}\n  the {} \r\na {}\nün\u2028{}".encode())
    assert sorted(drawn(FilePool(path=path))) == ["# no comment {}", "a {}", "the {}", "ün\u2028{}"]


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot read prompts"), (b" \n\n", "holds no prompts"), (b"\xff\xfe\xff", "UTF-8")]
)
def test_files_that_are_no_pool(tmp_path, content, message):
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        FilePool(path=path)


def test_imagenet_templates():
    open_clip = pytest.importorskip("open_clip")
    templates = drawn(ImagenetTemplates())
    assert len(templates) == 80
    assert all(template.count("{}") == 1 for template in templates)
    assert "itap of a {}." in templates
    filled = {template.replace("{}", "dog") for template in templates}
    assert filled == {template("dog") for template in open_clip.OPENAI_IMAGENET_TEMPLATES}


def test_a_small_grammar_is_used_up_exactly():
    adjectives = [c for n in (0, 1, 2) for c in permutations(PHRASES["adjectives"], n)]
    every = {
        " ".join(" ".join([frame, *some, noun, "{}", suffix]).split()).replace(" ,", ",")
        for frame, some, noun, suffix in product(
            ["", *PHRASES["frames"]], adjectives, ["", *PHRASES["nouns"]], ["", *PHRASES["suffixes"]]
        )
    }
    assert set(drawn(Grammar(phrases=PHRASES))) == every
    assert "a photo of a tiny blurry digit {}, in ink" in every


def test_slots_are_filled_with_the_stated_probabilities():
    grammar = Grammar(phrases={**PHRASES, "adjectives": [f"w{i}" for i in range(2000)]}, adjectives=2)
    sample = drawn(grammar, n=3000)
    adjectives = Counter(template.count("w") for template in sample)
    assert adjectives[1] == pytest.approx(adjectives[2], rel=0.15)  # those with none repeat, and are drawn once
    some = [template for template in sample if "w" in template]
    for phrases in (PHRASES["frames"], PHRASES["nouns"], PHRASES["suffixes"]):
        share = np.mean([any(phrase in template for phrase in phrases) for template in some])
        assert share == pytest.approx(2 / 3, abs=0.04)


def test_adjectives_limits_their_number():
    plain = drawn(Grammar(phrases=PHRASES, adjectives=0))
    assert len(plain) == 3 * 2 * 3
    assert not any(adjective in template for template in plain for adjective in PHRASES["adjectives"])
    assert len(drawn(Grammar(phrases={"adjectives": ["x"]}, adjectives=5))) == 2


def test_exclude_drops_phrases_with_the_words():
    grammar = Grammar(phrases=PHRASES, exclude=["black", "digit", "in"])
    words = {word for template in drawn(grammar) for word in template.split()}
    assert not words & {"white", "black", "digit", "ink"}
    assert {"tiny", "scan", "paper"} <= words
    assert "tiny" in {w for t in drawn(Grammar(phrases=PHRASES, exclude=["tin"])) for w in t.split()}


def test_the_embedded_phrases_are_many():
    templates = drawn(Grammar(), n=500)
    assert len(set(templates)) == 500
    assert all(template.count("{}") == 1 for template in templates)
    assert any("handwritten" in template for template in drawn(Grammar(), n=20_000))
    assert not any("handwritten" in template for template in drawn(Grammar(exclude=["handwritten"]), n=20_000))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phrases": {"verbs": ["run"]}}, "unknown slot verbs"),
        ({"phrases": {"nouns": ["a {} of"]}}, "holds a brace"),
        ({"phrases": {}}, "no phrases left"),
        ({"phrases": {"nouns": ["digit"]}, "exclude": ["digit"]}, "no phrases left"),
        ({"phrases": "nowhere.toml"}, "cannot read phrases"),
        ({"phrases": PHRASES, "adjectives": -1}, "adjectives is -1"),
    ],
)
def test_grammars_that_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        Grammar(**options)


def test_a_fresh_process_with_another_hash_seed_draws_the_same():
    code = (
        "import numpy as np; from itertools import islice; from promptopt.optimizers.pools import Grammar;"
        "print('|'.join(islice(Grammar(exclude=['black', 'red']).draw(np.random.default_rng(7)), 50)))"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].strip().split("|") == drawn(Grammar(exclude=["black", "red"]), 7, 50)


@pytest.mark.parametrize("make", [Grammar, ImagenetTemplates])
def test_pools_of_templates_do_not_suit_texts(make):
    if make is ImagenetTemplates:
        pytest.importorskip("open_clip")
    make().check(FakeSetup(start=["a photo of a {}"]))
    with pytest.raises(UserError, match=r"the prompts are texts\. Give pool ="):
        make().check(FakeSetup(start=["Answer politely."]))
    with pytest.raises(UserError, match="the prompts are texts"):
        Distinct(pool=make()).check(FakeSetup(start=["Answer politely."]))


@pytest.mark.parametrize(
    "optimizer", [RandomSearch(pool=Grammar()), HillClimb(pool=Grammar(), proposer=LexicalProposer(phrases=["x"]))]
)
def test_searches_have_their_pool_checked(optimizer):
    with pytest.raises(UserError, match="the prompts are texts"):
        optimizer.check(FakeSetup(start=["Answer politely."]))
    with pytest.raises(UserError, match="the prompts are texts"):
        optimizer.begin(FakeSetup(start=["Answer politely."]))
    optimizer.check(FakeSetup(start=["a photo of a {}"]))
