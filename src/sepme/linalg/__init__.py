"""Pure tensor algebra: no model, no state, no file."""
