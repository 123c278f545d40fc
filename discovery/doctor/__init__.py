"""What is installed and what runs on this machine, and what to do about what is missing."""
