"""NOT_OBSERVED: is "not visible" likelier than the best answer?

Models of this kind invent answers about things that were never in view. What they say does not tell; how likely they
find it, next to a refusal, can be calibrated.
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
