"""Reports: one self-contained page and one JSON file with every figure, made from the files of a run alone."""
