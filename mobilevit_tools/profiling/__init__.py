"""How fast and how large: the latency protocol and what it says of a result."""
