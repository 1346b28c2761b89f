"""Which of lettered options an answer in a model's own words means; None where that is in doubt.

An answer is read by the first of these that it has:

| what it has | rule |
|---|---|
| one letter, one option's text, or both | that, where both agree |
| ``\\boxed{...}`` | what is in it, read by the rule above; several boxes must say the same |
| "answer is B", "Answer: B" | that letter, where all such places agree |
| "option B", "I choose B", "B is correct", a letter in front | the same |
| words alone | the one option that they name, where nothing is denied |

A letter counts where nothing before it in its clause denies or supposes it, nothing after it takes it back, and what
follows up to the first reason ("because", "Explanation:") names no other option. "Right next to" names no option.
"""

import re
from collections.abc import Sequence

from spatial_mllm_ros.mllm.text.parsing import LETTERS, plain, read_choice
from spatial_mllm_ros.mllm.text.wrapping import unbox, unwrap

_LETTER = r"[\[({]?(?P<letter>[A-Z])(?![\w'])[\])}]?"
_KIND = r"(?i:(?:option|choice|answer|letter)\s+)?"
_SURE = r"(?i:\s+(?:definitely|certainly|clearly|indeed|therefore|thus|hence|most likely|likely|probably))?"
_ANSWER = (
    r"(?:(?i:\banswer|\bans\.?|\u7b54\u6848|\bantwort|\br\u00e9ponse|\brespuesta|\brisposta|\b\u043e\u0442\u0432\u0435\u0442)"
    rf"(?i:\s*(?:is|would be|should be|must be|\u662f|\u4e3a))?{_SURE}\s*[:=]?"
    r"|(?i:\b(?:solution|output|response|prediction)\s*:))\s*"
)
_STATED = re.compile(_ANSWER + _KIND + _LETTER)
_PRAISE = r"\s+is\s+(?:correct|(?:the\s+)?(?:correct|right|best)\s+(?:answer|option|choice|one)|the\s+answer)"
_SAID = re.compile(
    rf"(?i:\b(?:option|choice)(?:\s+is)?|\b(?:choose|pick|select|say|go with|opt for))\s*:?\s*{_KIND}{_LETTER}"
    rf"|^{_LETTER.replace('letter', 'front')}(?=\s*(?:$|[.,;:)\]!\n]|[-\u2013\u2014]\s))"
    rf"|(?i:^(?:so|thus|therefore|hence),?|\bit(?:'s|\s+is))\s+{_LETTER.replace('letter', 'only')}(?=[.!]?$|,\s+not\b)"
    rf"|(?<!\w){_LETTER.replace('letter', 'right')}(?={_PRAISE})"
)
_CORRECT = re.compile(_PRAISE, re.IGNORECASE)
_NOT_THAT = re.compile(r",?\s*\b(?:and\s+)?not\s+(?:(?:option|to|on|the)\s+)*[\[(]?(?P<other>[A-Z])(?!\w)[\])]?")
_WRONG = re.compile(
    r"\b(?:wrong|incorrect|false|excluded|(?:not|cannot)\s+(?:be\s+)?(?:right|correct|true))\b", re.IGNORECASE
)
_GOES_ON = re.compile(  # what may follow a letter
    r"\s*(?:$|[.,;:!)\]}\n]|[-\u2013\u2014(]|\b(?:because|as|since|for|due|given|based|which|where)\b)", re.IGNORECASE
)
_CLAUSE = re.compile(r"[.!?;\n]|\b(?:so|thus|therefore|hence)\b", re.IGNORECASE)
_SUPPOSED = re.compile(
    r"\b(?:not|no|never|neither|nor|cannot|if|whether|unless|unlikely|wrong|incorrect|doubt\w*|suppos\w+|assum\w+"
    r"|could|might|may|maybe|perhaps|first|initial\w*|eliminat\w+|exclud\w+|except)\b|n't\b",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"\b(?:because|as|since|for|due to|given|based on|explanation|reason|reasoning|(?:here|this|that)(?:'s| is) why"
    r"|justification|note|seen from|when)\b",
    re.IGNORECASE,
)
TAKEN_BACK = re.compile(
    r"\b(?:wait|actually|however|but|correction|on second thoughts?|alternatively|instead|rather|scratch|sorry|hmm+"
    r"|although|unless)\b|\bno\s*[,.!]|\?"
    r"|\b(?:that|this|it|which)(?:\s+is|'s|\s+was)\s+(?:wrong|incorrect|false|not (?:right|correct|true))\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\b(?:not|no|never|neither|nor|or|either|cannot|unsure|wrong|incorrect|false|instead|rather|except|unlike|opposite"
    r"|excluded|eliminated|if|whether|unless)\b|n't\b",
    re.IGNORECASE,
)
_MAYBE_ARTICLE = re.compile(r"\bA (?!is\b|was\b)[a-z0-9]")  # "A point ..."
_ALIASES = {"back": "backward"}
_NO_PLACE = re.compile(  # "right", "left" and "back" where they are no direction
    r"\bright(?=[- ](?:next|beside|besides|behind|in|there|here|now|at|on|above|under|underneath|below|beneath|by|near"
    r"|before|after|across|between|inside|outside|along|alongside|against|over|away|where|when|through|around|beyond"
    r"|opposite|up|down|from|close|adjacent|handed|answers?|options?|choices?|way|place|spot|angles?|time|moment"
    r"|order|thing|idea|to the (?:left|back))\b)"
    r"|(?<=\ball )right\b|(?<=\bquite )right\b|(?<=\bexactly )right\b"
    r"|\b(?:you|that|i|we|they)(?: are| is| am|'re|'s|'m)(?: \w+)? right\b(?! (?:of|side|hand))"
    r"|\bleft(?=[- ](?:on|in|at|there|over|overs?|out|alone|open|unattended|by|for|with|behind|handed)\b)"
    r"|\b(?:i|he|she|they|we|you|who|person|people) left\b|(?<=\bnothing )left\b|(?<=\bremaining )left\b"
    r"|\bback(?=[- ](?:of|to|and forth|in|on|from|wall|door|room|rest|seat|yard)\b)",
    re.IGNORECASE,
)


