"""`python -m holdfast.local`, the same as `holdfast`."""

from holdfast.local.cli import main

if __name__ == "__main__":
    main()
