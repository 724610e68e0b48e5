"""The reference device: a lock that speaks the wire contract, for tests, demos and real doors."""
