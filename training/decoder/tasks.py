"""Training the Show-and-Tell decoder on a frozen encoder's features, and what all its stages share."""

import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from model.atomic import atomic_file
from model.bundle import CONFIG
from model.config import CaptionerConfig, EncoderConfig, SearchConfig
from model.decoder import Decoder
from model.engines.tensorflow import TensorFlowEngine
from model.errors import DataError
from model.presets import with_vocabulary_size
from model.scripts import Segmentation, join
from model.search import beam_search
from model.vocabulary import END_ID, Vocabulary
from training.config import CaptionerTrainingConfig
from training.data.caption_batches import caption_batches, count_batches
from training.data.pipeline import Share, split_batches
from training.data.records import VOCABULARY, has_split, read_language, read_max_words, read_weights
from training.decoder.earlier import decoder_file, go_on_from, new_decoder
from training.decoder.features import Features, FeatureSet, input_key, load_features, weighted
from training.encoder.sources import full_precision, load_encoder
from training.loop.replicas import Replicas
from training.loop.step import Sums, evaluator
from training.loop.summaries import captioned_picture
from training.loop.task import Specification, Task
from training.loss import full_softmax_losses, perplexity_of, sampled_softmax_losses, word_mask
from training.progress import note
from training.provenance import key_of
from training.scoring.captions import caption_scores

REHEARSED = 256
"""Dev photos that an estimate scores: as many as are captioned at once."""

SHOWN = 4
"""Dev photos that TensorBoard shows with their captions."""


class CaptionTask(Task):
    """A task that trains a decoder: the loss of captions given features, and the scores of captions of dev.

    Args:
        spec: The facts that the run needs.
        config: Architecture of the captioner.
        encoder: The encoder, trained or not.
        decoder: The decoder.
    """

    def __init__(self, spec: Specification, config: CaptionerConfig, encoder: keras.Model, decoder: Decoder) -> None:
        super().__init__(spec)
        self.captioner_config = config
        self.encoder = encoder
        self.decoder = decoder
        self.vocabulary = Vocabulary.load(spec.records / VOCABULARY)
        self.search = replace(config.search, beam_size=1)
        self.captions: dict[str, str] = {}
        self._photos: list[tuple[str, Any]] = []
        self._engine = TensorFlowEngine(encoder, decoder)
        self._loss_of = evaluator(spec.replicas, lambda batch, _step: self._true_sums(*batch))

    def caption_sums(
        self, batch: tuple[tf.Tensor, tf.Tensor, tf.Tensor], step: tf.Tensor, config: CaptionerTrainingConfig
    ) -> Sums:
        """Sums the weighted training loss over a batch's words, features (B, D), tokens (B, T) and weights (B,)."""
        features, tokens, weights = batch
        hidden = self.decoder.hidden(features, tokens, training=True)
        if config.loss == "sampled":
            seed = tf.stack([tf.constant(config.seed, tf.int64), step])
            count = config.negative_samples
            losses = sampled_softmax_losses(
                hidden, tokens, self.decoder.output_kernel, self.decoder.output_bias, negative_samples=count, seed=seed
            )
        else:
            smoothing = config.label_smoothing
            losses = full_softmax_losses(
                hidden, tokens, self.decoder.output_kernel, self.decoder.output_bias, label_smoothing=smoothing
            )
        counts = weights[:, None]
        return Sums(tf.reduce_sum(counts * losses), tf.reduce_sum(counts * word_mask(tokens)))

    def _true_sums(self, features: tf.Tensor, tokens: tf.Tensor, _weights: tf.Tensor) -> Sums:
        losses = full_softmax_losses(
            self.decoder.hidden(features, tokens), tokens, self.decoder.output_kernel, self.decoder.output_bias
        )
        return Sums(tf.reduce_sum(losses), tf.reduce_sum(word_mask(tokens)))

    def scores(self, dev: FeatureSet | None) -> dict[str, float]:
        """Returns loss, perplexity and the scores of greedy captions on dev; the loss alone where it is not finite.

        With several sources there is a CIDEr for each, and `CIDEr` is their mean.

        Raises:
            DataError: There is no dev.
        """
        if dev is None:
            raise DataError(f"{self.spec.records}: expected records of the split dev, found none; prepare some")
        batches = self.spec.replicas.distribute(
            lambda share: share(caption_batches(dev.features, dev.rows, dev.captions, batch_size=256))
        )
        loss = self._loss_of(batches)["loss"]
        if not math.isfinite(loss):
            return {"loss": loss}
        segmentation = self.captioner_config.segmentation
        self.captions = greedy_captions(self._engine, dev, self.vocabulary, self.search, segmentation)
        references = dict(zip(dev.names, dev.references, strict=True))
        language = read_language(self.spec.records)
        scores = caption_scores(references, self.captions, tokenizer="showtell", language=language)
        return {"loss": loss, "perplexity": perplexity_of(loss)} | scores

    def describe(self, directory: Path) -> None:
        """Writes the architecture and the vocabulary."""
        with atomic_file(directory / CONFIG) as file:
            file.write_text(self.captioner_config.to_json())
        with atomic_file(directory / VOCABULARY) as file:
            self.vocabulary.save(file)

    def pictures(self) -> Iterator[tuple[str, Any]]:
        """Yields the first photos of dev over their captions."""
        if not self._photos:
            batch = next(iter(split_batches(self.spec.records, "dev", SHOWN, "reading photos to show")))
            self._photos = [
                (name.decode(), image) for name, image in zip(batch.names.numpy(), batch.images.numpy(), strict=True)
            ]
        for number, (name, image) in enumerate(self._photos):
            yield f"dev/{number}", captioned_picture(image, self.captions.get(name, ""))


