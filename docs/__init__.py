"""Documentation; `tables` writes what comes from code."""
