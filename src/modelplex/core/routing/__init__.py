"""Where requests go: variants, instances, and what is known of models there."""
