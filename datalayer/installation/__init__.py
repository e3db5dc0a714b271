"""What the installation as a whole remembers, and whether its first steps are done."""
