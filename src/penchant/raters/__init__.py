"""Several raters' labels become the probability of each label: one file a method, {name, ...options}."""
