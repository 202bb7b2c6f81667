"""`python -m training.examples.towers`: a line fitted on several towers, each with its part of every batch."""

import click

from training.commands.options import reported
from training.config import DeviceConfig


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--devices", default="cpu:4", help="The towers: cpu:4 is the CPU four times, gpu:0,1 are two GPUs.")
@click.option("--steps", type=click.IntRange(1), default=200, help="Steps of gradient descent.")
@click.option("--batch-size", type=click.IntRange(1), default=20, help="Points in a step, over all towers together.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=0.1, help="Of gradient descent.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed of the points.")
@reported
def main(devices: str, steps: int, batch_size: int, learning_rate: float, seed: int) -> None:
    """Fits a line to noisy points on several towers, and prints it."""
    from training.examples.line import OFFSET, SLOPE, fit
    from training.loop.replicas import Replicas

    replicas = Replicas.start(DeviceConfig(devices=devices))
    line = fit(replicas, steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    click.echo(f"{replicas.count} towers, {steps} steps of {batch_size} points")
    click.echo(f"loss: {line.first_loss:.4f} in the first step, {line.last_loss:.4f} in the last")
    click.echo(f"line: {line.slope:.3f} x + {line.offset:.3f} (the points lie around {SLOPE:g} x + {OFFSET:g})")


if __name__ == "__main__":
    main()
