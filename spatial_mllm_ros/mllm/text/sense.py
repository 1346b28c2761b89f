"""Whether a quantity can be an answer to a question at all: an angle is no thing, and no height either.

Only questions whose words leave no doubt are judged; to all others everything is an answer.
"""

import re

from .quantity import COUNTS, UNIT, UNITS, areas, asked_unit

ANY = frozenset({"m", "m2", "deg", "s", ""})
NAME = frozenset({""})  # a bare number, which may be written on a door
NONE: frozenset[str] = frozenset()

_QUANTITY = re.compile(
    rf"(?<!\w)[-+\u2212]?(?:[0-9][0-9.,]*|(?:{'|'.join(COUNTS)})\b)\s*(?:({UNIT})(?![\w/²³^]))?", re.IGNORECASE
)
_FILLER = re.compile(
    r"\b(?:it|this|that|is|are|was|the|answer|about|approximately|approx|around|roughly|nearly|almost|exactly|only|just"
    r"|and|or|to|by|x|between|s)\b",
    re.IGNORECASE,
)
_MEASURED = tuple(  # words of a question -> units of its answer
    (re.compile(rf"\b(?:{words})\b", re.IGNORECASE), frozenset(units))
    for words, units in (
        (r"how (?:far|close|near|long)", ("m", "s")),
        (r"how (?:tall|high|wide|deep|thick|low|narrow|broad)|lengths?|heights?|widths?|depths?|thickness", ("m",)),
        (r"distances?|displacements?|radius|diameters?|perimeter|clearance|gap|offset|extents?|dimensions?", ("m",)),
        (r"how (?:big|large)|sizes?|measures?|measured", ("m", "m2")),
        (r"areas?|surface|footprint", ("m2",)),
        (r"how (?:soon|late)|durations?|times?|when", ("s",)),
        (r"angles?|angular|turn\w*|rotat\w*|tilt\w*|pan(?:s|ned|ning)?|yaw\w*|pitch\w*|roll(?:s|ed|ing)?", ("deg",)),
        (r"headings?|bearings?|directions?|orient\w*|slopes?|steep\w*|inclin\w*|swing\w*|swung|look\w*", ("deg",)),
        (r"how many", ("",)),
        (r"how (?:much|fast|heavy|warm|old)|speed|weigh\w*|values?|numbers?|readings?|says?|shows?|written", ANY),
    )
)
_IN_FRONT = r"^(?:[^,]*,\s*)?"  # In the first image, ...
_PLACE = re.compile(rf"{_IN_FRONT}(?:where|why)\b", re.IGNORECASE)
_YES_OR_NO = re.compile(
    rf"{_IN_FRONT}(?:is|are|was|were|do|does|did|can|could|has|have|had|will|would|should|may|must)"
    r"\s+(?:the|an?|any|some|this|that|these|those|there|it|its|he|she|they|we|you|i|one|both|all)\b",  # not "Was ist"
    re.IGNORECASE,
)
_OFFERS = re.compile(r"\b(?:or|images?|frames?|pictures?|points?|pixels?|coordinates?)\b", re.IGNORECASE)
_ASKS_MORE = re.compile(r"[0-9]|.\b(?:what|which|who|whose|when|how)\b", re.IGNORECASE)
_SPOT = (
    r"(?:left|right|on|in|inside|behind|under|underneath|below|beneath|above|over|besides?|next|near|nearest|closest"
    r"|close|between|opposite|around|against|at|by|across|among|along|beyond|outside|visible|there|to the)"
)
_THING = re.compile(
    rf"{_IN_FRONT}(?:who(?:m|se)?|(?:please\s+)?(?:describe|name|list))\b"
    r"|\b(?:what|which)\s+(?:one|of|kind|type|sort|colou?r|objects?|things?|items?|furniture|piece|material|shape|room)\b"
    r"|\bwhat\s+(?:do|can)\s+you\s+see\b"
    r"|\bwhat(?:'s|\s+(?:is|are|was|were|stands?|lies?|sits?|hangs?|can be seen))\s+"
    rf"(?:(?:directly|immediately|just|standing|lying|hanging|located)\s+)*{_SPOT}\b",
    re.IGNORECASE,
)


def fits(said: str, question: str) -> bool:
    """Whether an answer, where it is nothing but numbers and units, is of a sort that the question leaves room for.

    It is not where a thing, a place, a reason, or yes or no is asked for (``57 degrees`` to ``What is left of the
    sofa?``), nor where what is asked for has other units (to ``How high is it?``). A bare number may be the name of a
    thing. Answers with words of their own always fit.
    """
    if not (units := _units(said)):
        return True
    sentences = re.findall(r"[^.?!\n]*\?", question) or [question]
    return any(units <= _allowed(" ".join(sentence.split()).replace("\u2019", "'")) for sentence in sentences)


def _units(said: str) -> set[str]:
    """Units (SI, empty for none) of an answer that is nothing but quantities; none where it says anything else."""
    said = areas(said)
    found = [name.lower() for name in _QUANTITY.findall(said)]
    rest = _FILLER.sub(" ", _QUANTITY.sub(" ", said))
    if any(map(str.isalnum, rest)) or (len(found) > 1 and not any(found)):  # several bare numbers may be a point
        return set()
    return {UNITS[name][0] if name else "" for name in found}


def _allowed(question: str) -> frozenset[str]:
    """Units that answers to a question of one sentence may have."""
    words = re.findall(r"[^\W\d_]{3,}|\b(?:cm|mm|km)\b", question.lower())
    named = {UNITS[word][0] for word in words if word in UNITS}
    if asked := asked_unit(question):
        named.add(UNITS[asked][0])
    named = named.union(*(units for words, units in _MEASURED if words.search(question)))
    if named:
        return NAME | named
    if _YES_OR_NO.match(question) or _PLACE.match(question):
        return ANY if _ASKS_MORE.search(question) else NAME if _OFFERS.search(question) else NONE
    return NAME if _THING.search(question) else ANY
