"""Making an encoder: trained on classes, distilled from a teacher, or grown from public weights."""
