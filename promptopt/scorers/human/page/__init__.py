"""The page on which people answer duels: a server, and what it serves."""
