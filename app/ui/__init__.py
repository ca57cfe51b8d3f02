"""What the pages share: colours, charts, cards, cached loaders."""
