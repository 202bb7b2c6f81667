"""What a model stands on: parts that belong together, and a GPU that is used where there is one."""

from training.doctor.check import Check
from training.doctor.evidence import Evidence
from training.doctor.verdicts import Bounds, Figure, present


def _fit(evidence: Evidence) -> Figure:
    problem = present(evidence.fit)
    return Figure(value=float(bool(problem)), text=problem or "they fit")


def _unused(evidence: Evidence) -> Figure:
    gpus, has_driver, asked = evidence.machine
    if gpus and asked.startswith("cpu"):
        return Figure(value=gpus, text=f"TensorFlow sees {gpus}; the run was on --devices {asked}")
    if gpus:
        return Figure(value=0, text=f"TensorFlow sees {gpus}")
    if has_driver:
        return Figure(value=1, text="there is a driver of NVIDIA's, but TensorFlow sees no GPU")
    return Figure(value=0, text="TensorFlow sees none, and there is no driver of one")


CHECKS = (
    Check(
        name="parts that do not fit",
        about="Whether run, encoder and records are those that belong together; a bundle's files are checked by hash.",
        bounds=Bounds(0, 0, ""),
        advice="give the encoder and the records that the decoder was trained on, or train it again in a new directory",
        measure=_fit,
    ),
    Check(
        name="GPUs unused",
        about="GPUs that are there, and that TensorFlow does not see or the run was told not to use.",
        bounds=Bounds(0, float("inf"), ""),
        advice="`showtell-train devices` lists them; install the extra `gpu`, and train with `--devices gpu`",
        measure=_unused,
    ),
)
"""The checks of this family."""
