"""What a comparison is shown as: colours, charts, findings in words, and a page that stands alone."""
