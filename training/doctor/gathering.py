"""Gathers the evidence: reads records, loads networks and runs them on a sample of dev."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from model.bundle import CLASSES, Bundle, BundleInfo, load_bundle, read_classes
from model.engines.choice import NVIDIA_DRIVER
from model.engines.quiet import quiet_lite
from model.engines.tensorflow import TensorFlowEngine
from model.errors import DataError
from model.scripts import Segmentation
from model.vocabulary import Vocabulary
from training.data.records import VOCABULARY, has_split, read_kind, read_language
from training.doctor.cached import nearest, neighbours, trained_features
from training.doctor.contents import read_contents, read_sample
from training.doctor.evidence import Answers, Classes, Contents, Evidence, Machine, Neighbours, Sample, Trained
from training.doctor.networks import Network, ask, encode
from training.doctor.subject import Subject
from training.doctor.verdicts import LackingError, piece, present
from training.encoder.sources import load_encoder
from training.loop.devices import list_devices
from training.shipping.export import assemble

_NO_NETWORK = LackingError("records alone say nothing of a model", "give the run or the bundle")
_NO_DECODER = LackingError("the run has an encoder alone", "give the run of `captioner` or a bundle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How much is looked at.

    Attributes:
        photos: Photos of dev that networks are run on.
        train_photos: Photos of a split after which no more records are read.
        seed: Chooses them.
    """

    photos: int = 100
    train_photos: int = 20_000
    seed: int = 0


class _Model(NamedTuple):
    """The float model, or why run, encoder and records do not belong together."""

    bundle: Bundle | None
    problem: str


def gather(subject: Subject, amounts: Amounts) -> Evidence:
    """Gathers all evidence that there is.

    Args:
        subject: What was given.
        amounts: How much is looked at.

    Raises:
        CaptionerError: Something that was given is damaged.
    """
    train = piece(lambda: _train(subject, amounts))
    both = piece(lambda: _dev(subject, amounts))
    dev = both if isinstance(both, LackingError) else both[0]
    sample = both if isinstance(both, LackingError) else both[1]
    model = piece(lambda: _model(subject))
    network = piece(lambda: _network(present(model)))
    answers = piece(lambda: ask(present(network), present(sample).data, "the model"))
    lite = piece(lambda: ask(_lite(subject), present(sample).data, "the CPU engine"))
    trained = piece(lambda: _trained(subject, present(sample), answers))
    return Evidence(
        train=train,
        dev=dev,
        vocabulary=piece(lambda: _vocabulary(subject, network)),
        sample=sample,
        fit=model if isinstance(model, LackingError) else model.problem,
        trained=trained,
        answers=answers,
        lite=lite,
        classes=piece(lambda: _classes(subject, answers, trained)),
        neighbours=piece(lambda: _neighbours(subject, present(sample))),
        machine=machine(subject.devices),
        segmentation=_segmentation(subject, network),
    )


def machine(asked: str, driver: Path = NVIDIA_DRIVER) -> Machine:
    """Returns the GPUs of this machine."""
    gpus = sum(device.kind == "GPU" for device in list_devices())
    return Machine(gpus, driver.exists(), asked)


def _records(subject: Subject) -> Path:
    if subject.records is None:
        reason = "no records are known" if subject.bundle else "the run names no records that are there"
        raise LackingError(reason, "give --records")
    return subject.records


def _train(subject: Subject, amounts: Amounts) -> Contents:
    return read_contents(_records(subject), "train", most=amounts.train_photos, seed=amounts.seed)


def _dev(subject: Subject, amounts: Amounts) -> tuple[Contents, Sample]:
    records = _records(subject)
    if not has_split(records, "dev"):
        raise LackingError("the records have no dev", "prepare records with a --dev-fraction above 0")
    most = amounts.train_photos
    return read_sample(records, "dev", most=most, seed=amounts.seed, photos=amounts.photos)


def _model(subject: Subject) -> _Model:
    if subject.bundle is not None:
        return _Model(load_bundle(subject.bundle), "")
    if subject.kind == "records":
        raise _NO_NETWORK
    if subject.captioner is None:
        raise _NO_DECODER
    if subject.encoder is None:
        raise LackingError("the run names no encoder that is there", "give --encoder")
    try:
        return _Model(assemble(subject.encoder, subject.captioner, _records(subject), ()), "")
    except DataError as error:
        return _Model(None, str(error))


def _network(model: _Model) -> Network:
    if model.bundle is None:
        raise LackingError("run, encoder and records do not belong together", "give those that do")
    bundle = model.bundle
    return Network(bundle.config, bundle.vocabulary, TensorFlowEngine.of(bundle))


def _lite(subject: Subject) -> Network:
    if subject.bundle is None:
        raise LackingError("only a bundle has files of the CPU engine", "give the bundle that `export` wrote")
    info = BundleInfo.from_bundle(subject.bundle)
    if not info.has_lite_files:
        raise LackingError("the bundle has no files of the CPU engine", "add them with `showtell-train convert`")
    from model.engines.lite import LiteEngine

    with quiet_lite():
        engine = LiteEngine.of(subject.bundle, info.config)
    return Network(info.config, info.vocabulary, engine)


def _vocabulary(subject: Subject, network: Network | LackingError) -> Vocabulary:
    if isinstance(network, Network):
        return network.vocabulary
    records = _records(subject)
    if read_kind(records) != "captions":
        raise LackingError("the records hold classes, not captions", "give --records with captions")
    return Vocabulary.load(records / VOCABULARY)


def _segmentation(subject: Subject, network: Network | LackingError) -> Segmentation:
    if isinstance(network, Network):
        return network.config.segmentation
    return "spaces" if subject.records is None else read_language(subject.records).segmentation


def _trained(subject: Subject, sample: Sample, answers: Answers | LackingError) -> Trained:
    """Returns what training saw: kept features, else those that its encoder computes anew."""
    if subject.kind == "records":
        raise _NO_NETWORK
    records = _records(subject)
    captioned = read_kind(records) == "captions"
    if subject.encoder is not None:
        found = None
        if captioned and (subject.captioner or subject.bundle):  # an encoder by itself is run for its classes too
            found = next(trained_features(records, subject.encoder, sample.photos), None)
        return found or _encoded(subject, subject.encoder, sample)
    if subject.bundle is None:
        raise LackingError("the run names no encoder that is there", "give --encoder")
    kept = nearest(trained_features(records, None, sample.photos), present(answers).features) if captioned else None
    return kept or _encoded(subject, subject.bundle, sample)


def _encoded(subject: Subject, encoder: Path, sample: Sample) -> Trained:
    features, probabilities = encode(load_encoder(encoder).network, sample.data, by_service=subject.by_service)
    return Trained(features, probabilities, f"computed by {encoder}")


def _classes(subject: Subject, answers: Answers | LackingError, trained: Trained | LackingError) -> Classes:
    if isinstance(answers, Answers):
        return Classes(answers.probabilities, _labels(subject))
    found = present(trained).probabilities
    if found is None:
        raise answers
    return Classes(found, _labels(subject))


def _labels(subject: Subject) -> Sequence[str]:
    places = [place / CLASSES for place in (subject.path, subject.encoder) if place is not None]
    file = next((file for file in places if file.is_file()), None)
    return [name.label for name in read_classes(file)] if file else []


def _neighbours(subject: Subject, sample: Sample) -> Neighbours:
    records = _records(subject)
    if read_kind(records) != "captions":
        raise LackingError("the records hold classes, not captions", "give --records with captions")
    return neighbours(records, subject.encoder if subject.kind == "run" else None, sample.photos)