def find_choice(said: str, options: Sequence[str]) -> int | None:
    """Number of the one option that is meant, see the module."""
    if (choice := read_choice(said, options)) is not None:
        return choice
    words = unwrap(said)
    if (choice := read_choice(words, options)) is not None:
        return choice
    if box := unbox(words):
        before, inside, after = box
        if _SUPPOSED.search(_clause(before)) or TAKEN_BACK.search(after):
            return None
        return read_choice(inside, options)
    if "boxed" in words:
        return None
    for form in (_STATED, _SAID):
        if places := [place for place in form.finditer(words) if _goes_on(words, place, options)]:
            return _agreed(words, places, options)
    return _named(words, options)


def _agreed(words: str, places: Sequence[re.Match[str]], options: Sequence[str]) -> int | None:
    """The option of these letters, where nothing speaks against it."""
    letters = {_letter(place) for place in places}
    choice = LETTERS.index(next(iter(letters)))
    if len(letters) > 1 or choice >= len(options):
        return None
    for place in places:
        after = _CORRECT.sub("", words[place.end() :])
        reason = _REASON.search(after)
        told = after[: reason.start() if reason else len(after)]
        if any(other in letters for other in _NOT_THAT.findall(told)):
            return None
        told = _NOT_THAT.sub("", told)
        if _SUPPOSED.search(_clause(words[: place.start()])) or TAKEN_BACK.search(after) or _WRONG.search(told):
            return None
        if not _names(told, options) | _letters(told, options) <= {choice}:
            return None
    return choice


def _letter(place: re.Match[str]) -> str:
    return next(filter(None, place.groups()))


def _goes_on(words: str, place: re.Match[str], options: Sequence[str]) -> bool:
    """Whether a letter is one, and not the first word of what follows."""
    after = words[place.end() :]
    if _GOES_ON.match(after) or _CORRECT.match(after):
        return True
    number = LETTERS.index(_letter(place))
    return number < len(options) and plain(after).startswith(plain(options[number]))


def _clause(before: str) -> str:
    """What stands in the clause that begins before a place."""
    return _CLAUSE.split(before)[-1]


def _letters(words: str, options: Sequence[str]) -> set[int]:
    """Options whose letters stand alone."""
    alone = re.findall(r"(?<![\w'])(?!A [a-z])[A-Z](?![\w'])", words)
    return {LETTERS.index(letter) for letter in alone if letter in LETTERS[: len(options)]}


def _names(words: str, options: Sequence[str]) -> set[int]:
    """Options whose texts stand in words, longest first."""
    names = {plain(option): i for i, option in enumerate(options) if plain(option)}
    names |= {alias: names[name] for alias, name in _ALIASES.items() if name in names and alias not in names}
    ending = "(?:s|wards?)?"
    if all(len(name) == 1 for name in names):  # letters: a small one is none
        names, ending, words = {name.upper(): i for name, i in names.items()}, "", " ".join(words.split())
        words = "" if _MAYBE_ARTICLE.search(words) else words
    else:
        words = _NO_PLACE.sub(" ", plain(words))
    longest_first = sorted(map(re.escape, names), key=len, reverse=True)
    named = re.finditer(rf"(?<!\w)({'|'.join(longest_first)}){ending}(?!\w)", words) if names else ()
    return {names[match[1]] for match in named}


def _named(words: str, options: Sequence[str]) -> int | None:
    """The one option that words alone name."""
    texts = "|".join(sorted((re.escape(plain(option)) for option in options if plain(option)), key=len, reverse=True))
    others = re.compile(
        rf",\s*(?:and\s+)?not\s+(?:(?:to|on|at|the|your|my)\s+)*(?:{texts or '$'})(?!\w)", re.IGNORECASE
    )
    denied = _names(" ".join(others.findall(words)), options)
    words = others.sub("", words)
    found = _names(words, options)
    return None if _DENIED.search(words) or len(found) != 1 or found & denied else found.pop()
