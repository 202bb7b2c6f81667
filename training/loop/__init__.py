"""How a training run goes: devices, steps, checkpoints, figures."""
