"""`python -m modelplex.instance SPEC.json`"""

from modelplex.instance.app import main

main()
