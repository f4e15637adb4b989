"""The report of a run: facts from its folder, what they show in words, pictures, Markdown."""
