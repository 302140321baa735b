"""The answer at a glance: a sentence, a switch between maps, and their legend."""
