"""Charts: data in, one SVG out."""
