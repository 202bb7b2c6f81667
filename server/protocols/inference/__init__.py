"""The Open Inference Protocol v2 (KServe, Triton), with its binary tensors."""
