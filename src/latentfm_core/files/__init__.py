"""Files: atomic writes, temporary files, untrusted input, disk errors."""
