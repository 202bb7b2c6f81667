"""How an encoder is made: trained on classes, distilled from a teacher, or grown from public weights."""
