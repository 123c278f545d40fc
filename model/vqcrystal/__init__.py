"""VQCrystal as published (doi 10.1038/s41524-025-01613-6), for comparison with our own design."""
