"""What Threadkeeper says to people, in English and Chinese, and which of the two they read."""
