"""Several layers against one fixed: compared one after the other, each with a verdict."""
