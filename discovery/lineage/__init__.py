"""Where one candidate comes from: base, models, known crystals, follow-up."""
