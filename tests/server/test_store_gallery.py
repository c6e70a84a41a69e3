"""The gallery: found by words, marks and pages, by owner; what is deleted comes back."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unclip.errors import UsageError
from unclip.server.job import Drawn, Spec
from unclip.server.store import Changes, Search, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "data")
    yield store
    store.close()


Draws = Callable[..., str]


@pytest.fixture
def draw(store: Store) -> Draws:
    """`draw(prompt, owner="me")`: the id of a picture that a job drew."""

    def made(prompt: Any, owner: str = "me", **fields: Any) -> str:
        job = store.add(owner, Spec("generate", {"prompt": prompt, **fields}), 100)
        store.lease(1)
        one = Drawn(secrets.token_hex(16), 7, 4, 4, (4, 4), 5)
        assert store.finish(job.id, [(one, b"bytes")])
        return one.id

    return made


def ids(store: Store, owner: str = "me", **search: Any) -> list[str]:
    return [one.drawn.id for one in store.pictures(owner, Search(**search))]


def test_a_picture_has_what_draws_it_again(store: Store, draw: Draws) -> None:
    id = draw("a fox", settings={"steps": 9})
    (one,) = store.pictures("me")
    assert one.spec == Spec("generate", {"prompt": "a fox", "settings": {"steps": 9}})
    assert (one.drawn.id, one.drawn.seed) == (id, 7)
    job = store.job(one.job, "me")
    assert job is not None and job.pictures == (one.drawn,)
    assert (one.drawn.favourite, one.tags, one.collections, one.deleted) == (False, (), (), 0)


def test_a_token_finds_a_picture_and_nothing_else_does(store: Store, draw: Draws) -> None:
    id = draw("a fox")
    found = store.picture(id)
    assert found is not None and found.path.read_bytes() == b"bytes" and found.owner == "me"
    assert found.path.suffix == ".png" and found.created > 0
    for wrong in (
        "",
        id[:-1],
        id.upper() + "x",
        "../" + id,
        id + ".png",
        "%",
        "_" * 32,
        "\0",
        "' OR 1",
    ):
        assert store.picture(wrong) is None


def test_words_of_prompts_are_found_in_any_case(store: Store, draw: Draws) -> None:
    fox, two, chinese = (
        draw("Ein FÜCHSLEIN"),
        draw(["red car", "blue 50% off_er"]),
        draw("一只狐狸"),
    )
    diff = draw("", source="a straße", target="a road")
    broken = draw("half \ud800 pair")
    finds = {
        "füchs": [fox],
        "FÜCHSLEIN ein": [fox],
        "blue red": [two],
        "red fuchs": [],
        "50%": [two],
        "%": [two],
        "_": [two],
        "狐狸": [chinese],
        "STRASSE": [diff],
        "road": [diff],
        "pair \ud800": [broken],
        "'; DROP TABLE pictures; --": [],
        "  ": [broken, diff, chinese, two, fox],
    }
    assert {text: ids(store, text=text) for text in finds} == finds


def test_pages_go_on_behind_the_last_picture(store: Store, draw: Draws) -> None:
    made = [draw(f"fox {number}") for number in range(7)][::-1]
    pages: list[list[str]] = []
    before = None
    while page := store.pictures("me", limit=3, before=before):
        pages.append([one.drawn.id for one in page])
        before = page[-1].drawn.id
        if len(pages) == 1:
            draw("a new one, which moves nothing")
            store.delete("me", [before])  # nor does a deletion
    assert pages == [made[:3], made[3:6], made[6:]]


def test_changes_of_a_picture_are_made_together_or_not_at_all(store: Store, draw: Draws) -> None:
    one = draw("a fox")
    shelf = store.make_collection("me", "shelf")
    store.tag("me", [one], ["old"])
    wrong = Changes(True, ["new"], ["old"], [shelf.id, "none"])
    with pytest.raises(UsageError, match="no such collection"):
        store.change("me", one, wrong)
    with pytest.raises(UsageError, match="a name must be"):
        store.change("me", one, replace(wrong, add_collections=[shelf.id], add_tags=["new", ""]))
    (before,) = store.pictures("me")
    assert (before.drawn.favourite, before.tags, before.collections) == (False, ("old",), ())
    assert store.change("me", one, replace(wrong, add_collections=[shelf.id]))
    (after,) = store.pictures("me")
    assert (after.drawn.favourite, after.tags, after.collections) == (True, ("new",), (shelf.id,))
    assert store.change("me", one, Changes(remove_collections=[shelf.id]))
    (after,) = store.pictures("me")
    assert (after.drawn.favourite, after.tags, after.collections) == (True, ("new",), ())
    assert not store.change("you", one, Changes(False, ["mine"]))
    assert store.pictures("me") == [after]


def test_favourites_tags_and_collections(store: Store, draw: Draws) -> None:
    a, b, c = draw("a"), draw("b"), draw("c")
    assert store.mark("me", [a, b], True) and store.mark("me", [b], False) == [b]
    assert ids(store, favourites=True) == [a]
    assert set(store.tag("me", [a, c], [" red ", "warm"])) == {a, c}
    store.tag("me", [a], ["red"])  # again: nothing new
    assert store.tags("me") == {"red": 2, "warm": 2}
    assert ids(store, tag="red") == [c, a]
    store.untag("me", [c], ["red"])
    assert store.tags("me") == {"red": 1, "warm": 2}
    best = store.make_collection("me", " Best ")
    assert (best.name, best.pictures) == ("Best", 0)
    store.collect("me", best.id, [b, c])
    store.collect("me", best.id, [c])
    assert ids(store, collection=best.id) == [c, b]
    assert ids(store, collection=best.id, tag="warm", text="C") == [c]
    assert [one.collections for one in store.pictures("me")] == [(best.id,), (best.id,), ()]
    assert [one.tags for one in store.pictures("me")] == [("warm",), (), ("red", "warm")]
    store.uncollect("me", best.id, [c])
    assert [one.pictures for one in store.collections("me")] == [1]
    renamed = store.rename_collection("me", best.id, "Worst")
    assert renamed is not None and (renamed.id, renamed.name, renamed.pictures) == (
        best.id,
        "Worst",
        1,
    )
    assert store.remove_collection("me", best.id) and not store.remove_collection("me", best.id)
    assert len(ids(store)) == 3 and store.collections("me") == []


def test_names_are_checked(store: Store, draw: Draws) -> None:
    id = draw("a fox")
    for wrong in ("", "  ", "x" * 101, "a\nb", "\0"):
        with pytest.raises(UsageError, match="1 to 100 printable") as error:
            store.tag("me", [id], [wrong])
        assert error.value.field == "tags"
        with pytest.raises(UsageError, match="1 to 100 printable"):
            store.make_collection("me", wrong)
    one, two = store.make_collection("me", "one"), store.make_collection("me", "two")
    with pytest.raises(UsageError, match="'one' already"):
        store.make_collection("me", "one")
    with pytest.raises(UsageError, match="'one' already"):
        store.rename_collection("me", two.id, "one")
    assert store.rename_collection("me", one.id, "one") == one
    assert store.make_collection("other", "one").name == "one"
    with pytest.raises(UsageError, match="at most 1,000"):
        store.mark("me", [id] * 1001, True)


def test_what_is_deleted_is_gone_until_it_is_restored(store: Store, draw: Draws) -> None:
    a, b = draw("a"), draw("b")
    job = store.pictures("me")[0].job
    best = store.make_collection("me", "best")
    store.mark("me", [b], True)
    store.tag("me", [b], ["t"])
    store.collect("me", best.id, [b])
    before = store.pictures("me")
    found = store.picture(b)
    assert store.delete("me", [b, a[::-1]]) == [b] and store.delete("me", [b]) == []
    assert ids(store) == [a] and ids(store, deleted=True) == [b]
    assert store.picture(b) is None and store.mark("me", [b], False) == []
    assert store.tags("me") == {} and store.collections("me")[0].pictures == 0
    emptied = store.job(job)
    assert emptied is not None and emptied.pictures == ()
    assert store.restore("me", [b]) == [b] and store.restore("me", [b]) == []
    assert store.pictures("me") == before and store.picture(b) == found
    assert ids(store, deleted=True) == [] and ids(store, favourites=True, tag="t") == [b]


def test_another_owner_neither_sees_nor_changes(store: Store, draw: Draws) -> None:
    theirs = draw("a fox", "other")
    best = store.make_collection("other", "best")
    store.collect("other", best.id, [theirs])
    store.tag("other", [theirs], ["t"])
    before = store.pictures("other"), store.collections("other"), store.tags("other")
    mine = draw("my fox")
    assert ids(store) == [mine]
    assert store.pictures("me", before=theirs) == []
    assert ids(store, collection=best.id) == ids(store, tag="t") == []
    assert store.tags("me") == {} and store.collections("me") == []
    for change in (store.delete, store.restore):
        assert change("me", [theirs]) == []
    assert store.mark("me", [theirs], True) == store.tag("me", [theirs], ["x"]) == []
    assert store.untag("me", [theirs], ["t"]) == []
    for change in (store.collect, store.uncollect):
        with pytest.raises(UsageError, match="no such collection"):
            change("me", best.id, [mine])
    own = store.make_collection("me", "own")
    assert store.collect("me", own.id, [theirs]) == []
    assert store.rename_collection("me", best.id, "x") is None
    assert not store.remove_collection("me", best.id)
    assert (store.pictures("other"), store.collections("other"), store.tags("other")) == before


MARKS = st.lists(
    st.tuples(
        st.sampled_from(["mark", "unmark", "delete", "restore", "tag", "untag"]),
        st.sets(st.integers(0, 3), min_size=1),
        st.sampled_from(["me", "other"]),
    ),
    max_size=12,
)


OWNERS = ["me", "me", "other", "other"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, list[str]]]:
    """A store with a picture of each of `OWNERS`."""
    store = Store(tmp_path_factory.mktemp("gallery"))
    yield store, [_drawn(store, owner) for owner in OWNERS]
    store.close()


@settings(max_examples=15)
@given(MARKS)
def test_any_order_of_changes_is_as_sets_have_it(
    shared: tuple[Store, list[str]], changes: list[tuple[str, set[int], str]]
) -> None:
    """Against sets in memory, from where the example before left it to where this one does."""
    store, pictures = shared
    for owner in set(OWNERS):
        store.restore(owner, pictures)
        store.mark(owner, pictures, False)
        store.untag(owner, pictures, ["t"])
    liked, gone, tagged = set[int](), set[int](), set[int]()
    for change, numbers, owner in changes:
        own = {number for number in numbers if OWNERS[number] == owner}
        these = [pictures[number] for number in numbers]
        there = own - gone
        if change == "delete":
            store.delete(owner, these)
            gone |= there
        elif change == "restore":
            store.restore(owner, these)
            gone -= own
        elif change in ("mark", "unmark"):
            store.mark(owner, these, change == "mark")
            liked = liked | there if change == "mark" else liked - there
        else:
            (store.tag if change == "tag" else store.untag)(owner, these, ["t"])
            tagged = tagged | there if change == "tag" else tagged - there
    for owner in ("me", "other"):
        own = {number for number in range(4) if OWNERS[number] == owner}

        def named(numbers: set[int]) -> list[str]:
            return [pictures[number] for number in sorted(numbers, reverse=True)]

        assert ids(store, owner) == named(own - gone)
        assert ids(store, owner, deleted=True) == named(own & gone)
        assert ids(store, owner, favourites=True) == named(own & liked - gone)
        assert ids(store, owner, tag="t") == named(own & tagged - gone)


def _drawn(store: Store, owner: str) -> str:
    job = store.add(owner, Spec("generate", {"prompt": ""}), 9)
    store.lease(1)
    one = Drawn(secrets.token_hex(16), 0, 1, 1, (1, 1), 0)
    assert store.finish(job.id, [(one, b"")])
    return one.id
