"""The little English that captions need: articles, plurals, number words."""

from __future__ import annotations

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")

_IRREGULAR = {
    "mouse": "mice", "goose": "geese", "tooth": "teeth", "foot": "feet", "person": "people",
    "man": "men", "woman": "women", "child": "children", "snowman": "snowmen", "die": "dice",
    "wolf": "wolves", "leaf": "leaves", "loaf": "loaves", "sheaf": "sheaves",
    "knife": "knives", "elf": "elves",
    "scarf": "scarves", "ox": "oxen", "fish": "fish", "sheep": "sheep", "deer": "deer",
    "bison": "bison", "moose": "moose", "shrimp": "shrimp", "squid": "squid", "sushi": "sushi",
    "potato": "potatoes", "tomato": "tomatoes", "volcano": "volcanoes", "tornado": "tornadoes",
    "mango": "mangoes", "mosquito": "mosquitoes", "buffalo": "buffaloes", "hero": "heroes",
    "superhero": "superheroes", "cactus": "cacti", "octopus": "octopuses", "ox cart": "ox carts",
}  # fmt: skip
_LINKS = {"of", "with", "in", "on", "at", "and", "behind", "from", "without", "to", "over", "for"}
_LABELS = ("button", "symbol", "sign")
_ACTORS = {"man", "woman", "person", "face", "head", "leaf", "chart", "globe", "clock", "index"}
_PLURAL_WORDS = {
    "people", "men", "women", "children", "feet", "teeth", "mice", "geese", "maracas", "crossbones",
}  # fmt: skip
_SINGULAR_ENDINGS = ("ss", "us", "is", "as", "os")
_SOUNDS_LIKE_A = ("uni", "use", "euro", "one", "ufo", "u-", "ewe", "t-", "ut")
_SOUNDS_LIKE_AN = ("hour", "honest", "heir", "x-ray", "x ray", "lgb", "mri", "sos", "fbi", "rv ")


def article(phrase: str) -> str:
    """`a` or `an`, whichever `phrase` takes when read aloud."""
    low = phrase.lower()
    if low.startswith(_SOUNDS_LIKE_AN):
        return "an"
    if low.startswith(_SOUNDS_LIKE_A):
        return "a"
    return "an" if low[:1] in "aeiou" else "a"


def plural(noun: str) -> str:
    """The regular or irregular plural of a noun phrase: its head is what takes the ending."""
    first, both, second = noun.partition(" and ")
    if both and not _LINKS & set(first.split(" ")) and not noun.endswith(_LABELS):
        return f"{plural(first)} and {second if is_plural(second) else plural(second)}"
    words = noun.split(" ")
    head = head_index(words)
    words[head] = _plural_word(words[head])
    return " ".join(words)


def head_index(words: list[str]) -> int:
    """Which word of a noun phrase carries the plural: the last before a link or a participle."""
    last = len(words) - 1
    if words[last] in _LABELS:
        return last
    if words[0] in _ACTORS and any(word.endswith("ing") for word in words[1:]):
        return 0
    return next((number - 1 for number in range(1, last + 1) if words[number] in _LINKS), last)


def is_plural(noun: str) -> bool:
    """Whether a noun phrase already stands for several things ("clapping hands", "scissors")."""
    words = noun.lower().split(" ")
    if words[0] in _PLURAL_WORDS:
        return True
    head = words[head_index(words)]
    if head in _PLURAL_WORDS:
        return True
    return len(head) > 3 and head.endswith("s") and not head.endswith(_SINGULAR_ENDINGS)


def listing(phrases: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(phrases) == 1:
        return phrases[0]
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _plural_word(word: str) -> str:
    low = word.lower()
    if low in _IRREGULAR:
        return _IRREGULAR[low]
    if low.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if low.endswith("y") and low[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    if low.endswith("man"):
        return word[:-2] + "en"
    return word + "s"


def without_article(phrase: str) -> str:
    """The phrase without its leading `a` or `an`."""
    first, _, rest = phrase.partition(" ")
    return rest if first in {"a", "an"} else phrase
