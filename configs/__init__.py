"""Campaign files and model configurations that come with the package."""
