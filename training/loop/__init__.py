"""The training loop: devices, steps, checkpoints, figures."""
