"""NOT_OBSERVED: is "not visible" likelier than the best answer?

Models of this kind invent answers about things that were never in view. What they say does not tell; how likely they
find it, next to a refusal, can be calibrated.

Of a model that was trained to refuse, and so carries a calibration, the probability of writing :data:`REFUSAL` is that
of having seen nothing: it does not depend on how many other answers were possible. Of others a refusal is only ever
less unlikely than usual: it is weighed against the answer (:func:`probability`).
"""

from math import exp

REFUSAL = "Not visible."


def probability(answer: float, refusal: float) -> float:
    """Probability of the refusal against the answer, 0..1.

    Both are mean log-probabilities per token (a text is not less likely for its length alone) at the same place of the
    same prompt.
    """
    best = max(answer, refusal)
    a, b = exp(answer - best), exp(refusal - best)
    return b / (a + b)
