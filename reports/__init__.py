"""From results.json to terminal, Markdown and HTML."""
