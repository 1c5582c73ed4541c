"""Learning on RLlib. So far: advantages over segments; no recipe uses them yet."""
