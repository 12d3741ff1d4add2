"""Files: atomic and byte-stable writing, reading that says where and what is wrong."""