class DecoderTask(CaptionTask):
    """The task of training the decoder on the features of a frozen encoder.

    Args:
        encoder_run: Where the encoder comes from; see `training.encoder.sources.encoder_file`.
        records: Finished caption records with splits train and dev.
        preset: Architecture; vocabulary size and most words come from the records, the encoder's part from its run.
        config: Options of the training.
        replicas: The devices that compute.
        start_from: Run directory of a decoder to train further, of equal architecture; None for a new one.
        maps: Cached maps of all photos, so that only the encoder's last block runs.
        features: Where the features come from; for an estimate `sketched_features`.

    Raises:
        DataError: Records, encoder or earlier decoder do not fit.
    """

    def __init__(
        self, encoder_run: Path, records: Path, preset: CaptionerConfig, config: CaptionerTrainingConfig,
        replicas: Replicas, *, start_from: Path | None = None, maps: Path | None = None,
        features: Features = load_features,
    ) -> None:  # fmt: skip
        self.config = config
        with replicas.chief_first(), full_precision():
            encoder, encoder_config, _ = load_encoder(encoder_run)
            check_fits(preset, encoder_run, encoder_config.feature_units)  # before photos are encoded
            train = features(encoder_run, records, "train", maps)
            self.dev = features(encoder_run, records, "dev", maps) if has_split(records, "dev") else None
        self.train, self._weights = weighted(train, read_weights(records), config.source_weights)
        captioner_config = fitted(preset, encoder_config, records)
        keras.utils.set_random_seed(config.seed)
        with replicas.strategy.scope():
            decoder = new_decoder(captioner_config, self.train.features[:, 0])
            if start_from is not None:
                words = Vocabulary.load(records / VOCABULARY)
                go_on_from(start_from, decoder, captioner_config, words, self.train.features[:, 0])
        settings = {
            "decoder": asdict(captioner_config.decoder),
            "training": asdict(config),
            "inputs": input_key(encoder_run, records),
            "start": None if start_from is None else key_of(decoder_file(start_from)),
        }
        spec = Specification(
            replicas=replicas,
            records=records,
            networks={"decoder": decoder},
            optimizer=config.optimizer,
            steps_per_epoch=count_batches(self.train.captions, config.batch_size),
            epochs=config.epochs,
            settings=settings,
            best_figure=best_figure(records),
        )
        super().__init__(spec, captioner_config, encoder, decoder)

    def loss(self, batch: Any, step: tf.Tensor) -> Sums:
        """Sums the loss of a part: features (B, D), tokens (B, T) and weights (B,)."""
        return self.caption_sums(batch, step, self.config)

    def epoch_batches(self, epoch: int, first_step: int, share: Share) -> tf.data.Dataset:
        """Returns features with captions, in a different order for each epoch."""
        batches = caption_batches(
            self.train.features, self.train.rows, self.train.captions,
            batch_size=self.config.batch_size, seed=self.config.seed + epoch, first_batch=first_step,
            weights=self._weights,
        )  # fmt: skip
        return share(batches)

    def evaluate(self) -> dict[str, float]:
        """Scores greedy captions of dev."""
        return self.scores(self.dev)

    def rehearse(self) -> None:
        """Scores a few photos of dev."""
        if self.dev is not None:
            self.scores(self.dev.first(REHEARSED))


