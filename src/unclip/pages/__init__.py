"""Reports as pages that need nothing from elsewhere: their parts, diagrams, HTML and Markdown."""
