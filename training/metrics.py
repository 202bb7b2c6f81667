"""Caption scores by pycocoevalcap: BLEU-1 to 4, ROUGE-L and CIDEr."""

import shutil
from collections.abc import Mapping, Sequence

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from model.errors import DataError
from model.vocabulary import tokenize

Sentences = Mapping[str, Sequence[str]]


def caption_scores(references: Sentences, captions: Mapping[str, str], *, tokenizer: str) -> dict[str, float]:
    """Scores one caption per image against its references.

    Args:
        references: Reference sentences by image name.
        captions: One caption by image name; the same names.
        tokenizer: `ptb` (the Penn Treebank tokenizer that published scores use; needs Java) or `showtell` (ours).

    Returns:
        Scores times 100, and `distinct captions`, a count.

    Raises:
        DataError: The names differ, or there are none.

    Source:
        Papineni et al. 2002 (BLEU); Lin 2004 (ROUGE-L); Vedantam et al. 2015 (CIDEr-D, arXiv:1411.5726).
    """
    if not captions or references.keys() != captions.keys():
        raise DataError(f"expected captions of the {len(references)} images with references, received {len(captions)}")
    # PTBTokenizer reads a line per sentence; a line break inside one would shift all that follow.
    plain_references = {name: [" ".join(text.split()) for text in texts] for name, texts in references.items()}
    plain_captions = {name: [" ".join(text.split())] for name, text in captions.items()}
    split = _ptb if tokenizer == "ptb" else _ours
    truth, ours = split(plain_references), split(plain_captions)
    bleu, _ = Bleu(4).compute_score(truth, ours, verbose=0)
    rouge, _ = Rouge().compute_score(truth, ours)
    cider, _ = Cider().compute_score(truth, ours)
    scores = {f"BLEU-{n}": 100 * float(value) for n, value in enumerate(bleu, start=1)}
    scores |= {"ROUGE-L": 100 * float(rouge), "CIDEr": 100 * float(cider)}
    return {name: round(value, 2) for name, value in scores.items()} | {
        "distinct captions": float(len(set(captions.values())))
    }


def default_tokenizer() -> str:
    """Returns `ptb` where Java is installed, else `showtell`."""
    return "ptb" if shutil.which("java") else "showtell"


def _ours(sentences: Sentences) -> dict[str, list[str]]:
    return {name: [" ".join(tokenize(text)) for text in texts] for name, texts in sentences.items()}


def _ptb(sentences: Sentences) -> dict[str, list[str]]:
    wrapped = {name: [{"caption": text} for text in texts] for name, texts in sentences.items()}
    return dict(PTBTokenizer().tokenize(wrapped))
