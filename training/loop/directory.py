"""The names of the files in a run directory, and their removal."""

from pathlib import Path

from training.loop.checkpoint import BEST

CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
CURVES = "curves.svg"
SUMMARIES = "tensorboard"

DISTILLED = "distill.safetensors"
"""The last checkpoint of a distillation."""

BEFORE = "distill.before.safetensors"
"""The checkpoint before it, to go back to where a run diverges."""


def restart(directory: Path) -> None:
    """Removes what a run has written, so that the next one begins anew."""
    files = (BEST, DISTILLED, BEFORE, METRICS, CURVES)
    for file in [*(directory / CHECKPOINTS).glob("step-*"), *(directory / name for name in files)]:
        file.unlink(missing_ok=True)
    for file in (directory / SUMMARIES).glob("events.*"):
        file.unlink()
