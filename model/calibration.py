"""Calibrated probabilities: of the words that are said with probability p, about the share p is right.

Standard library only. The search knows nothing of it: which caption wins does not change.
"""

import math


def calibrated(log_prob: float, temperature: float) -> float:
    """Returns the logarithm of a word's calibrated probability.

    Args:
        log_prob: Natural logarithm of the word's probability, at most 0 but for rounding.
        temperature: What the word's log-odds are divided by; above 1 for a captioner that is too sure of its words. 1
            leaves all as it is.

    Returns:
        The logarithm of a probability. A higher one stays higher.

    Source:
        Temperature scaling (Guo et al. 2017, sec. 4.2, arXiv:1706.04599). Deviation: the temperature divides the
        log-odds of the word against all others together, not the scores of all words before the softmax: engines give
        the best words alone. The two are the same for two words.
    """
    if temperature == 1 or log_prob == -math.inf:
        return log_prob
    if log_prob >= 0:
        return 0.0
    odds = log_prob - math.log(-math.expm1(log_prob))
    scaled = odds / temperature
    # The logarithm of the logistic function, written for either sign so that no exponential overflows.
    return -math.log1p(math.exp(-scaled)) if scaled > 0 else scaled - math.log1p(math.exp(scaled))
