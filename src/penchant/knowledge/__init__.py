"""Facts as triples: a store, entities found in texts, claims checked against it, facts said in words."""
