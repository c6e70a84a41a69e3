"""The rule that turns what a judge sees into verdicts, and the run that can be interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unclip.emoji.image_providers import one_by_one
from unclip.emoji.judge import UNKNOWN, Detection, Detections, Pictures
from unclip.emoji.scenes import Scene, Wanted
from unclip.emoji.verifier import BOTH, Order, Verdicts, check, is_right, judged, verify
from unclip.errors import Cancelled, DataError, UsageError


def thing(noun: str, x: float = 0.4, y: float = 0.4, tint: str | None = None) -> Detection:
    return Detection(noun, tint, (x, y, 0.2, 0.2), 0.9)


def scene(category: str, *wanted: Wanted, **more: Any) -> Scene:
    values: dict[str, Any] = {"relation": None, "background": None, "name": "one", **more}
    return Scene(
        category=category, split="seen", prompt="a prompt", wanted=wanted, spec={}, **values
    )


def wrong(asked: Scene, *things: Detection, background: str = "white") -> set[str]:
    """The aspects that are not right."""
    return {
        name for name, right in check(asked, Detections(things, background)).items() if not right
    }


FOX, CAR = Wanted("fox"), Wanted("car")


def test_a_single_object_is_there_once_and_alone() -> None:
    asked = scene("single", FOX)
    assert wrong(asked, thing("fox")) == set()
    assert wrong(asked, thing("car")) == {"objects", "count"}
    assert wrong(asked, thing("fox"), thing("fox")) == {"count"}
    assert wrong(asked, thing("fox"), thing("car")) == {"objects"}
    assert wrong(asked, thing("fox"), thing(UNKNOWN)) == {"objects"}
    assert wrong(asked) == {"objects", "count"}


def test_counts_are_exact() -> None:
    asked = scene("count", Wanted("fox", 3))
    for number in range(6):
        right = not wrong(asked, *[thing("fox", 0.1 * number)] * number)
        assert right == (number == 3)


def test_every_object_of_a_noun_needs_its_colour() -> None:
    asked = scene("colour", Wanted("fox", 2, "blue"))
    blue, own = thing("fox", tint="blue"), thing("fox")
    assert wrong(asked, blue, blue) == set()
    assert wrong(asked, blue, own) == {"colour"}
    assert wrong(asked, blue, thing("fox", tint="red")) == {"colour"}


def test_own_colours_count_where_they_pass_for_the_word() -> None:
    assert wrong(scene("colour", Wanted("apple", 1, "red", own=True)), thing("apple")) == set()
    assert wrong(scene("colour", Wanted("apple", 1, "blue")), thing("apple")) == {"colour"}
    left_open = scene("single", Wanted("apple"))
    assert wrong(left_open, thing("apple", tint="blue")) == set()


def test_binding_rejects_exchanged_colours() -> None:
    asked = scene("binding", Wanted("fox", 1, "blue"), Wanted("car", 1, "red"))
    assert wrong(asked, thing("fox", tint="blue"), thing("car", tint="red")) == set()
    assert wrong(asked, thing("fox", tint="red"), thing("car", tint="blue")) == {"colour"}


@pytest.mark.parametrize(
    ("relation", "x", "y"),
    [
        ("to the left of", -0.3, 0.1),
        ("to the right of", 0.3, -0.1),
        ("above", 0.1, -0.3),
        ("below", -0.1, 0.3),
    ],
)
def test_a_relation_holds_in_one_direction_only(relation: str, x: float, y: float) -> None:
    asked = scene("position", FOX, CAR, relation=relation)
    fox = thing("fox", 0.4 + x, 0.4 + y)
    assert wrong(asked, thing("car"), fox) == set()
    for other in ((-x, -y), (y, x), (-y, -x)):
        moved = thing("fox", 0.4 + other[0], 0.4 + other[1])
        assert wrong(asked, thing("car"), moved) == {"position"}


def test_next_to_is_either_side() -> None:
    asked = scene("binding", FOX, CAR, relation="next to")
    for x, y, right in ((0.3, 0.0, True), (-0.3, 0.1, True), (0.1, 0.3, False)):
        assert (wrong(asked, thing("fox", 0.4 + x, 0.4 + y), thing("car")) == set()) == right


def test_the_ground_counts_in_the_score_of_colour_and_in_all_alone() -> None:
    for category, right in (("colour", False), ("single", True)):
        asked = scene(category, FOX, background="green")
        found = check(asked, Detections((thing("fox"),), "blue"))
        assert [name for name, one in found.items() if not one] == ["ground"]
        assert is_right(asked, found) == right


def test_what_a_judge_sees_survives_json() -> None:
    seen = Detections((thing("fox", tint="blue"), thing(UNKNOWN)), "light blue")
    assert Detections.parse(seen.dump()) == seen


class Reader:
    """A judge that reads its answer from the first pixel; `slip` makes it wrong on one value."""

    nouns = ("fox", "car")

    def __init__(self, name: str, slip: int = -1) -> None:
        self.name, self.slip, self.hash, self.looks = name, slip, name, 0

    def look(self, pictures: Pictures) -> list[Detections]:
        self.looks += len(pictures)
        values = pictures[:, 0, 0, 0].tolist()
        right = [(value < 100) == (value != self.slip) for value in values]
        return [Detections((thing("fox" if one else "car"),), "white") for one in right]


SCENES = [scene("single", FOX, name=f"single-{number}") for number in range(5)]


def flat(asked: Scene, number: int) -> Image.Image:
    """0, 1, 2, ... for right pictures, from 100 on for wrong ones."""
    value = SCENES.index(asked) * 2 + number
    return Image.new("RGB", (4, 4), (value if value < 7 else 100 + value,) * 3)


def run(path: Path | None, judges: Sequence[Reader], **more: Any) -> Verdicts:
    return verify(one_by_one(flat), SCENES, judges, 2, path=path, batch=3, **more)


def test_shares_and_agreement_are_counted_by_judge_and_for_both() -> None:
    verdicts = run(None, [Reader("a"), Reader("b", slip=2)])
    assert [verdicts.share(name).right for name in ("a", "b", BOTH)] == [7, 6, 6]
    assert verdicts.share("a", "single", "seen").total == 10
    assert verdicts.share("a", "two").total == 0
    same, beyond = verdicts.agreement("a", "b")
    assert same == pytest.approx(0.9)
    assert beyond == pytest.approx((0.9 - 0.54) / 0.46)
    table = verdicts.summary()
    assert table["a"]["single"]["seen"]["right"] == table["a"]["all"]["any"]["right"] == 7
    assert table["agreement"] == {"share": 0.9, "kappa": 0.7826}


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole = run(None, [Reader("a")])
    path = tmp_path / "verdicts.jsonl"

    def stop(done: int, _: int) -> None:
        if done == 6:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        run(path, [Reader("a")], on_step=stop)
    with path.open("a") as file:
        file.write('{"scene": "sing')  # cut off while writing
    judge = Reader("a")
    steps: list[tuple[int, int]] = []
    again = run(path, [judge], on_step=lambda *step: steps.append(step))
    assert judge.looks == 4 and steps == [(9, 10), (10, 10)]
    assert again.rows == whole.rows
    judge = Reader("a")
    assert run(path, [judge]).rows == whole.rows and judge.looks == 0


def test_a_file_of_other_judges_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    run(path, [Reader("a")])
    before = path.read_text()
    with pytest.raises(DataError, match="other prompts or by other judges"):
        run(path, [Reader("b")])
    assert path.read_text() == before
    path.write_text(before.replace('"picture"', "oops", 1))
    with pytest.raises(DataError, match="damaged in line 2"):
        run(path, [Reader("a")])


def test_what_cannot_be_verified_is_told() -> None:
    with pytest.raises(UsageError, match="no scene"):
        verify(one_by_one(flat), [], [Reader("a")])
    with pytest.raises(UsageError, match="no judge"):
        verify(one_by_one(flat), SCENES, [])
    with pytest.raises(UsageError, match="pictures_each must be at least 1, got 0"):
        verify(one_by_one(flat), SCENES, [Reader("a")], 0)
    with pytest.raises(UsageError, match=r"'a' does not know 1 of the scenes' nouns \('owl'\)"):
        verify(one_by_one(flat), [scene("single", Wanted("owl"))], [Reader("a")])


def test_the_floor_holds_each_picture_against_another_prompt() -> None:
    nouns = ("fox", "car", "owl")
    asked = [
        Scene(noun, "single", "seen", f"a {noun}", (Wanted(noun),), None, None, {})
        for noun in nouns
    ]
    rows = [judged(one, 0, {"a": Detections((thing(one.name),), "white")}) for one in asked]
    verdicts = Verdicts({one.name: one for one in asked}, ("a",), rows)
    assert verdicts.share("a").value == 1.0
    floor = verdicts.shuffled(seed=3)
    assert floor.share("a").value == 0.0
    assert {row.scene for row in floor.rows} == set(nouns)


def test_pictures_are_drawn_in_batches_and_once_each() -> None:
    orders: list[list[tuple[str, int]]] = []

    def draw(part: Sequence[Order]) -> list[Image.Image]:
        orders.append([(asked.name, number) for asked, number in part])
        return [flat(*order) for order in part]

    verify(draw, SCENES, [Reader("a")], 2, batch=4)
    assert [len(part) for part in orders] == [4, 4, 2]
    drawn = [order for part in orders for order in part]
    assert drawn == [(one.name, number) for one in SCENES for number in range(2)]
    assert np.asarray(flat(SCENES[4], 1))[0, 0, 0] == 109
