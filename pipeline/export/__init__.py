"""Exports the catalogue as files for other programs."""
