"""doorlock: administering smart door locks."""

__version__ = "0.1.0"
