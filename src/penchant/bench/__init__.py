"""Fixed work, timed through the parts that real runs use."""