def best_figure(records: Path) -> str | None:
    """Returns the dev figure that chooses the best checkpoint of a captioner; None where the records have no dev."""
    return "CIDEr" if has_split(records, "dev") else None


def check_fits(preset: CaptionerConfig, encoder_run: Path, found: int) -> None:
    """Checks that a preset's decoder can read the features of an encoder.

    Args:
        preset: Architecture of the decoder.
        encoder_run: Where the encoder comes from, for the error.
        found: Length of its features.

    Raises:
        DataError: The decoder reads features of another length as they are.
    """
    expected = preset.decoder.embedding_units
    if not preset.decoder.project_features and found != expected:
        raise DataError(
            f"{encoder_run}: expected an encoder with features of {expected} numbers, which the preset {preset.name} "
            f"reads as they are, found {found}; give one that has them, such as --imagenet download, or a preset that "
            "fits any encoder: --preset small or vgg19"
        )


def fitted(preset: CaptionerConfig, encoder: EncoderConfig, records: Path) -> CaptionerConfig:
    """Returns a preset's architecture as an encoder and records need it.

    Args:
        preset: The preset.
        encoder: Architecture of the encoder.
        records: Caption records: their vocabulary's size, most words, and how their words are joined.
    """
    return replace(
        with_vocabulary_size(preset, len(Vocabulary.load(records / VOCABULARY))),
        encoder=encoder,
        search=_search_of(preset, records),
        segmentation=read_language(records).segmentation,
    )


def _search_of(preset: CaptionerConfig, records: Path) -> SearchConfig:
    """Returns a preset's search for a decoder that is trained on some records: with their most words."""
    known = read_max_words(records)
    if known is None or known == preset.search.max_words:
        return preset.search
    note(f"captions of at most {known} words, as in {records}; the preset {preset.name} has {preset.search.max_words}")
    return replace(preset.search, max_words=known)


def greedy_captions(
    engine: TensorFlowEngine,
    split: FeatureSet,
    vocabulary: Vocabulary,
    search: SearchConfig,
    segmentation: Segmentation,
) -> dict[str, str]:
    """Captions every photo of a split greedily from its features.

    Args:
        engine: Runs the decoder.
        split: Features and names.
        vocabulary: Turns ids to words.
        search: Most words; its beam size is 1.
        segmentation: How words are joined.

    Returns:
        A caption by file name.
    """
    captions = {}
    for begin in range(0, len(split.names), 250):
        start = engine.start(split.features[begin : begin + 250, 0])
        found = beam_search(start, engine.step, search, end_id=END_ID)
        for name, best in zip(split.names[begin : begin + 250], found, strict=True):
            # There is none where the scores of all words overflow.
            captions[name] = join(vocabulary.decode(best[0].tokens), segmentation) if best else ""
    return captions
