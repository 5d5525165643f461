"""`python -m modelplex`: the `modelplex` command."""

from modelplex.cli.app import main

main(prog_name="modelplex")
