"""Stage kinds: each a module with `Options` and `run(options, context)`; a recipe is a list of them."""
