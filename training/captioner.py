"""Training the Show-and-Tell decoder on the features of a frozen encoder."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from model.atomic import atomic_file
from model.config import CaptionerConfig, SearchConfig, with_vocabulary_size
from model.decoder import Decoder
from model.errors import DataError
from model.runtime.tensorflow import TensorFlowEngine
from model.search import beam_search
from model.vocabulary import END_ID, Vocabulary
from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import CaptionerTrainingConfig
from training.distill import load_student
from training.features import FeatureSet, input_key, load_features
from training.loss import full_softmax_loss, sampled_softmax_loss
from training.metrics import caption_scores
from training.pipeline import caption_batches, count_batches
from training.progress import StopRequest, note, progress
from training.records import VOCABULARY

LAST, BEST = "last.safetensors", "best.safetensors"
HISTORY, CONFIG = "history.jsonl", "config.json"


def train_captioner(
    directory: Path, encoder_run: Path, records: Path, preset: CaptionerConfig, config: CaptionerTrainingConfig
) -> bool:
    """Trains the decoder, going on from the run directory's last checkpoint where there is one.

    Writes `last.safetensors` after every epoch and at a stop, `best.safetensors` whenever the CIDEr of greedy captions
    on dev is the best so far, and a line of figures per epoch to `history.jsonl`.

    Args:
        directory: Run directory.
        encoder_run: Run directory of the frozen encoder.
        records: Finished records with splits train and dev.
        preset: Architecture; the vocabulary size comes from the records, the encoder's part from its run.
        config: Options of the run.

    Returns:
        Whether training is complete; False after a requested stop.

    Raises:
        DataError: Records, encoder or checkpoint do not fit.
    """
    directory.mkdir(parents=True, exist_ok=True)
    train = load_features(directory, encoder_run, records, "train")
    dev = load_features(directory, encoder_run, records, "dev")
    vocabulary = Vocabulary.load(records / VOCABULARY)
    encoder, encoder_config = load_student(encoder_run)
    captioner_config = replace(with_vocabulary_size(preset, len(vocabulary)), encoder=encoder_config)
    keras.utils.set_random_seed(config.seed)
    decoder = Decoder(captioner_config.decoder, encoder_config.fc_units)
    _compile(decoder, config, _steps_per_epoch(train, config))
    settings = {
        "decoder": asdict(captioner_config.decoder),
        "training": asdict(config),
        "inputs": input_key(encoder_run, records),
    }
    state = _resume(directory / LAST, decoder, settings)
    with atomic_file(directory / CONFIG) as file:
        file.write_text(captioner_config.to_json())
    with atomic_file(directory / VOCABULARY) as file:
        vocabulary.save(file)
    run = _Run(directory, decoder, config, settings, state)
    engine = TensorFlowEngine(encoder, decoder)
    with StopRequest() as stop:
        while run.epoch < config.epochs and not stop.requested:
            if run.train_epoch(train, stop):
                run.finish_epoch(dev, engine, vocabulary, captioner_config.search)
    return run.epoch >= config.epochs


def _steps_per_epoch(train: FeatureSet, config: CaptionerTrainingConfig) -> int:
    return count_batches(train.captions, config.batch_size)


def _compile(decoder: Decoder, config: CaptionerTrainingConfig, steps_per_epoch: int) -> None:
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, (config.epochs - 1) * steps_per_epoch),
        warmup_target=config.learning_rate,
        warmup_steps=steps_per_epoch,
    )
    decoder.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay, global_clipnorm=config.clip_norm)
    )


def _resume(checkpoint: Path, decoder: Decoder, settings: dict[str, Any]) -> dict[str, Any]:
    if not checkpoint.exists():
        return {"epoch": 0, "step": 0, "best": -1.0}
    saved = load_checkpoint(checkpoint, decoder)
    if {key: saved.get(key) for key in settings} != settings:
        raise DataError(
            f"{checkpoint}: expected the encoder, records and options of this run; give the same or another directory"
        )
    return {key: saved[key] for key in ("epoch", "step", "best")}


class _Run:
    """Holds the state of a training run between steps."""

    def __init__(
        self,
        directory: Path,
        decoder: Decoder,
        config: CaptionerTrainingConfig,
        settings: dict[str, Any],
        state: dict[str, Any],
    ) -> None:
        self.directory, self.decoder, self.config, self.settings = directory, decoder, config, settings
        self.epoch, self.step, self.best = int(state["epoch"]), int(state["step"]), float(state["best"])
        self.losses: list[float] = []
        self.train_step = make_train_step(decoder, config)
        self.dev_step = tf.function(self._dev_loss, reduce_retracing=True)

    def _dev_loss(self, features: tf.Tensor, tokens: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        hidden = self.decoder.hidden(features, tokens)
        layer = self.decoder.output_layer
        words = tf.math.count_nonzero(tokens, dtype=tf.float32)
        return full_softmax_loss(hidden, tokens, layer.kernel, layer.bias), words

    def save(self, name: str) -> None:
        """Writes a checkpoint."""
        place = {"epoch": self.epoch, "step": self.step, "best": self.best}
        save_checkpoint(self.directory / name, self.decoder, self.settings | place)

    def train_epoch(self, train: FeatureSet, stop: StopRequest) -> bool:
        """Trains to the end of the current epoch; returns False when stopped before it."""
        config = self.config
        total = _steps_per_epoch(train, config)
        batches = caption_batches(
            train.features, train.rows, train.captions, batch_size=config.batch_size, seed=config.seed + self.epoch
        )
        label = f"epoch {self.epoch + 1}/{config.epochs}"
        self.losses.clear()
        bar = progress(batches.skip(self.step), label, total=total, initial=self.step, unit="step")
        for features, tokens in stop.until_requested(bar):
            self.losses.append(float(self.train_step(features, tokens)))
            self.step += 1
            bar.set_postfix({"loss": f"{np.mean(self.losses[-50:]):.3f}"}, refresh=False)
        if self.step < total:
            self.save(LAST)
        return self.step >= total

    def finish_epoch(
        self, dev: FeatureSet, engine: TensorFlowEngine, vocabulary: Vocabulary, search: SearchConfig
    ) -> None:
        """Scores dev, writes the checkpoints and the history."""
        batches = caption_batches(dev.features, dev.rows, dev.captions, batch_size=256)
        losses, words = zip(*(self.dev_step(*batch) for batch in batches), strict=True)
        figures = {"train_loss": float(np.mean(self.losses)), "dev_loss": float(np.average(losses, weights=words))}
        captions = greedy_captions(engine, dev, vocabulary, search)
        figures |= caption_scores(dict(zip(dev.names, dev.references, strict=True)), captions, tokenizer="showtell")
        self.epoch, self.step = self.epoch + 1, 0
        improved = figures["CIDEr"] > self.best
        self.best = max(self.best, figures["CIDEr"])
        note(f"epoch {self.epoch}: " + ", ".join(f"{name} {value:.2f}" for name, value in figures.items()))
        if improved:
            self.save(BEST)
        self.save(LAST)
        with (self.directory / HISTORY).open("a") as file:
            file.write(json.dumps({"epoch": self.epoch} | figures) + "\n")


def make_train_step(decoder: Decoder, config: CaptionerTrainingConfig) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns the traced function that updates a compiled decoder by one batch.

    Args:
        decoder: The decoder, compiled with its optimizer.
        config: Which loss to use.

    Returns:
        A function of features (B, D) float32 and tokens (B, T) int32 that returns the loss before the update.
    """
    layer = decoder.output_layer

    def train_step(features: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            hidden = decoder.hidden(features, tokens, training=True)
            if config.loss == "sampled":
                loss = sampled_softmax_loss(
                    hidden, tokens, layer.kernel, layer.bias, negative_samples=config.negative_samples
                )
            else:
                loss = full_softmax_loss(
                    hidden, tokens, layer.kernel, layer.bias, label_smoothing=config.label_smoothing
                )
        variables = decoder.trainable_variables
        # Dense: Keras would square the rows of a sparse embedding gradient before it has added repeated words up.
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, variables)]
        decoder.optimizer.apply(gradients, variables)
        return loss

    traced: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = tf.function(train_step, reduce_retracing=True)
    return traced


def greedy_captions(
    engine: TensorFlowEngine, split: FeatureSet, vocabulary: Vocabulary, search: SearchConfig
) -> dict[str, str]:
    """Captions every photo of a split greedily from its features.

    Args:
        engine: Runs the decoder.
        split: Features and names.
        vocabulary: Turns ids to words.
        search: Most words.

    Returns:
        A caption by file name.
    """
    greedy = replace(search, beam_size=1)
    captions = {}
    for begin in range(0, len(split.names), 250):
        start = engine.start(split.features[begin : begin + 250, 0])
        found = beam_search(start, engine.step, greedy, end_id=END_ID)
        for name, best in zip(split.names[begin : begin + 250], found, strict=True):
            captions[name] = " ".join(vocabulary.decode(best[0].tokens))
    return captions
