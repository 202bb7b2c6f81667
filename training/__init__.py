"""How a captioner is made: data preparation, distillation, decoder training, scoring and export."""
