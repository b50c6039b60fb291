"""Figures of papers, one script each: what is run, what is drawn, what is claimed."""
