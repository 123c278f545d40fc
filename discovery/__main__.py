"""``python -m discovery`` is the same as ``discovery``."""

from discovery.cli import main

if __name__ == "__main__":
    main()
