"""Write the report of a training run: facts from its folder, findings, pictures, Markdown."""
