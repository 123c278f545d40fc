"""Learning: the property head is fine-tuned on what the campaign found, and judged before use."""
