"""Maps to files and back, with all that belongs to them."""
