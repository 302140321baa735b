"""What a transform that was found is worth."""
