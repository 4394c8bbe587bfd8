"""Tasks: one file each; where prompts end in a document, and how a completion is judged."""
