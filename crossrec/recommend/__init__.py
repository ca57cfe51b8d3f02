"""From a finished run to answers for a person."""
