"""Draws the screenshots of duels in docs/human.md: a run of each kind, in headless Chromium.

    python docs/images/make_duel_png.py

Needs chromium, chromium-driver and the extras test, clip and web.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "tests"))

from chromium import browser  # noqa: E402
from human_parts import served  # noqa: E402

from promptopt.core import Example  # noqa: E402
from promptopt.data.digits import digits  # noqa: E402
from promptopt.optimizers.apohf import Apohf  # noqa: E402
from promptopt.targets.clip import Clip  # noqa: E402
from promptopt.targets.function import Function  # noqa: E402

LETTERS = ["My parcel has not come, and nobody answers the phone.", "The jumper is too small. Can I change it?"]
REPLIES = {
    "Reply in one sentence.": ["We are looking into it.", "Yes, within 30 days."],
    "Reply kindly, and say what happens next.": [
        "I am sorry that you are left waiting. I have asked the courier where your parcel is and will write to you "
        "by noon tomorrow.",
        "Of course! Send it back within 30 days with the label in the box; the larger size leaves our store on the "
        "day it arrives.",
    ],
    "Reply formally.": ["Your complaint has been received.", "Exchanges are subject to our terms and conditions."],
}


def reply(prompt: str, example: Example) -> str:
    """What stands above, in the place of a chat model."""
    return REPLIES[prompt][LETTERS.index(example.input)]


def shoot(name: str, start: list[str], **options: Any) -> None:
    """Answer a few duels and take a picture."""
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder), start=start, optimizer=Apohf(), budget=40, second_opinions=0, **options) as run,
        browser(Path(folder), "--window-size=1100,1290") as driver,
    ):
        driver.get(f"{run.link}&as=ada")
        title = ""
        for choice in ["left", "right", "right", "left", ""]:
            until = time.monotonic() + 20
            before = title
            while not (title := driver.find_element("id", "title").text) or title == before:
                assert time.monotonic() < until
                time.sleep(0.05)
            if choice:
                driver.find_element("css selector", f"[data-choice={choice}]").click()
        driver.execute_async_script("setTimeout(arguments[0], 2500)")  # a look later, the standing is up to date
        driver.save_screenshot(str(HERE / name))


if __name__ == "__main__":
    letters = [Example(f"letter {i}", text, None) for i, text in enumerate(LETTERS)]
    question = "Which replies would you rather send?"
    shoot("duel_text.png", [*REPLIES], target=Function(function=reply), examples=letters, question_text=question)
    data = digits()
    templates = ["a photo of the number {}", "the digit {}", "a blurry {}", "{}"]
    shoot(
        "duel_images.png",
        templates,
        target=Clip(classes=data.classes),
        examples=data.train,
        classes=data.classes,
        n_examples=2,
        question_text="Which side names the digits better?",
    )
