"""``python -m codeword``."""

from codeword.cli import main

if __name__ == "__main__":
    main()
