"""`python -m vipnet`."""

from vipnet.cli.main import main

main()
