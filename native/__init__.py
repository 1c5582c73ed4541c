"""The games in C. Everything else meets them through `env/`."""
