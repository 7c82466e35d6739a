"""What writes docs/reference: pages of Markdown from the contracts' descriptors and comments."""
