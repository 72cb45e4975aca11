"""The catalogue as files for other programs."""
